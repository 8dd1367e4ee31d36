"""Learn from unlabelled images batch by batch: what a teacher's logits of one view ask of another view's logits.

Nothing here knows of images or networks, so that the loop on pixels and the head on cached features share every line:
``targets = method.teach(logits_weak, progress)``, then ``method.loss(logits_strong, targets)``. What a method remembers
from step to step lies in its buffers, and so in a checkpoint.
"""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.core.terminal import warn
from kit.models.training.loss import Loss
from kit.models.training.recipe import SHARE_OF_SURE, Semi

STEPWISE = (
    "mean_teacher",
    "fixmatch",
    "freematch",
    "swift",
    "finessl",
)  # methods in whose every step unlabelled images take part
RAMP = 5.0  # exponent of Laine and Aila's ramp: it begins at exp(-5)
TIE = 1e-4  # share by which a confidence must exceed that of a network which knows nothing


def ramp_up(progress: float) -> float:
    """Return the share of the full weight: exp(-5 (1 - t)^2), 1 from the end of the ramp on (Laine and Aila 2017)."""
    return math.exp(-RAMP * (1 - min(progress, 1.0)) ** 2)


def grown_momentum(largest: float, n_updates: int) -> float:
    """Return the momentum of a running mean after `n_updates`: low at first, so that the start is soon forgotten."""
    return min(largest, (1 + n_updates) / (10 + n_updates))


def align_batch(proba: Tensor, wanted: Tensor, mean_proba: Tensor) -> Tensor:
    """Scale probabilities (n_images, n_classes) by wanted through mean distribution, and normalise them."""
    scaled = proba * (wanted / mean_proba.clamp_min(torch.finfo(proba.dtype).tiny))
    return scaled / scaled.sum(dim=1, keepdim=True).clamp_min(torch.finfo(proba.dtype).tiny)


def freematch_thresholds(mean_confidence: Tensor, mean_proba: Tensor) -> Tensor:
    """Return FreeMatch's threshold of every class, (n_classes,): the lower, the less probable the class is on average.

    Wang et al. 2023, FreeMatch, equations 5 to 7.
    """
    return mean_confidence * mean_proba / mean_proba.max()


def confident_targets(proba: Tensor, thresholds: Tensor) -> Tensor:
    """Return the most probable class as a target, (n_images, n_classes); zeros where it is not confident enough.

    An image of which all classes are equally probable never passes: a classifier that starts at zero would name the
    first class for all of them.
    """
    confidence, codes = proba.max(dim=1)
    passes = confidence > thresholds[codes].clamp_min((1 + TIE) / proba.shape[1])
    return functional.one_hot(codes, proba.shape[1]) * passes[:, None].to(proba.dtype)


def fairness_loss(logits: Tensor, mean_proba: Tensor, histogram: Tensor) -> Tensor:
    """Return FreeMatch's fairness term: the negative cross entropy of two distributions, each freed of its histogram.

    The logits are of the strong views whose pseudo label counts; the (n_classes,) means run over the weak views (Wang
    et al. 2023, FreeMatch, equations 9 to 11).
    """
    proba = logits.softmax(dim=1)
    named = functional.one_hot(proba.argmax(dim=1), proba.shape[1]).to(proba.dtype).mean(dim=0)
    expected, present = _freed(mean_proba, histogram), _freed(proba.mean(dim=0), named)
    return (expected * torch.log(present + 1e-12)).sum()


def _freed(proba: Tensor, histogram: Tensor) -> Tensor:
    """Divide a distribution by a histogram and normalise it; classes that the histogram lacks drop out."""
    ratio = torch.where(histogram > 0, proba / histogram.clamp_min(torch.finfo(proba.dtype).tiny), 0.0)
    return ratio / ratio.sum()


class Method(nn.Module):
    """Hold what is shared: the weight of the loss, and what is counted from one report to the next."""

    by_average = False  # whether the moving average of the weights is the teacher, or the network itself
    is_strong = True  # whether the second view is varied strongly, or as the first
    on_labeled = False  # whether labelled images are among the unlabelled

    counts: Tensor

    def __init__(self, settings: Semi, n_classes: int) -> None:
        super().__init__()
        self.weight = settings.of_semi("unlabeled_weight")
        self.register_buffer("counts", torch.zeros(n_classes), persistent=False)
        self.n_seen = 0

    def teach(self, logits: Tensor, progress: float) -> Tensor | None:
        """Return targets (n_images, n_classes) of the other view, or None where there is nothing to learn.

        They come from the teacher's float32 logits; `progress` is the share of the training that lies behind, 0..1.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the other view's float32 logits, summed over the images."""
        raise NotImplementedError

    def watch(self) -> AbstractContextManager[Any]:
        """Note inside the block what the method needs of the network beside its logits: nothing, of most."""
        return contextlib.nullcontext()

    def label_loss(self, loss: Loss) -> Loss:
        """Return the loss of the labelled images: as it is, unless the method changes it."""
        return loss

    def report(self) -> dict[str, Any]:
        """Return what was taught since the last report: a share per class, and what the method adds; begin anew."""
        taught = float(self.counts.sum())
        share = (self.counts / max(taught, 1.0)).tolist()
        facts = {"mask_rate": taught / max(self.n_seen, 1), "pseudo_share": [round(part, 4) for part in share]}
        self.counts.zero_()
        self.n_seen = 0
        return facts

    def _count(self, targets: Tensor) -> None:
        """Note how many images of each class are taught."""
        named = functional.one_hot(targets.argmax(dim=1), targets.shape[1]) * (targets.sum(dim=1) > 0)[:, None]
        self.counts += named.sum(dim=0)
        self.n_seen += len(targets)


class MeanTeacher(Method):
    """Ask the network for the probabilities that the moving average of its weights gives of another view.

    Tarvainen and Valpola 2017, Mean teachers are better role models, section 2.
    """

    by_average, is_strong, on_labeled = True, False, True

    def __init__(self, settings: Semi, n_classes: int) -> None:
        super().__init__(settings, n_classes)
        self.ramp_share = settings.of_semi("ramp_share")
        self.current_weight = 0.0

    def teach(self, logits: Tensor, progress: float) -> Tensor | None:
        """Return the teacher's probabilities; the weight follows the ramp."""
        self.current_weight = self.weight * ramp_up(progress / self.ramp_share)
        targets = logits.softmax(dim=1)
        self._count(targets)
        return targets if self.current_weight else None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean square over classes, summed over images, times the weight of this step."""
        return self.current_weight * (logits.softmax(dim=1) - targets).square().mean(dim=1).sum()

    def report(self) -> dict[str, Any]:
        """Return the share of each class in the teacher's predictions, and the weight."""
        return super().report() | {"consistency_weight": self.current_weight}


class Matching(Method):
    """Let confident predictions of weak views be the labels of strong ones, as FixMatch, FreeMatch and SWIFT.

    SWIFT is FixMatch with two temperatures: one sharpens the logits in the losses, of labelled and unlabelled images,
    the other where confidence is compared with the threshold. A CLIP's probabilities, and those of a probe on a few
    labels, are flat: without them no image passes, and what passes teaches little.

    Sohn et al. 2020, FixMatch, section 2; Wang et al. 2023, FreeMatch, section 3; Liu et al. 2026, Solving
    semi-supervised few-shot learning from an auto-annotation perspective (SWIFT), section 4.

    Parameters
    ----------
    wanted
        (n_classes,) distribution of the labels, which `align` aims at.
    label_smoothing
        Of the labelled loss: it bounds the confidence that a network reaches.
    """

    wanted: Tensor
    confidence: Tensor
    proba: Tensor
    histogram: Tensor
    unaligned: Tensor
    n_updates: Tensor

    def __init__(self, settings: Semi, wanted: Tensor, label_smoothing: float = 0.0) -> None:
        n_classes = len(wanted)
        super().__init__(settings, n_classes)
        self.is_adaptive, self.align = settings.semi == "freematch", settings.of_semi("align")
        self.momentum = settings.of_semi("momentum")
        is_swift = settings.semi == "swift"
        self.loss_temperature = (settings.of_semi("loss_temperature") if is_swift else None) or 1.0
        self.confidence_temperature = (settings.of_semi("confidence_temperature") if is_swift else None) or 1.0
        self.fairness = settings.of_semi("fairness") if self.is_adaptive else 0.0
        self.threshold = 0.0 if self.is_adaptive else fixed_threshold(settings, n_classes, label_smoothing)
        self.register_buffer("wanted", wanted.float())
        self.register_buffer("confidence", torch.tensor(1 / n_classes))
        for name in ("proba", "histogram", "unaligned"):
            self.register_buffer(name, torch.full((n_classes,), 1 / n_classes))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))

    def thresholds(self) -> Tensor:
        """Return the thresholds as they are now, (n_classes,)."""
        if self.is_adaptive:
            return freematch_thresholds(self.confidence, self.proba)
        return torch.full_like(self.proba, self.threshold)

    @torch.no_grad()
    def teach(self, logits: Tensor, progress: float) -> Tensor | None:
        """Update the running means by one batch; return the labels that pass, times the weight."""
        if not self.weight and not self.fairness:
            return None
        proba = (logits / self.confidence_temperature).softmax(dim=1)
        momentum = grown_momentum(self.momentum, int(self.n_updates))
        if self.align:
            self.unaligned.lerp_(proba.mean(dim=0), 1 - momentum)
            proba = align_batch(proba, self.wanted, self.unaligned)
        confidence, codes = proba.max(dim=1)
        self.confidence.lerp_(confidence.mean(), 1 - momentum)
        self.proba.lerp_(proba.mean(dim=0), 1 - momentum)
        named = functional.one_hot(codes, proba.shape[1]).to(proba.dtype).mean(dim=0)
        self.histogram.lerp_(named, 1 - momentum)
        self.n_updates += 1
        targets = confident_targets(proba, self.thresholds())
        self._count(targets)
        return targets if bool(targets.any()) else None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return cross entropy with the labels that passed, and the fairness term as often as there are images."""
        loss = self.weight * functional.cross_entropy(logits / self.loss_temperature, targets, reduction="sum")
        passes = targets.sum(dim=1) > 0
        if self.fairness and bool(passes.any()):
            loss = loss + self.fairness * len(logits) * fairness_loss(logits[passes], self.proba, self.histogram)
        return loss

    def label_loss(self, loss: Loss) -> Loss:
        """Return the loss of labelled images, of logits at the temperature of the losses."""
        if self.loss_temperature == 1.0:
            return loss
        return lambda logits, targets: loss(logits / self.loss_temperature, targets)

    def report(self) -> dict[str, Any]:
        """Return how much passed, the share of each class, and the thresholds: one, or of every class."""
        thresholds = [round(threshold, 4) for threshold in self.thresholds().tolist()]
        return super().report() | {"threshold": thresholds if self.is_adaptive else thresholds[0]}


def fixed_threshold(settings: Semi, n_classes: int, label_smoothing: float) -> float:
    """Return the threshold of FixMatch and of self-training; warn of one that smoothed labels keep out of reach."""
    sure = 1 - label_smoothing + label_smoothing / n_classes  # the confidence of a network that fits its labels
    given = settings.of_semi("threshold")
    if given is None:
        return SHARE_OF_SURE[settings.semi] * sure
    if label_smoothing and given >= sure:
        warn(
            f"threshold = {given}: with label_smoothing = {label_smoothing} a network that fits its labels says "
            f"{sure:.2f}: hardly an unlabelled image will pass"
        )
    return given
