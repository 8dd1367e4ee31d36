"""How a network is trained: the settings, and what follows from them before the first step.

Parameter groups of timm's optimisers, timm's cosine schedule counted in steps, what is frozen when, and the hold-out
that early stopping looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from kit.errors import InputError, nearest
from kit.folds import inner
from kit.images import Images

HOLD_OUT_SHARE = 0.2  # of the training images, for early stopping
MIN_PER_CLASS = 8  # images: with fewer in any class a hold-out of a fifth says nothing


@dataclass(frozen=True)
class Recipe:
    """Hold how a network is trained.

    Parameters
    ----------
    epochs
        Passes over the training images, the frozen ones among them.
    frozen_epochs
        First epochs in which only the head learns, so that its random start does not spoil the pretrained body
        (Kumar et al. 2022, section 3).
    batch_size
        Images per step, at most; batches of an epoch are equally large, to one image.
    optimizer
        A name of timm's optimisers.
    lr
        Highest learning rate per step, of the body.
    head_lr
        The same of the head; None for `lr`.
    weight_decay
        Not applied to norms, biases and what the network itself exempts.
    warmup_share
        Share of the steps over which the learning rates rise; they then fall to zero along a cosine.
    label_smoothing
        Share of the label's probability that is spread over all classes.
    mixup, cutmix
        Alpha of the Beta distribution; 0 for none. With both, each batch draws one.
    ema_decay
        The largest decay per step of the moving average of the weights, which then predicts; 0 for none. The decay
        grows with the steps, so that short runs forget their random start.
    augment
        A level of `kit.training.augment`.
    flip
        Mirror images left to right: not for digits and letters.
    patience
        Epochs without a better inner accuracy after which training stops; None to train to the end on all images.
    freeze_batch_norm
        Keep the pretrained statistics of batch norms.
    """

    epochs: int = 30
    frozen_epochs: int = 0
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 3e-4
    head_lr: float | None = None
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema_decay: float = 0.0
    augment: str = "none"
    flip: bool = False
    patience: int | None = None
    freeze_batch_norm: bool = False


def recipe_of(model: object) -> Recipe:
    """Return the recipe in a model's fields of the same names; fields that it lacks stay at their defaults."""
    return Recipe(**{own.name: getattr(model, own.name) for own in fields(Recipe) if hasattr(model, own.name)})


def split_off(labeled: Images, recipe: Recipe, seed: int) -> tuple[Images, Images]:
    """Split the training images into those that are learned and a hold-out for early stopping.

    Only real labels are held out, because a pseudo label proves nothing; no image that shares a group with one of them
    is learned. With under 8 real labels in any class, or without patience, nothing is held out.

    Returns
    -------
    train, hold_out : Images
    """
    nothing = np.zeros(0, dtype=np.int64)
    if recipe.patience is None:
        return labeled, labeled.take(nothing)
    real = np.flatnonzero(~labeled.is_pseudo)
    if np.bincount(labeled.labels[real], minlength=labeled.n_classes).min() < MIN_PER_CLASS:
        return labeled, labeled.take(nothing)
    _, chosen = inner(labeled.labels[real], labeled.groups[real], seed, share=HOLD_OUT_SHARE)
    hold_out = labeled.take(real[chosen])
    return labeled.take(np.flatnonzero(~np.isin(labeled.groups, hold_out.groups))), hold_out


def make_optimizer(network: nn.Module, head: nn.Module | None, recipe: Recipe) -> Optimizer:
    """Build the optimiser: a group each for body and head, decayed and not.

    Raises
    ------
    InputError
        When timm knows no such optimiser.
    """
    exempt = set(getattr(network, "no_weight_decay", set)())
    of_head = _parts(head)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name not in exempt
            groups.setdefault((id(parameter) in of_head, decays), []).append(parameter)
    head_lr = recipe.lr if recipe.head_lr is None else recipe.head_lr
    settings = [
        {
            "params": parameters,
            "lr": head_lr if is_head else recipe.lr,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    ]
    try:
        return create_optimizer_v2(settings, recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay)
    except (ValueError, AssertionError) as error:
        hint = nearest(recipe.optimizer, list_optimizers())
        raise InputError(f"optimizer {recipe.optimizer!r}: timm cannot build it; {hint}") from error


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int, frozen: bool) -> CosineLRScheduler:
    """Build the schedule of the frozen or of the unfrozen epochs: up, then down to zero, counted in steps.

    Call ``step_update(n)`` before step n = 1, 2, ... of the phase. The horizon lies one step past the last, so that
    neither the first nor the last step is lost on a learning rate of zero.
    """
    n_epochs = min(recipe.frozen_epochs, recipe.epochs) if frozen else recipe.epochs - recipe.frozen_epochs
    n_steps = n_epochs * steps_per_epoch
    warmup = round(recipe.warmup_share * n_steps)
    return CosineLRScheduler(
        optimizer, t_initial=n_steps + 1 - warmup, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False
    )


def set_mode(network: nn.Module, head: nn.Module | None, optimizer: Optimizer, recipe: Recipe, frozen: bool) -> None:
    """Put a network into training mode, with its body frozen or not.

    A frozen body keeps its batch norms in evaluation mode: their running statistics would follow the training images
    even where no parameter learns. `Recipe.freeze_batch_norm` keeps them so to the end.
    """
    of_head = _parts(head)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(not frozen or id(parameter) in of_head)
    network.train()
    if frozen or recipe.freeze_batch_norm:
        for module in network.modules():
            if isinstance(module, _BatchNorm) and id(module) not in of_head:
                module.eval()


def _parts(head: nn.Module | None) -> set[int]:
    """Return the identities of a module's parameters and of the modules in it."""
    return {id(part) for part in [*head.parameters(), *head.modules()]} if head is not None else set()
