"""Learn from every unlabelled image, each as much as a second head trusts it: FineSSL, for pretrained networks.

The formulas are those of the paper; where it keeps the last confident label of each image of the pool, a running mean
over the batches takes its place, so that memory does not grow with the pool. Logits are divided by a temperature:
margin and threshold are meant for those of a CLIP, which say what they know; those of a probe on few labels are flat.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.core.errors import InputError
from kit.models.training.loss import Loss, cross_entropy
from kit.models.training.recipe import Semi
from kit.models.training.semi import Matching, MeanTeacher, Method, grown_momentum


class FineSSL(Method):
    """Give slow classes a margin, and let a head apart, which learns softened labels, say how sure an image is.

    Balanced margin softmax: the logit of an image's class is lowered by the margin of the class, the more, the seldomer
    the class is named with confidence, so that hard classes are learned harder and do not starve. Decoupled label
    smoothing: an auxiliary head on the same features, which it does not change, learns the labels and, smoothed, the
    confident pseudo labels; its confidence is the weight of each unlabelled image in the loss of the main head, which
    learns from all of them.

    Gan and Wei 2024, Erasing the bias: fine-tuning foundation models for semi-supervised learning (FineSSL),
    sections 3.2 and 3.3.

    Parameters
    ----------
    head
        What names the classes; the auxiliary head starts as its copy.
    scale
        What the head's output is multiplied by.
    """

    pace: Tensor
    n_updates: Tensor

    def __init__(self, settings: Semi, n_classes: int, head: nn.Module, scale: float) -> None:
        super().__init__(settings, n_classes)
        self.threshold, self.margin = settings.of_semi("threshold"), settings.of_semi("margin")
        self.smoothing, self.momentum = settings.of_semi("smoothing"), settings.of_semi("momentum")
        self.temperature = settings.of_semi("loss_temperature") or 1.0
        self.auxiliary, self.scale = copy.deepcopy(head), scale / self.temperature
        self.register_buffer("pace", torch.ones(n_classes))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))
        self._features: list[Tensor] = []
        self._head = [head]  # in a list: no part of this module

    def watch(self) -> AbstractContextManager[Any]:
        """Remember what the head reads in every forward pass inside the block."""
        self._features.clear()
        return self._head[0].register_forward_pre_hook(lambda module, args: self._features.append(args[0].detach()))

    def margins(self) -> Tensor:
        """Return the margin of every class, (n_classes,): 0 for all where all are named equally often."""
        spread = self.pace.max() - self.pace.min()
        return self.margin * spread * (1 - self.pace) / (1 + self.pace)

    @torch.no_grad()
    def teach(self, logits: Tensor, progress: float) -> Tensor | None:
        """Return the labels times their weights, and beside them those that the auxiliary head learns, smoothed."""
        features = self._take(len(logits))
        if not self.weight:
            return None
        confidence, codes = (logits / self.temperature).softmax(dim=1).max(dim=1)
        named = functional.one_hot(codes, logits.shape[1]).to(logits.dtype)
        is_sure = (confidence >= self.threshold).to(logits.dtype)[:, None]
        self._update_pace((named * is_sure).sum(dim=0))
        trust = self._judge(features).softmax(dim=1).max(dim=1).values
        spread = self.smoothing / (logits.shape[1] - 1)
        smoothed = named * (1 - self.smoothing) + (1 - named) * spread
        self._count(named * is_sure)
        return torch.cat([named * trust[:, None], smoothed * is_sure], dim=1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the main head, by weight and with margins, and that of the auxiliary head."""
        named, smoothed = targets.chunk(2, dim=1)
        auxiliary = functional.cross_entropy(self._judge(self._take(len(logits))), smoothed, reduction="sum")
        return self.weight * self._with_margins(logits, named) + auxiliary

    def label_loss(self, loss: Loss) -> Loss:
        """Return the loss of labelled images: with margins, and that of the auxiliary head beside it."""

        def with_both(logits: Tensor, targets: Tensor) -> Tensor:
            auxiliary = functional.cross_entropy(self._judge(self._take(len(logits))), targets, reduction="sum")
            return self._with_margins(logits, targets, loss) + auxiliary

        return with_both

    def report(self) -> dict[str, Any]:
        """Return how much was named with confidence, the share of each class, and the margins."""
        return super().report() | {"margins": [round(margin, 4) for margin in self.margins().tolist()]}

    def _update_pace(self, n_named: Tensor) -> None:
        """Follow how often each class is named with confidence, as a share of the most frequent one's."""
        if not bool(n_named.any()):
            return
        share = 1 - grown_momentum(self.momentum, int(self.n_updates))
        self.pace.lerp_(n_named / n_named.max(), share)
        self.pace /= self.pace.max()
        self.n_updates += 1

    def _with_margins(self, logits: Tensor, targets: Tensor, loss: Loss = cross_entropy) -> Tensor:
        """Return a loss of logits whose wanted class is lowered by its margin."""
        wanted = functional.one_hot(targets.argmax(dim=1), logits.shape[1]).to(logits.dtype)
        return loss(logits / self.temperature - wanted * self.margins(), targets)

    def _judge(self, features: Tensor) -> Tensor:
        """Return the auxiliary head's logits, (n_images, n_classes) float32."""
        with torch.autocast(features.device.type, enabled=False):
            return self.scale * self.auxiliary(features.float())

    def _take(self, n_images: int) -> Tensor:
        """Return what the head read of the last images, and forget all that it read."""
        features = torch.cat(self._features)[-n_images:]
        self._features.clear()
        return features


def make_method(
    settings: Semi, wanted: Tensor, label_smoothing: float = 0.0, head: nn.Module | None = None, scale: float = 1.0
) -> Method:
    """Build one of `kit.models.training.semi.STEPWISE`; `wanted` and `label_smoothing` are those of `Matching`.

    InputError where the method needs the one head of a network, and there is none or two.
    """
    if settings.semi == "mean_teacher":
        return MeanTeacher(settings, len(wanted))
    if settings.semi != "finessl":
        return Matching(settings, wanted, label_smoothing)
    heads = list(head) if isinstance(head, nn.ModuleList) else [head]
    if len(heads) != 1 or heads[0] is None:
        raise InputError('semi = "finessl" sets a second head beside the only one: not with several heads, or none')
    return FineSSL(settings, len(wanted), heads[0], scale)
