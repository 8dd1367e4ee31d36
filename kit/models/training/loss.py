"""Losses of networks by name, for soft and weighted targets; each is summed over the images.

All are linear in the targets, so that weights of images lie in the targets and mixup blends them. Where an image may
have several labels, targets hold twice as many columns: what speaks for each class, then what speaks against it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from kit.data.images import Images
from kit.models.balance import class_shares
from kit.models.training.recipe import Recipe

GAMMA = 2.0  # of the focal loss, as published
LEAST = 1e-6  # probability: below it the focal factor's gradient would not be finite

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(recipe: Recipe, labeled: Images) -> Loss:
    """Return the loss that a recipe asks for; the balanced softmax knows the classes' shares of the images.

    Class weights are in it with several labels per image alone: those of single labels lie in the images' weights.
    """
    gamma = GAMMA if recipe.focal_gamma is None else recipe.focal_gamma
    if labeled.labels.ndim == 2:
        of_class = torch.from_numpy(recipe.weights_of(labeled.labels, labeled.n_classes, labeled.weights)).float()
        return partial(binary_cross_entropy, of_class=of_class, gamma=gamma if recipe.loss == "focal" else 0.0)
    if recipe.loss == "balanced_softmax":
        shares = class_shares(labeled.labels, labeled.n_classes, labeled.weights)
        return partial(balanced_softmax, shares=torch.from_numpy(shares).float())
    return partial(focal, gamma=gamma) if recipe.loss == "focal" else cross_entropy


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy; label smoothing and the images' weights lie in the targets, (n_images, n_classes)."""
    return functional.cross_entropy(logits, targets, reduction="sum")


def balanced_softmax(logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """Return the cross entropy of logits to which the log shares of the classes are added (Ren et al. 2020, 3.1).

    The network need not learn how frequent the classes are, and does not say it. It is the training form of logit
    adjustment at tau = 1.

    A class without images is as if it were the rarest.
    """
    seen = shares[shares > 0]
    relative = shares.clamp_min(float(seen.min())) / seen.max()  # one factor on all shares changes nothing
    return cross_entropy(logits + relative.log().to(logits.device), targets)


def focal(logits: Tensor, targets: Tensor, gamma: float = GAMMA) -> Tensor:
    """Return the cross entropy whose every term is multiplied by (1 - p)^gamma (Lin et al. 2017, section 3.2)."""
    log_proba = logits.log_softmax(dim=1)
    return -(targets * _focal_factor(log_proba, gamma) * log_proba).sum()


def binary_cross_entropy(logits: Tensor, targets: Tensor, of_class: Tensor | None = None, gamma: float = 0.0) -> Tensor:
    """Return the binary cross entropy, the mean over classes, for images of several labels.

    Parameters
    ----------
    targets
        (n_images, n_classes), 0..1, or (n_images, 2 n_classes) of `binary_targets`.
    of_class
        (n_classes,) weights of what speaks for a class; what speaks against it has 1. None for 1 each.
    """
    n_classes = logits.shape[1]
    if targets.shape[1] == n_classes:
        targets = torch.cat([targets, 1 - targets], dim=1)
    log_proba = functional.logsigmoid(torch.cat([logits, -logits], dim=1))
    terms = targets * _focal_factor(log_proba, gamma) * log_proba
    if of_class is not None:
        terms = terms * torch.cat([of_class, torch.ones(n_classes)]).to(logits.device)
    return -terms.sum() / n_classes


def binary_targets(labels: Tensor, weights: Tensor, label_smoothing: float) -> Tensor:
    """Return what speaks for each class and what against it, times the weights: (n_images, 2 n_classes) float32.

    `label_smoothing` is the share of each opinion that is spread over yes and no.
    """
    positive = labels.float() * (1 - label_smoothing) + label_smoothing / 2
    return torch.cat([positive, 1 - positive], dim=1) * weights.float()[:, None]


def _focal_factor(log_proba: Tensor, gamma: float) -> Tensor | float:
    """Return (1 - p)^gamma."""
    return (-torch.expm1(log_proba)).clamp_min(LEAST) ** gamma if gamma else 1.0
