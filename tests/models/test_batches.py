"""Which images come when, with which weight, and in parts where memory is short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training import PREPROCESSING, QUICK, RICH, SIZE, make_network, select, state, train
from torch import nn

from kit.data.store import BLOCK
from kit.models.training.batches import draw_batches, predict_network, split_off, weighted_targets
from kit.models.training.fit import fit_network
from kit.models.training.recipe import Recipe

POOL = (45, SIZE, 36)


@pytest.mark.parametrize("n_images", [1, 2, 3, 5, 9, 17, 33, 300])
@pytest.mark.parametrize("batch_size", [2, 4, 8, 32])
def test_every_image_once_and_never_a_batch_of_one(n_images, batch_size):
    batches = draw_batches(np.arange(n_images), batch_size, torch.Generator().manual_seed(0))
    sizes = [len(batch) for batch in batches]
    assert sorted(np.concatenate(batches)) == list(range(n_images))
    assert min(sizes) >= min(2, n_images) and max(sizes) <= max(3, batch_size)


def test_a_set_that_leaves_one_image_over_trains(pool):
    labeled = select(pool, np.arange(9))
    train(labeled, replace(QUICK, batch_size=4))
    train(labeled, replace(QUICK, batch_size=2, mixup=0.5))


def test_large_sets_are_read_block_by_block_but_well_mixed():
    rows = np.arange(40_000)
    order = np.concatenate(draw_batches(rows, 32, torch.Generator().manual_seed(0)))
    assert sorted(order) == list(rows)
    first = order[:8192]
    assert len(set(first // BLOCK)) <= 8192 // BLOCK + 34  # blocks that a window touches
    assert all(len(set(batch // BLOCK)) > 8 for batch in np.split(first, 256))


def test_labels_of_images_without_weight_have_no_influence(labeled):
    weights = np.where(np.arange(36) < 18, 1, 1e-9).astype(np.float32)
    wrong = np.where(np.arange(36) < 18, labeled.labels, (labeled.labels + 1) % 3)
    right, spoiled = replace(labeled, weights=weights), replace(labeled, weights=weights, labels=wrong)
    recipe = replace(QUICK, optimizer="sgd", lr=0.1)  # Adam would blow up the rounding errors of a gradient of zero
    first, second, full = (train(images, recipe) for images in (right, spoiled, replace(labeled, labels=wrong)))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)
    assert not torch.allclose(first["6.weight"], full["6.weight"], atol=1e-2)


def test_a_weight_of_two_is_the_image_twice(pool):
    recipe = Recipe(epochs=4, batch_size=64, optimizer="sgd", lr=0.1)

    def fit(rows: list[int], weights: list[float]) -> dict[str, torch.Tensor]:
        network = make_network(batch_norm=False)
        network[5].p = 0.0
        labeled = replace(select(pool, np.array(rows)), weights=np.array(weights, dtype=np.float32))
        fit_network(network, recipe, labeled, PREPROCESSING)
        return state(network)

    weighted, repeated = fit([0, 1, 2], [2, 1, 1]), fit([0, 0, 1, 2], [1, 1, 1, 1])
    assert all(torch.allclose(weighted[name], repeated[name], atol=1e-6) for name in weighted)


def test_smoothed_targets_agree_with_torch(labeled):
    logits = torch.randn(36, 3, generator=torch.Generator().manual_seed(0))
    targets = weighted_targets(labeled, np.arange(36), 0.1)
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(labeled.labels), label_smoothing=0.1)
    assert torch.allclose(nn.functional.cross_entropy(logits, targets), expected)


def test_early_stopping_holds_out_only_real_labels(pool):
    labeled = select(pool, np.arange(36))
    pseudo = replace(select(pool, np.arange(36, 45)), is_pseudo=np.ones(9, dtype=bool))
    doubtful = replace(labeled.take(np.arange(3)), is_pseudo=np.ones(3, dtype=bool))
    everything = labeled.take(np.arange(3, 36)).join(pseudo).join(doubtful)
    learned, hold_out = split_off(everything, RICH, seed=0)
    assert 0 < len(hold_out) < 12
    assert set(hold_out.rows) <= set(labeled.rows[3:])
    assert set(learned.rows) | set(hold_out.rows) == set(everything.rows)
    assert not set(learned.rows) & set(hold_out.rows)


def test_early_stopping_keeps_groups_together(pool):
    paired = replace(pool, groups=np.arange(45) % 9)
    learned, hold_out = split_off(select(paired, np.arange(45)), RICH, seed=0)
    assert len(hold_out) and not set(learned.groups) & set(hold_out.groups)


def test_with_few_images_of_a_class_nothing_is_held_out(pool):
    few = select(pool, np.arange(21))  # 7 of each class
    learned, hold_out = split_off(few, RICH, seed=0)
    assert len(hold_out) == 0 and len(learned) == 21


def test_when_memory_does_not_suffice_batches_go_in_parts(labeled, capfd):
    sizes = []

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(pixels))
        return network(pixels)

    network = make_network(batch_norm=False)
    network[5].p = 0.0
    fit_network(network, replace(QUICK, batch_size=12), labeled, PREPROCESSING, forward=forward)
    whole = make_network(batch_norm=False)
    whole[5].p = 0.0
    fit_network(whole, replace(QUICK, batch_size=12), labeled, PREPROCESSING)
    assert set(sizes) == {3}
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(network.parameters(), whole.parameters(), strict=True))
    assert capfd.readouterr().err.count("4 parts") == 1


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_parts_of_a_batch_add_up_to_its_gradient(labeled, parts):
    """With SGD the weights follow the gradients themselves; Adam would hide a wrong factor."""
    recipe = replace(QUICK, optimizer="sgd", lr=0.1, batch_size=12, label_smoothing=0.1)
    networks = [make_network(batch_norm=False) for _ in range(2)]
    for network, n_parts in zip(networks, (1, parts), strict=True):
        network[5].p = 0.0
        fit_network(network, replace(recipe, accumulate=n_parts), labeled, PREPROCESSING)
    whole, added = map(state, networks)
    assert all(torch.allclose(whole[name], added[name], atol=1e-6) for name in whole)


def test_parts_never_leave_batch_norm_a_single_image(labeled):
    sizes: list[int] = []

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return network(pixels)

    train(labeled, replace(QUICK, accumulate=7), forward=forward)
    assert set(sizes) <= {2, 3}


def test_predictions_follow_the_order_of_the_images(labeled):
    network = make_network()
    proba = predict_network(network, labeled, PREPROCESSING, "cpu", "float32")
    order = np.random.default_rng(0).permutation(36)
    shuffled = predict_network(network, labeled.take(order), PREPROCESSING, "cpu", "float32")
    assert np.allclose(shuffled, proba[order], atol=1e-6)
    assert proba.dtype == np.float32 and np.allclose(proba.sum(1), 1)
    assert predict_network(network, labeled.take(order[:0]), PREPROCESSING, "cpu", "float32").shape == (0, 3)


def test_tta_is_the_mean_over_the_mirror_image(labeled):
    network = make_network()
    twice = predict_network(network, labeled, PREPROCESSING, "cpu", "float32", tta="mirror")

    def mirrored(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        return network(pixels.flip(3))

    parts = [
        predict_network(network, labeled, PREPROCESSING, "cpu", "float32", f) for f in (nn.Module.__call__, mirrored)
    ]
    assert np.allclose(twice, np.mean(parts, axis=0), atol=1e-6)
