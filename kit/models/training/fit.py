"""The one training loop of every network: pixels from the store, batches varied on the device, a checkpoint per epoch.

Reads the decoded images of `kit.data.store`; writes a checkpoint where it is asked to. Every epoch draws from
generators seeded by the seed and the epoch's number, so there is no generator state to save: a run that was killed and
goes on at its last checkpoint ends with the very weights of a run that was not. Unlabelled images draw from other
generators, so that where they teach nothing, training is the same as without them.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import nn

from kit.core.files import key_of
from kit.core.terminal import note
from kit.data.images import Images
from kit.features.device import place_network
from kit.features.encoders import Preprocessing
from kit.models.training.adapters import add_adapters, merge_adapters
from kit.models.training.batches import Forward, reproducible
from kit.models.training.layers import checkpoint_activations, freeze_layers
from kit.models.training.loop import Loop, TrainingRecord
from kit.models.training.recipe import Recipe
from kit.models.training.unlabeled import check_unlabeled, describe_teaching


def fit_network(
    network: nn.Module,
    recipe: Recipe,
    labeled: Images,
    preprocessing: Preprocessing,
    *,
    unlabeled: Images | None = None,
    head: nn.Module | None = None,
    forward: Forward = nn.Module.__call__,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    checkpoint: Path | None = None,
    made_from: object = None,
) -> TrainingRecord:
    """Train a network in place; it ends on `device`, in evaluation mode, with the weights that shall predict.

    Parameters
    ----------
    network
        Parameters that do not require gradients stay as they are.
    labeled
        Labelled images; their weights multiply their loss.
    unlabeled
        Images without labels, for recipes whose `semi` reads them; those among `labeled` are left out.
    head
        The part of `network` that learns in the frozen epochs, at `head_lr`; adapters leave it alone.
    forward
        ``forward(network, pixels)`` gives logits (n_images, n_classes).
    seed
        Of order, augmentation, dropout and hold-out.
    device, precision
        From `kit.features.device`.
    checkpoint
        File to write to and to go on from; the caller removes it.
    made_from
        JSON-like: what the network was made from. A checkpoint of anything else is ignored.

    Returns
    -------
    list of dict
        One per epoch: epoch (from 1), lr (highest of all groups, at the last step), loss (of labelled images, and of
        those that joined), inner_accuracy and inner_loss (None without a hold-out), seconds. Where unlabelled images
        took part also unlabeled_loss, mask_rate (share of them that taught), pseudo_share (of each class in what was
        taught), threshold, consistency_weight; in self-training n_joined and counts (of each class). `step` counts from
        the start, and `curve` holds what is known at every step, thinned: see `kit.models.training.curve`.

    Raises
    ------
    InputError
        When the loss is no longer finite, the optimiser is unknown, the network lacks what the recipe asks for, or the
        recipe asks for unlabelled images and there are none.
    ValueError
        When `recipe` has frozen epochs and there is no `head`.
    TimeIsUp
        When the time limit is reached; the checkpoint is written before.
    """
    if recipe.n_frozen and head is None:
        raise ValueError("frozen epochs need a head that learns in them")
    place_network(network, device, "float32")
    if not recipe.n_epochs:
        network.eval()
        return []
    if recipe.grad_checkpointing:
        checkpoint_activations(network)
    with reproducible(seed, device):
        if recipe.lora_rank:
            add_adapters(network, head, recipe)
        if isinstance(recipe.train_layers, int):
            freeze_layers(network, head, recipe.train_layers)
        others = check_unlabeled(recipe, labeled, unlabeled)
        loop = Loop(network, recipe, labeled, others, preprocessing, head, forward, seed, device, precision)
        kind = device.partition(":")[0]  # another GPU goes on from this one's checkpoint
        facts = (asdict(recipe), seed, preprocessing.key, precision, kind, made_from)
        data = (labeled.pool.key, labeled.rows.tolist(), labeled.labels.tolist(), labeled.weights.tolist())
        loop.run(checkpoint, key_of(facts, data, others.rows.tolist()))
        merge_adapters(network)
    if recipe.semi != "none":
        note(describe_teaching(recipe.semi, loop.record[-1], labeled.classes))
    return loop.record
