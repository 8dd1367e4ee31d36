"""Linear probe: logistic regression on cached features, with CLIP's zero-shot opinion as a prior."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.core.errors import InputError
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Logits, Tensors, Vectors
from kit.data.images import Images
from kit.features.prompts import read_text_weights
from kit.models.balance import NESTED
from kit.models.heads.head import Head, Setting
from kit.models.logistic import Regression, fit_anchored, fit_each, fit_plain, fit_shared, spread_rows
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
        Inverse strength of the regularisation on one encoder's features of unit length, above 0, or ``"nested"``; of
        several encoders joined, which are each shorter, so many times more.
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
        if self.pull != 0 and len(self.encoders_used) > 1:
            raise InputError("pull: words are the features of one encoder; leave out pull, or encoders")
        if self.pull != 0 and (self.power != 1 or self.whiten != 0):
            raise InputError("pull: words have the features as they are; leave out pull, or power and whiten")
        if self.hierarchy == 0:
            return
        if not task.has_hierarchy:
            raise InputError(f"hierarchy = {self.hierarchy!r} needs [data] hierarchy, which says who is whose group")
        if task.is_multilabel:
            raise InputError("hierarchy: with several labels per image parents are classes of their own; leave it out")
        if self.pull != 0:
            raise InputError("hierarchy and pull both say where weights come from; leave one of them at 0")

    def head_settings(self) -> list[Setting]:
        """Return the strengths, pulls and sharings to try."""
        strengths = STRENGTHS if self.C == NESTED else [self.C]
        pulls = PULLS if self.pull == NESTED else [self.pull]
        settings = [{"C": strength, "pull": pull} for pull, strength in product(pulls, strengths)]
        if self.hierarchy == 0:
            return settings
        sharings = SHARINGS if self.hierarchy == NESTED else [self.hierarchy]
        return [{**setting, "hierarchy": sharing} for sharing, setting in product(sharings, settings)]

    def head_default(self) -> Setting:
        """Return the setting of the head alone where nothing may choose: a little sharing, where it is on."""
        first = self.head_settings()[0]
        return first | {"hierarchy": SHARING_UNCHOSEN} if self.hierarchy == NESTED else first

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Fit a regression for every setting."""
        settings = self.head_settings()
        anchor = self._anchor(labeled) if any(setting["pull"] for setting in settings) else None
        joined = len(self.encoders_used)
        fitted = [
            self._fit_shared(features, labeled, joined * setting["C"], setting["hierarchy"])
            if setting.get("hierarchy")
            else self._fit(
                features, labeled, joined * setting["C"], None if anchor is None else setting["pull"] * anchor
            )
            for setting in settings
        ]
        coefficients, intercepts = zip(*fitted, strict=True)
        return {"coefficients": np.stack(coefficients), "intercepts": np.stack(intercepts)}

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return (n_images, n_classes) logits."""
        i = self.head_settings().index(setting)
        return features @ learned["coefficients"][i].T + learned["intercepts"][i]

    def _anchor(self, labeled: Images) -> Vectors:
        """Return the zero-shot classifier, (n_classes, n_dims), scaled as CLIP scales cosines."""
        encoder, args = self.encoder_used
        text = read_text_weights(labeled.pool, str(encoder), args, self.prompt_lists[0])
        return text.logit_scale * text.values.astype(np.float64)

    def _fit(self, features: Vectors, labeled: Images, C: float, anchor: Vectors | None) -> Regression:
        """Return coefficients (n_classes, n_dims) and intercepts; a class without an image gets no probability."""
        if labeled.is_multilabel:
            return fit_each(features, labeled.labels, labeled.weights, C)
        if anchor is None or not anchor.any():
            return fit_plain(features, labeled, C)
        seen, codes = np.unique(labeled.labels, return_inverse=True)
        fitted = fit_anchored(features.astype(np.float64), codes, labeled.weights, C, anchor[seen])
        return spread_rows(*fitted, seen, labeled.n_classes)

    def _fit_shared(self, features: Vectors, labeled: Images, C: float, sharing: float) -> Regression:
        """Return coefficients and intercepts of classes that share weights with those of their groups."""
        seen, codes = np.unique(labeled.labels, return_inverse=True)
        levels = labeled.pool.hierarchy.levels.values() if labeled.pool.hierarchy else ()
        groups = np.hstack([np.zeros((len(seen), 0)), *(level.members[seen] for level in levels)])
        fitted = fit_shared(features, codes, labeled.weights, C, sharing * groups)
        return spread_rows(*fitted, seen, labeled.n_classes)
