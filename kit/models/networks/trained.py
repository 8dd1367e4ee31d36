"""What every model that trains a network by the one training loop has in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Proba, Tensors, Vectors
from kit.data.images import Gallery, Images
from kit.models.balance import SHARES, Adjustable
from kit.models.training.recipe import Recipe, recipe_of
from kit.scoring.task import Task

if TYPE_CHECKING:
    from torch import nn

    from kit.features.encoders import Preprocessing

FEW_IMAGES = 500  # labelled images below which the last layers learn alone
LAST_LAYERS = 2
LAYER_DECAY = 0.7
ANEW = ("mean_teacher", "self_training")  # methods that cannot keep activations: all layers learn, as published
ASKED = 512  # images of the pool of which the confidence at the start is measured


@dataclass(kw_only=True)
class TrainedNetwork(Adjustable, Recipe):
    """Hold a network that was trained, and predict with it.

    Parameters
    ----------
    tta
        Average the predictions over views of an image: ``"mirror"``, ``"crops"`` (four corners and the middle) or
        ``"mirrored_crops"``, each beside the image itself; see `kit.models.training.views`. No mirror for digits and
        letters.
    precision
        ``"auto"`` for a fixed rule per device and network, or ``"float32"``, ``"bfloat16"``, ``"float16"``.
    seed
        Of the network's start, order, augmentation and dropout.
    """

    few_lr: ClassVar[float] = 3e-4  # of the last layers, where they learn alone

    tta: Literal["none", "mirror", "crops", "mirrored_crops"] = "none"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self.recall_classes(np.zeros(0))  # until it is fitted
        self._checkpoint: Path | None = None

    def check_task(self, task: Task) -> None:
        """Refuse, as InputError, options that name one class per image where an image may have several."""
        super().check_task(task)
        if task.is_multilabel and self.loss == "balanced_softmax":
            raise InputError('loss = "balanced_softmax" is of one label per image; with several use class weights')
        if task.is_multilabel and self.semi != "none":
            raise InputError(f'semi = "{self.semi}" names one class per unlabelled image: not with several labels')

    def predict_plain(self, images: Images) -> Proba:
        """Return the network's probabilities, (n_images, n_classes)."""
        from kit.models.training.batches import predict_network

        return predict_network(self._network, images, self._preprocessing, self._device, self._precision, tta=self.tta)

    @property
    def is_left_to_rule(self) -> bool:
        """Return whether the length of training is not written, and with it what suits few labels."""
        return self.epochs is None

    def _settle_recipe(self, labeled: Images, is_pretrained: bool = True) -> Recipe:
        """Return the recipe with what is not written: its length, and which layers learn at which rates."""
        from kit.models.training.layers import knows_layers

        recipe = recipe_of(self, len(labeled))
        if not (is_pretrained and self.is_left_to_rule and knows_layers(self._network)):
            return replace(recipe, train_layers=recipe.train_layers or "all")
        if recipe.layer_decay is None:
            recipe = replace(recipe, layer_decay=LAYER_DECAY)
        if recipe.train_layers is None:
            is_small = len(labeled) < FEW_IMAGES and not self.lora_rank and self.semi not in ANEW
            recipe = replace(recipe, train_layers=LAST_LAYERS if is_small else "all")
        return replace(recipe, lr=self.few_lr) if recipe.leaves_layers and self.lr is None else recipe

    def _settle_temperatures(self, recipe: Recipe, labeled: Images, unlabeled: Images, values: Vectors) -> Recipe:
        """Return the recipe with SWIFT's and FineSSL's temperatures, by rule where none are given; the head is a probe.

        `values` are the features of the labelled images, (n_images, n_dims).
        """
        from kit.models.training.probe import calibrate_probe, fit_probe, passing_temperature

        if recipe.semi not in ("swift", "finessl") or not len(unlabeled):
            return recipe
        if recipe.loss_temperature is None:
            recipe = replace(recipe, loss_temperature=calibrate_probe(values, labeled))
        if recipe.semi == "swift" and recipe.confidence_temperature is None:
            draw = np.random.default_rng(self.seed).permutation(len(unlabeled))[:ASKED]
            coefficients, intercepts = fit_probe(values, labeled)
            logits = self._features(unlabeled.take(np.sort(draw))) @ coefficients.T + intercepts
            recipe = replace(recipe, confidence_temperature=passing_temperature(logits, recipe.of_semi("threshold")))
        return recipe

    def _train(self, recipe: Recipe, labeled: Images, unlabeled: Images, head: nn.Module, made_from: object) -> None:
        """Train the network that `_hold` keeps, by the one training loop; `record_` tells of each epoch."""
        from kit.models.training.fit import fit_network

        record = fit_network(
            self._network,
            recipe,
            labeled,
            self._preprocessing,
            unlabeled=unlabeled,
            head=head,
            seed=self.seed,
            device=self._device,
            precision=self._precision,
            checkpoint=self._checkpoint,
            made_from=made_from,
        )
        self.record_ = record or None  # without a step there is nothing to tell

    def _start(self, pool: Gallery) -> TrainedNetwork:
        """Return a model with the same network before training."""
        raise NotImplementedError

    def _features(self, images: Images) -> Vectors:
        """Return the network's pooled features as they are, (n_images, n_dims)."""
        raise NotImplementedError

    def encode(self, images: Images, alpha: float) -> Vectors:
        """Return pooled features, (n_images, n_dims) float32, of a blend of the network's start and its end.

        `alpha` is the weight of the trained network, 0..1; 0 is the network before training. InputError where it lies
        outside, MissingWeights where pretrained weights cannot be had.
        """
        from kit.models.training.blend import copy_state, interpolate

        trained = copy_state(self._network)
        theta_0 = trained if alpha == 1 else copy_state(self._start(images.pool)._network)
        self._network.load_state_dict(interpolate(theta_0, trained, alpha))
        try:
            return self._features(images)
        finally:
            self._network.load_state_dict(trained)

    def checkpoint_at(self, path: Path) -> None:
        """Write checkpoints to `path`, and go on from the one that lies there."""
        self._checkpoint = path

    def tensors(self) -> Tensors:
        """Return the trained weights, and how frequent the classes were."""
        weights = {name: tensor.cpu().contiguous().numpy() for name, tensor in self._network.state_dict().items()}
        return weights | {SHARES: self.shares_}

    def _take_weights(self, tensors: Tensors) -> None:
        """Take trained weights back."""
        import torch

        weights = {key: torch.tensor(value) for key, value in tensors.items() if key != SHARES}
        self._network.load_state_dict(weights)
        self.recall_classes(tensors[SHARES])

    def _hold(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        """Keep a network, on its device, with its preprocessing and precision."""
        from kit.features.device import choose_training, device_name, place_network

        self._preprocessing, self._device = preprocessing, device_name()
        rule = choose_training(network, min(preprocessing.geometry.height, preprocessing.geometry.width), self._device)
        self._precision = rule if self.precision == "auto" else self.precision
        self._network = place_network(network, self._device, "float32")
