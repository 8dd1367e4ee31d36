"""The training loop: what learns, what stays frozen, what is varied, when it stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from support.pools import make_pool
from support.training import PREPROCESSING, QUICK, RICH, SIZE, make_network, same, select, state, train
from torch import nn

from kit.core.errors import InputError
from kit.data.store import Geometry
from kit.features.encoders import Preprocessing
from kit.models.training.batches import ask, predict_network, seed_of, split_off
from kit.models.training.fit import fit_network
from kit.models.training.recipe import Recipe
from kit.models.training.steps import Batch, Steps

POOL = (45, SIZE, 36)


def test_it_learns(labeled):
    network = make_network()
    record = fit_network(network, replace(QUICK, epochs=12), labeled, PREPROCESSING)
    proba = predict_network(network, labeled, PREPROCESSING, "cpu", "float32")
    assert (proba.argmax(1) == labeled.labels).all()
    assert record[-1]["loss"] < record[0]["loss"] / 2
    assert [entry["epoch"] for entry in record] == list(range(1, 13))
    assert not network.training


def test_a_learning_rate_of_zero_leaves_the_parameters(labeled):
    network = make_network()
    before = {name: value.clone() for name, value in network.named_parameters()}
    fit_network(network, replace(QUICK, lr=0, ema_decay=0.9), labeled, PREPROCESSING)
    assert same(before, dict(network.named_parameters()))


def test_frozen_epochs_leave_the_body_untouched(labeled):
    network = make_network()
    before = state(network)
    fit_network(network, replace(QUICK, epochs=2, frozen_epochs=2), labeled, PREPROCESSING, head=network[-1])
    after = state(network)
    body = [name for name in before if not name.startswith("6.")]
    assert any("running_mean" in name for name in body)
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert not torch.equal(before["6.weight"], after["6.weight"])


def test_the_body_learns_after_the_frozen_epochs(labeled):
    before, after = state(make_network()), train(labeled, replace(QUICK, frozen_epochs=1))
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["1.running_mean"], after["1.running_mean"])


def test_frozen_batch_norm_keeps_its_statistics_but_not_its_weights(labeled):
    before, after = state(make_network()), train(labeled, replace(QUICK, freeze_batch_norm=True))
    assert torch.equal(before["1.running_var"], after["1.running_var"])
    assert not torch.equal(before["1.weight"], after["1.weight"])


def test_what_needs_no_gradient_never_learns(labeled):
    network = make_network()
    network[0].requires_grad_(False)
    before = state(network)
    fit_network(network, replace(QUICK, frozen_epochs=1), labeled, PREPROCESSING, head=network[-1])
    assert torch.equal(before["0.weight"], network[0].weight)
    assert not network[0].weight.requires_grad


def test_the_learning_rate_in_the_record_ends_near_zero(labeled):
    network = make_network()
    record = fit_network(network, replace(QUICK, epochs=10, batch_size=4), labeled, PREPROCESSING)
    assert record[-1]["lr"] < 0.001 * QUICK.lr
    assert 0.2 * QUICK.lr < record[5]["lr"] < 0.8 * QUICK.lr


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(labeled):
    assert same(train(labeled, RICH, seed=1), train(labeled, RICH, seed=1))
    assert not same(train(labeled, RICH, seed=1), train(labeled, RICH, seed=2))
    assert len({seed_of(seed, epoch) for seed in range(50) for epoch in range(50)}) == 2500


def test_the_callers_random_numbers_are_left_alone(labeled):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(labeled, RICH)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert not torch.are_deterministic_algorithms_enabled()


def test_nothing_but_the_given_images_has_any_influence(tmp_path):
    """The same labelled images in two pools that differ in every other image."""
    weights = []
    for noise in (1, 2):
        other = make_pool(tmp_path / str(noise), 45, SIZE, n_labeled=36, noise=noise)
        weights.append(train(select(other, np.arange(36)), RICH))
    assert same(*weights)


def test_early_stopping_stops_and_restores_the_best_weights(labeled):
    recipe = replace(QUICK, epochs=60, lr=0.05, patience=2)
    network = make_network()
    record = fit_network(network, recipe, labeled, PREPROCESSING)
    assert len(record) < 60
    _, hold_out = split_off(labeled, recipe, 0)
    proba = predict_network(network, hold_out, PREPROCESSING, "cpu", "float32")
    best = max(record, key=lambda entry: (entry["inner_accuracy"], -entry["inner_loss"]))
    assert (proba.argmax(1) == hold_out.labels).mean() == best["inner_accuracy"]
    loss = -np.log(proba[np.arange(len(proba)), hold_out.labels]).mean()
    assert loss == pytest.approx(best["inner_loss"], rel=1e-4)
    assert len(record) - best["epoch"] == 2


def test_scoring_varies_nothing(labeled):
    """Under training augmentation, two scores of the same weights would differ."""
    recipe = replace(RICH, frozen_epochs=0, lr=0, freeze_batch_norm=True, patience=50)
    record = fit_network(make_network(), recipe, labeled, PREPROCESSING)
    assert len({entry["inner_loss"] for entry in record}) == 1


def test_frozen_epochs_need_a_head(labeled):
    with pytest.raises(ValueError, match="head"):
        fit_network(make_network(), RICH, labeled, PREPROCESSING)


def test_a_diverging_run_says_so(labeled):
    with pytest.raises(InputError, match=r"training diverged in epoch .* lower lr"):
        train(labeled, replace(QUICK, optimizer="sgd", lr=1e30))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_finite_numbers_even_for_huge_logits(labeled, precision):
    network = make_network()

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        return network(pixels) * 1000

    fit_network(network, replace(QUICK, lr=1e-3), labeled, PREPROCESSING, forward=forward, precision=precision)
    proba = predict_network(network, labeled, PREPROCESSING, "cpu", precision, forward)
    assert np.isfinite(proba).all()
    assert all(value.dtype != torch.bfloat16 for value in network.state_dict().values())


def test_predictions_that_the_memory_does_not_hold_go_in_halves(labeled):
    network, sizes = make_network().eval(), []

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 10:
            raise torch.OutOfMemoryError("the memory is full")
        sizes.append(len(pixels))
        return network(pixels)

    whole, halved = (
        predict_network(network, labeled, PREPROCESSING, "cpu", "float32", way) for way in (nn.Module.__call__, forward)
    )
    assert halved == pytest.approx(whole, abs=1e-6) and sum(sizes) == len(labeled)
    asked = ask(network, torch.randn(13, 3, SIZE, SIZE), forward, "float32")
    assert asked.shape == (13, 3) and sizes[-2:] == [7, 6]


def test_a_gradient_that_float16_cannot_hold_changes_no_weight_and_lowers_the_scale():
    network = make_network()
    steps = Steps(network, nn.Module.__call__, torch.optim.SGD(network.parameters(), lr=0.1), "cpu", "float16", 1)
    pixels, targets = torch.randn(8, 3, SIZE, SIZE), torch.eye(3)[torch.arange(8) % 3]
    scale, before = steps.scaler.get_scale(), {name: value.clone() for name, value in network.named_parameters()}
    steps.take([Batch(pixels, targets, lambda logits, targets: logits.sum() * 1e38)])
    assert steps.scaler.get_scale() < scale
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    steps.take([Batch(pixels, targets)])
    assert not any(torch.equal(value, before[name]) for name, value in network.named_parameters() if "6" in name)


def test_adapters_leave_the_biases_and_move_the_weights(labeled):
    before, after = state(make_network()), train(labeled, replace(QUICK, lora_rank=2))
    assert torch.equal(before["0.bias"], after["0.bias"])
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["6.bias"], after["6.bias"])  # the head learns as it is


def test_the_moving_average_is_what_predicts(labeled):
    """With a decay next to one from the first step the average would stay at the start; its decay grows instead."""
    start, last, averaged = (
        state(make_network()),
        train(labeled, replace(QUICK, epochs=8)),
        train(labeled, replace(QUICK, epochs=8, ema_decay=0.9999)),
    )
    moved = (averaged["6.weight"] - start["6.weight"]).abs().mean()
    assert not torch.equal(last["6.weight"], averaged["6.weight"])
    assert moved > 0.3 * (last["6.weight"] - start["6.weight"]).abs().mean()


def test_efficientnetv2_s_takes_real_steps(pool):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("tf_efficientnetv2_s", num_classes=3, drop_path_rate=0.2)
    before = network.conv_stem.weight.detach().clone()
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3, label_smoothing=0.1, mixup=0.2, ema_decay=0.99, augment="strong")
    geometry = Preprocessing(Geometry(32, 32), (0.5,) * 3, (0.5,) * 3)
    record = fit_network(network, recipe, select(pool, np.arange(8)), geometry, head=network.classifier)
    assert np.isfinite(record[0]["loss"])
    assert not torch.equal(network.conv_stem.weight, before)
