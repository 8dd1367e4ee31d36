"""How long runs will take: an image through every encoder, a step of every network, before a time limit is shared out.

Reads what is cached already, which costs nothing more; writes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from kit.config.competition import Run
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN, has_features
from kit.features.measure import STEP_FACTOR, measure_encoder, measure_step
from kit.features.weights import spec_of
from kit.models.model import Model
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.networks.trained import FEW_IMAGES, LAST_LAYERS, TrainedNetwork
from kit.models.training.recipe import SEMI_DEFAULTS, recipe_of
from kit.runs.fit.crossval import is_finished
from kit.runs.store.build import build_model
from kit.runs.store.pairs import estimate_seconds, list_pairs, wants_pairs

HEAD_SECONDS = 0.5  # of a fold of what learns from features
PIXEL_SECONDS = 1.0  # of a fold of what learns from pixels without a network
SMALL_NETWORK_SECONDS = 0.002  # per image and step of a network that has no encoder
USUAL_EPOCHS = 10  # of a model that resumes and is no network of the kit's
LAST_SHARE = 0.15  # of a step through all of a network, that of the last layers alone
N_SAMPLES = 4  # images that are encoded to see the pace


class Pace:
    """Estimate the seconds of runs; each encoder and network is measured once.

    Parameters
    ----------
    prepared
        The competition.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._image: dict[str, float] = {}
        self._step: dict[str, tuple[float, int]] = {}

    def estimate(self, name: str) -> float:
        """Return the seconds that a run still takes: 0 where it is finished; what is encoded already costs nothing."""
        if is_finished(self.prepared, name):
            return 0.0
        run = self.prepared.competition.run(name)
        model = build_model(self.prepared.competition, run)
        n_rounds = run.pseudo.rounds if run.pseudo else 1
        n_fits = n_rounds * run.n_copies * (len(self.prepared.scored) + run.refit)
        return self._encoding(model) + n_fits * self._fit(model) + self._pairs(run, model)

    def worth(self, name: str) -> float:
        """Return what a run is worth beside others: the more encoders it joins, the more it knows."""
        model = build_model(self.prepared.competition, self.prepared.competition.run(name))
        return float(max(len(model.encoders_used), 1))

    def _encoding(self, model: Model) -> float:
        """Return the seconds until all images are encoded, by every encoder of a run; a network encodes as it fits."""
        if model.resumes:
            return 0.0
        pool = self.prepared.pool
        missing = [each for each in model.encoders_used if each[0] != GIVEN and not has_features(pool, *each)]
        return len(pool) * sum(self._per_image(*each) for each in missing)

    def _fit(self, model: Model) -> float:
        """Return the seconds of one fit and its predictions."""
        if not model.resumes:
            return HEAD_SECONDS if model.encoders_used else PIXEL_SECONDS
        n_labeled = len(self.prepared.labels)
        n_whole = length_of(model, n_labeled).n_whole if isinstance(model, TrainedNetwork) else USUAL_EPOCHS * n_labeled
        return self._per_step(model) * (n_whole + len(self.prepared.pool) / STEP_FACTOR)

    def _pairs(self, run: Run, model: Model) -> float:
        """Return the seconds of the models of pairs of folds; of a run that is taught those of its round 0."""
        base = run.model_copy(update={"pseudo": None})
        if not wants_pairs(self.prepared, base, model):
            return 0.0
        least = HEAD_SECONDS * run.n_copies * len(list_pairs(self.prepared))
        return max(least, estimate_seconds(self.prepared, base, model))

    def _per_image(self, encoder: str, args: dict[str, Any]) -> float:
        """Return the seconds of an image through an encoder."""
        key = f"{encoder} {args}"
        if key not in self._image:
            spec = spec_of(self.prepared.pool, encoder, args)
            self._image[key] = measure_encoder(spec, tuple(self.prepared.pool.paths[:N_SAMPLES])).seconds
        return self._image[key]

    def _per_step(self, model: Model) -> float:
        """Return the seconds per image of a step of a network."""
        encoder, args = model.encoder_used
        if encoder is None:
            return SMALL_NETWORK_SECONDS
        key = f"{encoder} {args}"
        if key not in self._step:
            self._step[key] = measure_step(spec_of(self.prepared.pool, encoder, args))
        seconds, height = self._step[key]
        return seconds * ((model.options().get("image_size") or height) / height) ** 2


@dataclass(frozen=True)
class Length:
    """Hold how long a network trains.

    Parameters
    ----------
    n_steps
        Of the optimiser.
    n_whole
        Images, counted as often as they are seen, whose way forwards and backwards through the whole network takes as
        long as the training.
    is_partial
        Whether the last layers learn alone, on kept activations.
    """

    n_steps: int
    n_whole: float
    is_partial: bool


def length_of(model: TrainedNetwork, n_train: int) -> Length:
    """Return how long a network trains on so many images, by what its options say and leave to the rule."""
    recipe = recipe_of(model, n_train)
    n_steps = recipe.steps
    if n_steps is None:
        n_steps = recipe.n_epochs * (recipe.steps_per_epoch or math.ceil(n_train / recipe.batch_size))
    n_seen = n_steps * min(recipe.batch_size, n_train)
    if (ratio := SEMI_DEFAULTS[recipe.semi].get("unlabeled_ratio")) is not None:
        n_seen *= 1 + (recipe.unlabeled_ratio or ratio) * (1 + 1 / STEP_FACTOR)  # the teacher goes forwards alone
    is_left = model.is_left_to_rule and model.encoder_used[0] is not None and model.needs_weights
    if recipe.train_layers is None and is_left and n_train < FEW_IMAGES and not recipe.lora_rank:
        recipe = replace(recipe, train_layers=LAST_LAYERS)
    if not recipe.keeps_views:
        return Length(n_steps, n_seen, False)
    views = n_train * recipe.n_views / STEP_FACTOR  # go through the network once, forwards
    return Length(n_steps, views + LAST_SHARE * n_seen, True)


def length_of_plain(name: str, n_train: int) -> Length:
    """Return how long a network trains of which nothing is written but its encoder: clip_finetune or fine_tune."""
    return length_of(ClipFinetune(encoder="") if name == "clip_finetune" else FineTune(encoder=""), n_train)
