"""How much images look like the labelled ones, by a finished run and by the features of its encoders.

Reads a finished run's predictions and weights, and the feature cache; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kit.core.errors import InputError, some
from kit.core.shapes import Groups, Labels, Proba, Rows, Scores, Vectors
from kit.data.images import Images, ids_of
from kit.data.prepared import Prepared
from kit.features.joint import encode_jointly, encoders_of
from kit.models import MODELS
from kit.models.heads.head import Head
from kit.runs.fit.fold import WEIGHTS_FILE
from kit.runs.fit.restore import read_settled, restore_fold
from kit.runs.store.find import result_at, settings_of
from kit.runs.store.imported import list_imported
from kit.runs.store.result import IMPORTED, Result, fold_folder
from kit.scoring.rejection import (
    MIN_CLASSES,
    Hidden,
    class_distance,
    class_similarity,
    drop_class,
    energy,
    max_probability,
)

MOST_EXEMPLARS = 500  # of a class: more labelled images to compare with say hardly more
COMBINED = ("max_probability", "similarity", "distance")
OF_FEATURES: dict[str, Callable[[Vectors, Vectors, Labels], Scores]] = {
    "similarity": class_similarity,
    "distance": class_distance,
}


def exemplars_of(prepared: Prepared, fold: int, without: int | None = None) -> Images:
    """Return the training images of a fold to compare others with: of large classes a draw, none of `without`."""
    images = prepared.training(fold)
    rows = [_draw(np.flatnonzero(images.labels == code)) for code in np.unique(images.labels) if code != without]
    return images.take(np.sort(np.concatenate(rows)))


class Scorer:
    """Score images by a run: each labelled one as the folds that hold it out see it, test images by all folds' mean.

    The competition's ``[decision]`` says which scores are wanted, and of whose features; where they compare features
    and the run has no pretrained encoder, InputError is raised.
    """

    def __init__(self, prepared: Prepared, result: Result) -> None:
        self._prepared, self._result, self._folds = prepared, result, prepared.scored
        plan = prepared.competition.decision
        self.encoders = [(plan.encoder, plan.encoder_args)] if plan.encoder else _encoders_of(prepared, result)
        self.names = COMBINED if plan.score == "combined" else (plan.score,)
        if self.encoders or not set(self.names) & set(OF_FEATURES):
            return
        if plan.score != "combined":  # of which the probability is left
            raise InputError(
                f'[decision] score = "{plan.score}" compares features, and {result.name} has no pretrained encoder: '
                'name one, encoder = "...", or take score = "max_probability"'
            )
        self.names = ("max_probability",)

    def oof(self) -> list[Scores]:
        """Return the scores of the labelled images that are scored, (n_images,) each."""
        return self._in_order([self._score_held_out(fold) for fold in self._folds])

    def test(self) -> list[Scores]:
        """Return the scores of the test images, (n_test,) each."""
        images = self._prepared.pool.select(self._prepared.split("test"))
        per_fold = [self._score(fold, images, self._proba(fold, "test", images)) for fold in self._folds]
        return [np.mean(scores, axis=0) for scores in zip(*per_fold, strict=True)]

    def hidden(self, blocks: Groups) -> list[Hidden]:
        """Return the scores of the labelled images when each class is hidden in turn."""
        n_classes, labels = len(self._prepared.classes), self._prepared.labels[self._prepared.scored_rows]
        if "energy" in self.names or n_classes < MIN_CLASSES:
            cause = 'score = "energy"' if "energy" in self.names else f"{n_classes} classes"
            raise InputError(
                f'[decision] accept_rate = "leave_one_out" hides classes in turn, which {cause} does not allow: give a '
                "share of the labelled images to keep, accept_rate = 0.95"
            )
        hidden = []
        for code in range(n_classes):
            scores = self._in_order([self._score_held_out(fold, without=code) for fold in self._folds])
            hidden.append(Hidden(tuple(scores), labels == code, blocks))
        return hidden

    def _in_order(self, per_fold: list[list[Scores]]) -> list[Scores]:
        """Return every score of all folds' images, (n_images,) each, in the order of the scored rows."""
        rows = np.concatenate([np.flatnonzero(self._prepared.folds == fold) for fold in self._folds])
        return [np.concatenate(scores)[np.argsort(rows)] for scores in zip(*per_fold, strict=True)]

    def _score_held_out(self, fold: int, without: int | None = None) -> list[Scores]:
        """Return the scores of a fold's images, as if one class were not known."""
        images = self._prepared.held_out(fold)
        proba = self._result.predictions("oof").at(ids_of(images)).proba
        return self._score(fold, images, proba if without is None else drop_class(proba, without), without)

    def _score(self, fold: int, images: Images, proba: Proba, without: int | None = None) -> list[Scores]:
        """Return every score of images by what the training images of a fold taught."""
        scores = []
        for name in self.names:
            if name == "max_probability":
                scores.append(max_probability(proba))
            elif name == "energy":
                scores.append(energy(_restore_head(self._prepared, self._result, fold).predict_logits(images)))
            else:
                exemplars = exemplars_of(self._prepared, fold, without)
                values = self._features(images), self._features(exemplars)
                scores.append(OF_FEATURES[name](*values, exemplars.labels))
        return scores

    def _proba(self, fold: int, split: str, images: Images) -> Proba:
        """Return the predictions of one fold's model, or of the whole run where folds are not kept."""
        is_kept = (fold_folder(self._result.folder, fold) / f"{split}.parquet").exists()
        predictions = self._result.fold_predictions(fold, split) if is_kept else self._result.predictions(split)
        return predictions.at(ids_of(images)).proba

    def _features(self, images: Images) -> Vectors:
        """Return the encoders' features of images, (n_images, n_dims)."""
        return encode_jointly(images, self.encoders)


def _draw(rows: Rows) -> Rows:
    """Return at most so many rows, the same every time."""
    return np.random.default_rng(0).permutation(rows)[:MOST_EXEMPLARS]


def _restore_head(prepared: Prepared, result: Result, fold: int) -> Head:
    """Return one fold's fitted head; refuse a run whose logits cannot be had."""
    model, weights = None, fold_folder(result.folder, fold) / WEIGHTS_FILE
    if issubclass(MODELS.get(result.record.model, object), Head) and weights.exists():
        model = restore_fold(prepared, settings_of(prepared, result), result.folder, fold)
    if not isinstance(model, Head):  # several copies are none
        heads = some(name for name, model_type in MODELS.items() if issubclass(model_type, Head))
        raise InputError(
            f'[decision] score = "energy" needs the logits of one head, which {result.name} does not keep; they can be '
            f'had of {heads} without bags or seeds; or take score = "combined"'
        )
    model.settle(read_settled(result.folder, fold))
    return model


def _encoders_of(prepared: Prepared, result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Return the pretrained encoders of a run, or of an ensemble's members, each once."""
    encoders: dict[str, tuple[str, dict[str, Any]]] = {}
    for options in _options_of(prepared, result):
        if options.get("pretrained", True):
            encoders |= {repr(encoder): encoder for encoder in encoders_of(options)}
    return list(encoders.values())


def _options_of(prepared: Prepared, result: Result) -> Iterator[dict[str, Any]]:
    """Give the options of a run, or of the members that weigh in an ensemble."""
    yield result.record.options
    imported = list_imported(prepared) if result.record.members else ()
    for name, key in result.record.members.items():
        if result.record.weights[name] > 0:
            place = IMPORTED if name in imported else key
            yield from _options_of(prepared, result_at(prepared, name, place))
