"""Find new test images that show none of the classes, by the rule that a bundle carries.

`carry_rule` reads a finished run and features of the labelled images, and writes ``strangers/rule.safetensors``.
`Rejecter` reads that file, and scores new images as `kit.runs.decide` scores the competition's test images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.shapes import Scores, Vectors
from kit.core.tensors import read_tensors, write_tensors
from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.features.cache import encode_images
from kit.features.joint import side_by_side
from kit.kaggle.bundle.manifest import CarriedRule
from kit.models.heads.head import Head
from kit.models.model import Model
from kit.runs.decide.rule import learn_rule, name_rejected
from kit.runs.decide.scorer import OF_FEATURES, Scorer, exemplars_of
from kit.runs.store import Result
from kit.scoring import rejection
from kit.scoring.predictions import Predictions

RULE_FILE = "strangers/rule.safetensors"


def carry_rule(
    prepared: Prepared, result: Result, folder: Path, carry_encoder: Callable[[str, dict[str, Any]], str]
) -> CarriedRule:
    """Write the rule of a run, or of an ensemble, into a bundle's folder.

    `carry_encoder` copies an encoder, given as competition.toml writes it, and returns its name in the bundle.
    InputError where this run cannot give a score that the rule needs.
    """
    rule, scorer = learn_rule(prepared, result), Scorer(prepared, result)
    arrays = {f"reference_{name}": scores for name, scores in zip(rule.scores, rule.references, strict=True)}
    encoders = scorer.encoders if set(rule.scores) & set(OF_FEATURES) else []
    if encoders:
        per_fold = {fold: exemplars_of(prepared, fold) for fold in prepared.scored}
        rows = np.unique(np.concatenate([exemplars.rows for exemplars in per_fold.values()]))
        images = prepared.pool.select(rows)
        values = [encode_images(images, name, args).values.astype(np.float16) for name, args in encoders]  # as cached
        arrays |= {f"values_{i}": vectors for i, vectors in enumerate(values)}
        for fold, exemplars in per_fold.items():
            arrays |= {f"rows_{fold}": np.searchsorted(rows, exemplars.rows), f"codes_{fold}": exemplars.labels}
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
    """Score new images, pool by pool, and then reject those that look like none of the classes."""

    def __init__(self, rule: CarriedRule, folder: Path) -> None:
        self._rule = rule
        self._arrays = read_tensors(folder / rule.file)
        self._scores: dict[str, list[Scores]] = {name: [] for name in rule.scores}
        if rule.encoders:
            self._exemplars = side_by_side([self._arrays[f"values_{i}"] for i in range(len(rule.encoders))])

    def compare(self, images: Images) -> None:
        """Score images by their features, compared with every fold's labelled images."""
        if not self._rule.encoders:
            return
        values = side_by_side(
            [encode_images(images, encoder["encoder"], encoder["args"]).values for encoder in self._rule.encoders]
        )
        for name in set(self._scores) & set(OF_FEATURES):
            self._scores[name].append(np.mean([self._compare(name, values, fold) for fold in self._rule.folds], axis=0))

    def score(self, model: Model, images: Images, predictions: Predictions) -> dict[str, Scores]:
        """Return the scores of images by one fold's model of a run alone, and its predictions of them."""
        scores = {}
        if self._rule.of_folds and "max_probability" in self._scores:
            scores["max_probability"] = rejection.max_probability(predictions.proba)
        if "energy" in self._scores and isinstance(model, Head):  # only heads have an energy, see `carry_rule`
            scores["energy"] = rejection.energy(model.predict_logits(images))
        return scores

    def keep(self, per_model: list[dict[str, Scores]]) -> None:
        """Keep the mean of every model's scores of the same images, from `score`."""
        for name in per_model[0]:
            self._scores[name].append(np.mean([scores[name] for scores in per_model], axis=0))

    def reject(self, mixture: Predictions, name: str) -> Predictions:
        """Return the mixture of all images; those that are rejected are certain to be of the class `name`."""
        if not self._rule.of_folds and "max_probability" in self._scores:  # folds are not scored: the mixture is
            self._scores["max_probability"] = [rejection.max_probability(mixture.proba)]
        references = [self._arrays[f"reference_{score}"] for score in self._rule.scores]
        scores = [np.concatenate(self._scores[score]) for score in self._rule.scores]
        return name_rejected(mixture, name, rejection.combine_ranks(references, scores) < self._rule.threshold)

    def _compare(self, name: str, values: Vectors, fold: int) -> Scores:
        """Return how near images are to a fold's labelled ones, by one of the scores."""
        rows, codes = self._arrays[f"rows_{fold}"], self._arrays[f"codes_{fold}"]
        return OF_FEATURES[name](values, self._exemplars[rows], codes)
