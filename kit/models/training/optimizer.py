"""What follows from a recipe before the first step.

Parameter groups of timm's optimisers, timm's cosine schedule counted in steps, and what is frozen when.
"""

from __future__ import annotations

from timm.optim import create_optimizer_v2, list_optimizers  # pyright: ignore[reportPrivateImportUsage]  no __all__
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from kit.core.errors import InputError, nearest
from kit.models.training.layers import layer_scales
from kit.models.training.recipe import Recipe


def make_optimizer(network: nn.Module, head: nn.Module | None, recipe: Recipe) -> Optimizer:
    """Build the optimiser: a group each for body and head, decayed and not, and for each layer with another rate.

    Raises
    ------
    InputError
        When timm knows no such optimiser, or not the layers of the network.
    """
    exempt = set(getattr(network, "no_weight_decay", set)())
    scales = layer_scales(network, recipe.layer_decay) if recipe.layer_decay and recipe.layer_decay < 1 else {}
    of_head = _parts(head)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_head, decays = id(parameter) in of_head, parameter.ndim > 1 and name not in exempt
            groups.setdefault((is_head, decays, 1.0 if is_head else scales.get(name, 1.0)), []).append(parameter)
    head_lr = recipe.body_lr if recipe.head_lr is None else recipe.head_lr
    head_decay = recipe.weight_decay if recipe.head_weight_decay is None else recipe.head_weight_decay
    settings = [
        {
            "params": parameters,
            "lr": head_lr if is_head else recipe.body_lr,
            "lr_scale": scale,  # timm's schedules multiply by it
            "weight_decay": (head_decay if is_head else recipe.weight_decay) if decays else 0.0,
        }
        for (is_head, decays, scale), parameters in groups.items()
    ]
    try:
        return create_optimizer_v2(settings, recipe.optimizer, lr=recipe.body_lr, weight_decay=recipe.weight_decay)
    except (ValueError, AssertionError) as error:
        hint = nearest(recipe.optimizer, map(str, list_optimizers()))
        raise InputError(f"optimizer {recipe.optimizer!r}: timm cannot build it; {hint}") from error


def add_parameters(optimizer: Optimizer, module: nn.Module, recipe: Recipe) -> None:
    """Let a module beside the network learn too, at the head's rate and without decay; it may have no parameters."""
    if parameters := list(module.parameters()):
        lr = recipe.body_lr if recipe.head_lr is None else recipe.head_lr
        optimizer.add_param_group({"params": parameters, "lr": lr, "lr_scale": 1.0, "weight_decay": 0.0})


def make_schedule(optimizer: Optimizer, warmup_share: float, n_steps: int) -> CosineLRScheduler:
    """Build the schedule of the frozen or of the unfrozen epochs: up, then down to zero, counted in steps.

    Call ``step_update(n)`` before step n = 1, 2, ..., `n_steps` of the phase. The horizon lies one step past the last,
    so that neither the first nor the last step is lost on a learning rate of zero.
    """
    warmup = round(warmup_share * n_steps)
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
    for module in network.modules():
        is_norm = isinstance(module, _BatchNorm) and (frozen or recipe.freeze_batch_norm)
        if id(module) not in of_head and (is_norm or (recipe.leaves_layers and _is_left(module))):
            module.eval()


def _is_left(module: nn.Module) -> bool:
    """Return whether a module has parameters and none of them learns."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _parts(head: nn.Module | None) -> set[int]:
    """Return the identities of a module's parameters and of the modules in it."""
    return {id(part) for part in [*head.parameters(), *head.modules()]} if head is not None else set()
