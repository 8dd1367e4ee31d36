"""The keys of competition.toml that balance classes, the same for every model, and what they make of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.core.errors import InputError
from kit.core.shapes import Labels, Proba, Rows, Weights
from kit.data.images import Images
from kit.models.balance.adjustment import adjust
from kit.models.balance.resampling import draw_counts
from kit.models.balance.weights import BETA, class_counts, class_shares, class_weights
from kit.models.model import Model
from kit.scoring.task import Task

NESTED = "nested"
SHARES = "class_shares"  # name of the kept tensor that holds how frequent the classes are
ADJUSTED = "logit_adjustment"
WEIGHTED = ("inverse", "sqrt_inverse", "effective")
RESAMPLED = ("over", "under", "repeat_factor")
TAUS = [0.0, 0.25, 0.5, 0.75, 1.0]  # 0 first: in a tie nothing is adjusted
# Also with a single hold-out, which may not choose. With the published 1, which is for balanced accuracy, probes lost
# accuracy; halfway macro-F1 rose as much and accuracy stayed (trashnet, a tenth labelled).
TAU = 0.5
READ_BY = {"tau": ADJUSTED, "effective_beta": "effective", "repeat_threshold": "repeat_factor"}


@dataclass(kw_only=True)
class Balance:
    """Hold how a model treats classes of unequal size.

    Parameters
    ----------
    balance
        ``"none"``; class weights: ``"inverse"`` frequency (scikit-learn's "balanced"), ``"sqrt_inverse"``, half as far,
        ``"effective"`` number of samples (Cui et al. 2019); resampling: ``"over"`` to the most frequent class,
        ``"under"`` to the rarest, ``"repeat_factor"`` (Gupta et al. 2019); ``"logit_adjustment"`` of the predictions
        (Menon et al. 2021); ``"nested"``: logit adjustment whose tau, 0 among them, is chosen for each fold on the
        other folds' oof rows. A network draws anew in every epoch; for other models a draw is the number of times that
        an image was drawn, as its weight.
    tau
        Of ``"logit_adjustment"``: how far, 0 or more; None for one half. Published is 1, which is best for balanced
        accuracy.
    effective_beta
        Of ``"effective"``: see `kit.models.balance.class_weights`; None for .999.
    repeat_threshold
        Of ``"repeat_factor"``: share of the images below which a class is repeated; None for 1 / n_classes.
    """

    balance: Literal[
        "none",
        "inverse",
        "sqrt_inverse",
        "effective",
        "over",
        "under",
        "repeat_factor",
        "logit_adjustment",
        "nested",
    ] = "none"
    tau: Annotated[float, Field(ge=0)] | None = None
    effective_beta: Annotated[float, Field(ge=0, lt=1)] | None = None
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] | None = None

    def __post_init__(self) -> None:
        for key, reader in READ_BY.items():
            if getattr(self, key) is not None and self.balance != reader:
                raise InputError(f'{key} is read with balance = "{reader}" alone, not "{self.balance}"')

    def check_task(self, task: Task) -> None:
        """Refuse, as InputError, what pits the classes against each other where an image may have several."""
        if task.is_multilabel and (self.taus() != [0.0] or self.balance in ("over", "under")):
            raise InputError(
                f'balance = "{self.balance}" sets one class against the others; with several labels per image use '
                'class weights or "repeat_factor"'
            )

    def taus(self) -> list[float]:
        """Return the strengths of logit adjustment to try; a single one where nothing is to be chosen."""
        if self.balance == NESTED:
            return TAUS
        return [TAU if self.tau is None else self.tau] if self.balance == ADJUSTED else [0.0]

    def weights_of(self, labels: Labels, n_classes: int, weights: Weights | None = None) -> Weights:
        """Return the weight of each class, (n_classes,), 1 without class weights; see
        `kit.models.balance.class_weights`."""
        beta = BETA if self.effective_beta is None else self.effective_beta
        return class_weights(labels, self.balance, n_classes, beta, weights)


def image_weights(labels: Labels, of_class: Weights) -> Weights:
    """Return the weight of each image, (n_images,): its class's; of several, the largest, and of none the smallest."""
    if labels.ndim == 1:
        return of_class[labels]
    return np.where(labels > 0, of_class, of_class.min()).max(axis=1)


def balance_images(labeled: Images, settings: Balance, seed: int, repeat: bool = False) -> Images:
    """Return the training images as they shall count: with resampling those that were drawn.

    With `repeat` an image that was drawn several times comes as often, for networks that vary each copy anew; else it
    comes once, with the number as a factor on its weight.
    """
    if settings.balance in WEIGHTED:
        of_class = settings.weights_of(labeled.labels, labeled.n_classes, labeled.weights)
        return _times(labeled, image_weights(labeled.labels, of_class))
    if settings.balance in RESAMPLED:
        threshold = settings.repeat_threshold
        counts = draw_counts(labeled.labels, settings.balance, labeled.n_classes, seed, threshold)
        if repeat:
            return labeled.take(np.repeat(np.arange(len(labeled)), counts))
        drawn = np.flatnonzero(counts)
        return _times(labeled.take(drawn), counts[drawn])
    return labeled


def sizes_before_and_after(labeled: Images, settings: Balance, seed: int) -> tuple[Weights, Weights]:
    """Return how much each class counts before and after, (n_classes,) each; see `balance_images`."""
    balanced = balance_images(labeled, settings, seed)
    before, after = (class_counts(images.labels, images.n_classes, images.weights) for images in (labeled, balanced))
    return before, after


def _times(images: Images, factors: Weights | Rows) -> Images:
    """Return images with factors on their weights."""
    return replace(images, weights=(images.weights * factors).astype(np.float32))


@dataclass(kw_only=True)
class Adjustable(Balance, Model):
    """A model whose probabilities are adjusted after the fit, at a tau that may be chosen nested.

    A subclass gives its probabilities in `predict_plain`, and calls `remember_classes` when it is fitted.
    """

    sweep_name: ClassVar[str] = "tau"

    def predict_plain(self, images: Images) -> Proba:
        """Return probabilities before any adjustment, (n_images, n_classes)."""
        raise NotImplementedError

    def remember_classes(self, labeled: Images) -> None:
        """Note how frequent the classes are in training, and forget what was settled."""
        self.recall_classes(class_shares(labeled.labels, labeled.n_classes, labeled.weights))

    def recall_classes(self, shares: Weights) -> None:
        """Take back how frequent the classes were, (n_classes,) shares."""
        self.shares_ = shares
        self._settled: float | None = None

    def predict_proba(self, images: Images) -> Proba:
        """Return probabilities at the settled or the fixed tau, (n_images, n_classes)."""
        taus = self.taus()
        unsettled = taus[0] if len(taus) == 1 else self.sweep_default
        return adjust(self.predict_plain(images), self.shares_, unsettled if self._settled is None else self._settled)

    @property
    def sweep_default(self) -> float:
        """Return one half, which is best for most."""
        return TAU

    def sweep_values(self) -> list[float]:
        """Return the taus to try; none where tau is fixed."""
        taus = self.taus()
        return taus if len(taus) > 1 else []

    def predict_sweep(self, images: Images) -> Proba:
        """Return probabilities at every tau, (n_values, n_images, n_classes)."""
        proba = self.predict_plain(images)
        return np.stack([adjust(proba, self.shares_, tau) for tau in self.taus()])

    def settle(self, value: float) -> None:
        """Predict with this tau from now on."""
        self._settled = value
