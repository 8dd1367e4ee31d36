"""How long runs will take: an image through every encoder, a step of every network, before a time limit is shared out.

Reads what is cached already, which costs nothing more; writes nothing.
"""

from __future__ import annotations

from typing import Any

from kit.data.prepared import Prepared
from kit.features.cache import GIVEN, has_features
from kit.features.measure import measure_encoder, measure_step
from kit.features.weights import spec_of
from kit.models.model import Model
from kit.runs.fit.crossval import is_finished
from kit.runs.store.build import build_model

HEAD_SECONDS = 0.5  # of a fold of what learns from features
PIXEL_SECONDS = 1.0  # of a fold of what learns from pixels without a network
SMALL_NETWORK_SECONDS = 0.002  # per image and step of a network that has no encoder
USUAL_EPOCHS = 10
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
        return self._encoding(model) + n_fits * self._fit(model)

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
        step = self._per_step(model)
        return step * (_images_in_training(model, len(self.prepared.labels)) + len(self.prepared.pool) / 3)

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


def _images_in_training(model: Model, n_labeled: int) -> float:
    """Return how many images a fit sees: those of its steps, or of its passes over the labelled ones."""
    options = model.options()
    batch = options.get("batch_size") or 1
    if options.get("steps"):
        return batch * options["steps"]
    epochs = options.get("epochs") or getattr(model, "usual_epochs", USUAL_EPOCHS)
    per_epoch = batch * options["steps_per_epoch"] if options.get("steps_per_epoch") else n_labeled
    least = 0 if options.get("epochs") else batch * getattr(model, "least_steps", 0)
    return max(epochs * per_epoch, least)
