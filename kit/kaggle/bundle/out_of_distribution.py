"""None of these in a bundle: the rule with the labelled images that it compares with, and the new images it rejects.

`carry_rule` reads a finished run and features and writes ``strangers/rule.safetensors``; `Rejecter` reads that, and
scores new images as `kit.runs.decide` scores the test images that are here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.tensors import read_tensors, write_tensors
from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.features.cache import encode_images
from kit.kaggle.bundle.manifest import CarriedRule
from kit.models.model import Model
from kit.runs.decide.rule import learn_rule, name_rejected
from kit.runs.decide.scorer import OF_FEATURES, Scorer, exemplars_of, side_by_side
from kit.runs.store import Result
from kit.scoring import rejection as reject
from kit.scoring.predictions import Predictions

RULE_FILE = "strangers/rule.safetensors"


def carry_rule(
    prepared: Prepared, result: Result, folder: Path, carry_encoder: Callable[[str, dict[str, Any]], str]
) -> CarriedRule:
    """Write the rule of a run, or of an ensemble, into a bundle's folder.

    Parameters
    ----------
    prepared
        The competition made ready, with ``[decision] none_of_these``.
    result
        The run or the ensemble.
    folder
        The bundle's.
    carry_encoder
        Copies an encoder, given as competition.toml writes it with its arguments; returns its name in the bundle.

    Raises
    ------
    InputError
        When a score cannot be had of this run.
    """
    rule, scorer = learn_rule(prepared, result), Scorer(prepared, result)
    arrays = {f"reference_{name}": own for name, own in zip(rule.scores, rule.references, strict=True)}
    encoders = scorer.encoders if set(rule.scores) & set(OF_FEATURES) else []
    if encoders:
        per_fold = {fold: exemplars_of(prepared, fold) for fold in prepared.scored}
        rows = np.unique(np.concatenate([own.rows for own in per_fold.values()]))
        images = prepared.pool.select(rows)
        values = [encode_images(images, name, args).values.astype(np.float16) for name, args in encoders]  # as cached
        arrays |= {f"values_{i}": own for i, own in enumerate(values)}
        for fold, own in per_fold.items():
            arrays |= {f"rows_{fold}": np.searchsorted(rows, own.rows), f"codes_{fold}": own.labels}
    write_tensors(folder / RULE_FILE, arrays)
    return CarriedRule(
        scores=list(rule.scores),
        threshold=rule.threshold,
        encoders=[{"encoder": carry_encoder(name, args), "args": args} for name, args in encoders],
        of_folds=not result.record.members,
        folds=list(prepared.scored),
        file=RULE_FILE,
    )


class Rejecter:
    """Score new images, pool by pool, and then reject those that look like none of the classes.

    Parameters
    ----------
    rule
        What the bundle carries.
    folder
        The bundle's.
    """

    def __init__(self, rule: CarriedRule, folder: Path) -> None:
        self._rule = rule
        self._arrays = read_tensors(folder / rule.file)
        self._scores: dict[str, list[np.ndarray]] = {name: [] for name in rule.scores}
        if rule.encoders:
            self._exemplars = side_by_side([self._arrays[f"values_{i}"] for i in range(len(rule.encoders))])

    def see(self, images: Images) -> None:
        """Score the features of images, as every fold's labelled images have them."""
        if not self._rule.encoders:
            return
        values = side_by_side(
            [encode_images(images, own["encoder"], own["args"]).values for own in self._rule.encoders]
        )
        for name in set(self._scores) & set(OF_FEATURES):
            self._scores[name].append(np.mean([self._compare(name, values, fold) for fold in self._rule.folds], axis=0))

    def hear(self, models_said: list[dict[str, np.ndarray]]) -> None:
        """Keep what every fold's model of a run alone gave images, by score; see `score`."""
        for name in models_said[0]:
            self._scores[name].append(np.mean([own[name] for own in models_said], axis=0))

    def score(self, model: Model, images: Images, said: Predictions) -> dict[str, np.ndarray]:
        """Return the scores, (n_images,) each, of what one fold's model of a run alone says."""
        found = {}
        if self._rule.of_folds and "max_probability" in self._scores:
            found["max_probability"] = reject.max_probability(said.proba)
        if "energy" in self._scores:
            found["energy"] = reject.energy(model.predict_logits(images))
        return found

    def reject(self, said: Predictions, name: str) -> Predictions:
        """Return what is said of all images seen, those certain to be of the class `name` that show no other."""
        if not self._rule.of_folds and "max_probability" in self._scores:  # folds are not kept: the mixture speaks
            self._scores["max_probability"] = [reject.max_probability(said.proba)]
        references = [self._arrays[f"reference_{own}"] for own in self._rule.scores]
        scores = [np.concatenate(self._scores[own]) for own in self._rule.scores]
        return name_rejected(said, name, reject.combine_ranks(references, scores) < self._rule.threshold)

    def _compare(self, name: str, values: np.ndarray, fold: int) -> np.ndarray:
        """Return how near images (n_images, n_dims) are to a fold's labelled ones, (n_images,)."""
        rows, codes = self._arrays[f"rows_{fold}"], self._arrays[f"codes_{fold}"]
        return OF_FEATURES[name](values, self._exemplars[rows], codes)
