"""Linear probe: logistic regression on cached features, with CLIP's zero-shot opinion as a prior."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.special import log_softmax

from kit.core.errors import InputError
from kit.core.names import MULTICLASS, MULTILABEL
from kit.data.images import Images
from kit.features.prompts import read_text_weights
from kit.models.heads.head import NESTED, Head, Setting
from kit.models.heads.logistic import fit_each, fit_shared
from kit.models.search import Between
from kit.scoring.task import Task

STRENGTHS = [30.0, 10.0, 100.0]  # inverse strengths of the regularisation; 30 first: right most often
PULLS = [0.0, 0.1, 0.3, 1.0]
SHARINGS = [0.0, 0.5, 1.5]  # 0 first: in a tie the hierarchy is ignored
SHARING_UNCHOSEN = 0.5  # with a single hold-out, which may not choose


@dataclass
class LinearProbe(Head):
    """Fit a multinomial logistic regression, pulled towards zero or towards the zero-shot classifier.

    With several labels per image there is one regression per class.

    Parameters
    ----------
    C
        Inverse strength of the regularisation on unit-length features, above 0, or ``"nested"``.
    pull
        Share of the zero-shot classifier (of the first prompt list) at which the weights start and towards which the
        regularisation pulls them, 0 or more, or ``"nested"``; 0 pulls towards zero, as scikit-learn does. Unlike
        `prior`, which is added after the fit, the labels are fitted on top of it.

    hierarchy
        How far the classes of one group, by ``[data] hierarchy``, share their weights: a class's are its own part plus
        so many times those of its groups, and both are regularised alike (Salakhutdinov et al. 2011). 0 ignores the
        hierarchy; ``"nested"`` chooses, 0 among the choices.

    References
    ----------
    Fahes et al. 2024, Fine-tuning CLIP's last visual projector (ProLIP); Silva-Rodriguez et al. 2024, A closer look at
    the few-shot adaptation of large vision-language models (CLAP): the pull replaces a validation set. Salakhutdinov,
    Torralba and Tenenbaum 2011, Learning to share visual appearance for multiclass object detection, equation 2.
    """

    tasks: ClassVar[tuple[str, ...]] = (MULTICLASS, MULTILABEL)

    C: Annotated[float, Field(gt=0), Between(0.1, 1e4, log=True)] | Literal["nested"] = 30.0
    pull: Annotated[float, Field(ge=0), Between(0, 1, needs="prompts")] | Literal["nested"] = 0.0
    hierarchy: Annotated[float, Field(ge=0)] | Literal["nested"] = 0.0

    def check_task(self, task: Task) -> None:
        """Refuse options that the competition's labels give no meaning to."""
        super().check_task(task)
        if self.pull != 0 and task.is_multilabel:
            raise InputError("pull: words choose one class per image; leave it out with several labels")
        if self.pull != 0 and self.prompts is None:
            raise InputError(f"pull = {self.pull!r} needs prompts, towards whose weights it pulls")
        if self.hierarchy == 0:
            return
        if not task.has_hierarchy:
            raise InputError(f"hierarchy = {self.hierarchy!r} needs [data] hierarchy, which says who is whose group")
        if task.is_multilabel:
            raise InputError("hierarchy: with several labels per image parents are classes of their own; leave it out")
        if self.pull != 0:
            raise InputError("hierarchy and pull both say where weights come from; leave one of them at 0")

    def own_settings(self) -> list[Setting]:
        """Return the strengths, pulls and sharings to try."""
        strengths = STRENGTHS if self.C == NESTED else [self.C]
        pulls = PULLS if self.pull == NESTED else [self.pull]
        settings = [{"C": strength, "pull": pull} for pull, strength in product(pulls, strengths)]
        if self.hierarchy == 0:
            return settings
        sharings = SHARINGS if self.hierarchy == NESTED else [self.hierarchy]
        return [{**setting, "hierarchy": sharing} for sharing, setting in product(sharings, settings)]

    def own_default(self) -> Setting:
        """Return the own setting where nothing may choose: a little sharing, where it is on."""
        first = self.own_settings()[0]
        return first | {"hierarchy": SHARING_UNCHOSEN} if self.hierarchy == NESTED else first

    def learn(self, features: np.ndarray, labeled: Images) -> dict[str, np.ndarray]:
        """Fit a regression for every setting."""
        settings = self.own_settings()
        anchor = self._anchor(labeled) if any(setting["pull"] for setting in settings) else 0.0
        fitted = [
            self._fit_shared(features, labeled, setting["C"], setting["hierarchy"])
            if setting.get("hierarchy")
            else self._fit(features, labeled, setting["C"], setting["pull"] * anchor)
            for setting in settings
        ]
        coefficients, intercepts = zip(*fitted, strict=True)
        return {"coefficients": np.stack(coefficients), "intercepts": np.stack(intercepts)}

    def logits(self, features: np.ndarray, learned: dict[str, np.ndarray], own: Setting) -> np.ndarray:
        """Return (n_images, n_classes) logits."""
        i = self.own_settings().index(own)
        return features @ learned["coefficients"][i].T + learned["intercepts"][i]

    def _anchor(self, labeled: Images) -> np.ndarray:
        """Return the zero-shot classifier, (n_classes, n_dims), scaled as CLIP scales cosines."""
        text = read_text_weights(labeled.pool, self.encoder, self.encoder_args, self._lists()[0])
        return text.logit_scale * text.values.astype(np.float64)

    def _fit(self, features: np.ndarray, labeled: Images, C: float, anchor: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (n_classes, n_dims) and intercepts; a class without an image gets no probability."""
        if labeled.is_multilabel:
            return fit_each(features, labeled.labels, labeled.weights, C)
        if not np.any(anchor):
            return fit_plain(features, labeled, C)
        seen, codes = np.unique(labeled.labels, return_inverse=True)
        fitted = fit_anchored(features.astype(np.float64), codes, labeled.weights, C, anchor[seen])
        return _spread(*fitted, seen, labeled.n_classes)

    def _fit_shared(
        self, features: np.ndarray, labeled: Images, C: float, sharing: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients and intercepts of classes that share weights with those of their groups."""
        seen, codes = np.unique(labeled.labels, return_inverse=True)
        levels = labeled.pool.hierarchy.levels.values()
        groups = np.hstack([np.zeros((len(seen), 0)), *(level.members[seen] for level in levels)])
        fitted = fit_shared(features, codes, labeled.weights, C, sharing * groups)
        return _spread(*fitted, seen, labeled.n_classes)


def fit_plain(features: np.ndarray, labeled: Images, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit scikit-learn's logistic regression; one row of coefficients per class, also of two.

    Parameters
    ----------
    features
        (n_images, n_dims).
    labeled
        Their labels and weights.
    C
        Inverse strength of the regularisation.

    Returns
    -------
    tuple
        Coefficients (n_classes, n_dims) and intercepts (n_classes,): minus infinity for a class without an image.
    """
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():  # one image per class is few, but not a mistake
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        regression = LogisticRegression(C=C, max_iter=2000)
        regression.fit(features, labeled.labels, sample_weight=labeled.weights)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes
        halves = np.array([[-0.5], [0.5]])
        coefficients, intercepts = halves * coefficients, halves[:, 0] * intercepts
    return _spread(coefficients, intercepts, regression.classes_, labeled.n_classes)


def probe_opinion(features: np.ndarray, learned: dict[str, np.ndarray]) -> np.ndarray:
    """Return the log-probabilities of a regression that `fit_plain` gave, (n_images, n_classes)."""
    return log_softmax(features @ learned["coefficients"].T + learned["intercepts"], axis=1)


def _spread(
    coefficients: np.ndarray, intercepts: np.ndarray, seen: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Put the rows of the classes that were seen among those of all classes."""
    every, offsets = np.zeros((n_classes, coefficients.shape[1])), np.full(n_classes, -np.inf)
    every[seen], offsets[seen] = coefficients, intercepts
    return every, offsets


def fit_anchored(
    features: np.ndarray, codes: np.ndarray, weights: np.ndarray, C: float, anchor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise C times the weighted log-loss plus half the squared distance of the coefficients from an anchor.

    The solution differs from the anchor only within the span of the features, so the search runs there: n_images
    dimensions per class at most.

    Parameters
    ----------
    features
        (n_images, n_dims) float64.
    codes
        (n_images,) 0..n_classes - 1.
    weights
        (n_images,) of each image's loss.
    C
        Inverse strength of the regularisation.
    anchor
        (n_classes, n_dims) coefficients to start at and to be pulled to.

    Returns
    -------
    tuple
        Coefficients (n_classes, n_dims) and intercepts (n_classes,).
    """
    from scipy.optimize import minimize

    C = C / 2 if len(anchor) == 2 else C  # scikit-learn penalises one row for two classes, here both are
    basis, triangle = np.linalg.qr(features.T)  # (n_dims, rank), (rank, n_images)
    reduced = np.hstack([triangle.T, np.ones((len(codes), 1))])  # (n_images, rank + 1): the last is the intercept
    wanted = np.eye(len(anchor))[codes]
    offset = features @ anchor.T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = flat.reshape(len(anchor), -1)
        log_proba = log_softmax(offset + reduced @ moved.T, axis=1)
        penalised = moved.copy()
        penalised[:, -1] = 0.0
        value = 0.5 * (penalised**2).sum() - C * (weights @ (wanted * log_proba).sum(axis=1))
        gradient = C * ((np.exp(log_proba) - wanted) * weights[:, None]).T @ reduced + penalised
        return value, gradient.ravel()

    start = np.zeros(len(anchor) * reduced.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    moved = found.x.reshape(len(anchor), -1)
    return anchor + moved[:, :-1] @ basis.T, moved[:, -1]
