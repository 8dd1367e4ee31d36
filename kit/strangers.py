"""Strangers: test images that show none of the classes, found by scores that no such image took part in.

Reads a finished run and features; writes nothing. No image that shows none of the classes is known, so the threshold is
that which keeps a given share of the labelled images, each scored by the models and the labelled images of the other
folds; or that share is chosen by hiding each class in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.bagging import are_copies
from kit.competition import DecisionPlan
from kit.decision import reject
from kit.decision.chosen import check_decision, scored_blocks
from kit.errors import InputError, some
from kit.features import encode_images
from kit.files import read_json
from kit.fitting import read_tensors
from kit.images import Images
from kit.models import MODELS
from kit.models.head import Head
from kit.prepare import Prepared
from kit.runs import IMPORTED, Result, fold_folder, list_imported, result_at

WEIGHTS = "model.safetensors"
MOST_EXEMPLARS = 500  # of a class: more labelled images to compare with say hardly more
COMBINED = ("max_probability", "similarity", "distance")
OF_FEATURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "similarity": reject.class_similarity,
    "distance": reject.class_distance,
}
HOW_GIVEN = "the threshold keeps {rate:.0%} of the labelled images, scored by the other folds"
HOW_HIDDEN = "the share that is kept, {rate:.0%}, tells each class best from the others when it is hidden"
UNSEEN = "no image that shows none of the classes took part"


@dataclass(frozen=True)
class Rejection:
    """Hold which test images show none of the classes, and how that was decided.

    Parameters
    ----------
    scores
        The scores' names; their ranks are averaged.
    accept_rate
        Share of held-out labelled images that the threshold keeps, 0..1.
    threshold
        The mean rank below which an image is rejected.
    kept
        Share of labelled images kept by a threshold that the other folds chose; None where there are no other folds.
    passed
        Share of the images of a hidden class that are let pass, 0..1, each class hidden in turn; None where it was not
        tried. Of a true stranger it is not known.
    how
        How the threshold was chosen, in a sentence.
    ids, ranks, is_rejected
        (n_test,) test images, their mean ranks, and whether they are rejected.
    """

    scores: tuple[str, ...]
    accept_rate: float
    threshold: float
    kept: float | None
    passed: float | None
    how: str
    ids: np.ndarray
    ranks: np.ndarray
    is_rejected: np.ndarray

    @property
    def sentence(self) -> str:
        """Say how the threshold was chosen and what it does."""
        kept = "" if self.kept is None else f"; nested it keeps {self.kept:.1%}"
        passed = "" if self.passed is None else f"; of a hidden class it lets {self.passed:.1%} pass"
        rejected = f"{int(self.is_rejected.sum())} of {len(self.ids)} test images are rejected"
        return f"none of these, by {' and '.join(self.scores)}: {self.how}{kept}{passed}; {rejected}"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON, without the images."""
        names = ("scores", "accept_rate", "threshold", "kept", "passed", "how")
        facts = {name: getattr(self, name) for name in names}
        return facts | {"n_test": len(self.ids), "n_rejected": int(self.is_rejected.sum())}


def find_strangers(prepared: Prepared, result: Result) -> Rejection:
    """Find the test images that show none of the classes.

    Parameters
    ----------
    prepared
        The competition made ready, with one label per image and ``[decision] none_of_these``.
    result
        A finished run, or the ensemble.

    Raises
    ------
    InputError
        When the name is a class, a score cannot be had of this run, or there are too few classes to hide one.
    """
    plan = prepared.competition.decision
    check_decision(prepared)
    scorer = _Scorer(prepared, result, plan)
    oof, test, blocks = scorer.oof(), scorer.test(), scored_blocks(prepared)
    hidden = scorer.hidden(blocks) if plan.accept_rate == "leave_one_out" else None
    rate, passed = (plan.accept_rate, None) if hidden is None else reject.choose_accept_rate(hidden)
    ranks = reject.combine_ranks(oof, test)
    threshold = reject.threshold_of(reject.combine_ranks(oof, oof), rate)
    how = (HOW_GIVEN if hidden is None else HOW_HIDDEN).format(rate=rate)
    return Rejection(
        scorer.names, rate, threshold, _nest(oof, blocks, plan, hidden), passed, f"{how}; {UNSEEN}",
        prepared.pool.ids[prepared.split("test")], ranks, ranks < threshold,
    )  # fmt: skip


def _nest(
    oof: list[np.ndarray], blocks: np.ndarray, plan: DecisionPlan, hidden: list[reject.Hidden] | None
) -> float | None:
    """Return the share of labelled images that are kept by a threshold of the other blocks."""
    every = np.unique(blocks)
    if len(every) < 2:
        return None
    kept = np.empty(len(blocks), dtype=bool)
    for block in every:
        rest, mine = [own[blocks != block] for own in oof], [own[blocks == block] for own in oof]
        rate = plan.accept_rate
        if hidden is not None:
            rate, _ = reject.choose_accept_rate([own.without(block) for own in hidden])
        threshold = reject.threshold_of(reject.combine_ranks(rest, rest), rate)
        kept[blocks == block] = reject.combine_ranks(rest, mine) >= threshold
    return float(kept.mean())


class _Scorer:
    """Score images by a run: each labelled one as the folds that hold it out see it, test images by all folds' mean."""

    def __init__(self, prepared: Prepared, result: Result, plan: DecisionPlan) -> None:
        self._prepared, self._result = prepared, result
        self._encoders = [(plan.encoder, plan.encoder_args)] if plan.encoder else _encoders_of(prepared, result)
        self.names = COMBINED if plan.score == "combined" else (plan.score,)
        if self._encoders or not set(self.names) & set(OF_FEATURES):
            return
        if plan.score != "combined":  # of which the probability is left
            raise InputError(
                f'[decision] score = "{plan.score}" compares features, and {result.name} has no pretrained encoder: '
                'name one, encoder = "...", or take score = "max_probability"'
            )
        self.names = ("max_probability",)

    def oof(self) -> list[np.ndarray]:
        """Return the scores of the labelled images that are scored, (n_images,) each."""
        return [np.concatenate(own)[self._order] for own in zip(*map(self._score_held_out, self._folds), strict=True)]

    def test(self) -> list[np.ndarray]:
        """Return the scores of the test images, (n_test,) each."""
        images = self._prepared.pool.select(self._prepared.split("test"))
        per_fold = [self._score(fold, images, self._proba(fold, "test", images)) for fold in self._folds]
        return [np.mean(own, axis=0) for own in zip(*per_fold, strict=True)]

    def hidden(self, blocks: np.ndarray) -> list[reject.Hidden]:
        """Return the scores of the labelled images when each class is hidden in turn."""
        n_classes, labels = len(self._prepared.classes), self._prepared.labels[self._prepared.scored_rows]
        if "energy" in self.names or n_classes < reject.MIN_CLASSES:
            cause = 'score = "energy"' if "energy" in self.names else f"{n_classes} classes"
            raise InputError(
                f'[decision] accept_rate = "leave_one_out" hides classes in turn, which {cause} does not allow: give a '
                "share of the labelled images to keep, accept_rate = 0.95"
            )
        found = []
        for code in range(n_classes):
            parts = [self._score_held_out(fold, without=code) for fold in self._folds]
            scores = tuple(np.concatenate(own)[self._order] for own in zip(*parts, strict=True))
            found.append(reject.Hidden(scores, labels == code, blocks))
        return found

    @property
    def _folds(self) -> tuple[int, ...]:
        return self._prepared.scored

    @property
    def _order(self) -> np.ndarray:
        """Return the positions that bring images, fold after fold, into the order of the scored rows."""
        rows = np.concatenate([np.flatnonzero(self._prepared.folds == fold) for fold in self._folds])
        return np.argsort(rows)

    def _score_held_out(self, fold: int, without: int | None = None) -> list[np.ndarray]:
        """Return the scores of a fold's images, as if one class were not known."""
        images = self._prepared.held_out(fold)
        proba = self._result.predictions("oof").at(images.ids).proba
        return self._score(fold, images, proba if without is None else reject.drop_class(proba, without), without)

    def _score(self, fold: int, images: Images, proba: np.ndarray, without: int | None = None) -> list[np.ndarray]:
        """Return every score of images by what the training images of a fold taught."""
        found = []
        for name in self.names:
            if name == "max_probability":
                found.append(reject.max_probability(proba))
            elif name == "energy":
                found.append(reject.energy(self._logits(fold, images)))
            else:
                values, codes = self._exemplars(fold, without)
                found.append(OF_FEATURES[name](self._features(images), values, codes))
        return found

    def _proba(self, fold: int, split: str, images: Images) -> np.ndarray:
        """Return what one fold's model said, or what was said together where folds are not kept."""
        is_kept = (fold_folder(self._result.folder, fold) / f"{split}.parquet").exists()
        said = self._result.fold_predictions(fold, split) if is_kept else self._result.predictions(split)
        return said.at(images.ids).proba

    def _features(self, images: Images) -> np.ndarray:
        """Return the encoders' features side by side, of unit length."""
        values = [encode_images(images, name, args).values for name, args in self._encoders]
        return np.concatenate(values, axis=1) / np.float32(np.sqrt(len(values)))

    def _exemplars(self, fold: int, without: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return features and codes of a fold's training images, of large classes a draw."""
        images = self._prepared.training(fold)
        rows = [_draw(np.flatnonzero(images.labels == code)) for code in np.unique(images.labels) if code != without]
        images = images.take(np.sort(np.concatenate(rows)))
        return self._features(images), images.labels

    def _logits(self, fold: int, images: Images) -> np.ndarray:
        """Return the logits of one fold's head."""
        return _restore_head(self._result, fold, self._prepared.classes).predict_logits(images)


def _draw(rows: np.ndarray) -> np.ndarray:
    """Return at most so many rows, the same every time."""
    return np.random.default_rng(0).permutation(rows)[:MOST_EXEMPLARS]


def _restore_head(result: Result, fold: int, classes: tuple[str, ...]) -> Head:
    """Return one fold's fitted head; refuse a run whose logits cannot be had."""
    model_type, mine = MODELS.get(result.facts["model"]), fold_folder(result.folder, fold)
    tensors = read_tensors(mine / WEIGHTS) if (mine / WEIGHTS).exists() else {}
    if not (isinstance(model_type, type) and issubclass(model_type, Head)) or not tensors or are_copies(tensors):
        heads = some(name for name, own in MODELS.items() if issubclass(own, Head))
        raise InputError(
            f'[decision] score = "energy" needs the logits of one head, which {result.name} does not keep; they can be '
            f'had of {heads} without bags or seeds; or take score = "combined"'
        )
    model = model_type(**result.facts["options"])
    model.restore(tensors, classes)
    model.settle(read_json(mine / "settled.json"))
    return model


def _encoders_of(prepared: Prepared, result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Return the pretrained encoders of a run, or of an ensemble's members, each once."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for options in _options_of(prepared, result):
        if options.get("encoder") and options.get("pretrained", True):
            own = (options["encoder"], options.get("encoder_args") or {})
            found[repr(own)] = own
    return list(found.values())


def _options_of(prepared: Prepared, result: Result) -> Iterator[dict[str, Any]]:
    """Give the options of a run, or of the members that weigh in an ensemble."""
    yield result.facts.get("options") or {}
    imported = list_imported(prepared) if "members" in result.facts else ()
    for name, key in result.facts.get("members", {}).items():
        if result.facts["weights"][name] > 0:
            place = IMPORTED if name in imported else key
            yield from _options_of(prepared, result_at(prepared, name, place))
