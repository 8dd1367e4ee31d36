"""The training loop: what it may see, what it may change, and that a killed run ends as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from support.pools import make_pool
from support.training import PREPROCESSING, QUICK, RICH, SIZE, make_network, same, select, state
from torch import nn

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.data.images import Images, Pool
from kit.data.store import BLOCK, Geometry
from kit.features.encoders import Preprocessing
from kit.models.training import loop
from kit.models.training.batches import draw_batches, predict_network, seed_of, split_off, weighted_targets
from kit.models.training.fit import fit_network
from kit.models.training.optimizer import make_optimizer, make_schedule
from kit.models.training.recipe import Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep sums in one order, in this process and in its children."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    set_deadline(None)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return make_pool(tmp_path_factory.mktemp("pool"), 45, SIZE, n_labeled=36)


@pytest.fixture
def labeled(pool: Pool) -> Images:
    return select(pool, np.arange(36))


def train(labeled: Images, recipe: Recipe = QUICK, **options: Any) -> dict[str, torch.Tensor]:
    """Train a new little network; return its weights."""
    network = make_network()
    fit_network(network, recipe, labeled, PREPROCESSING, head=network[-1], **options)
    return state(network)


def test_it_learns(labeled):
    network = make_network()
    diary = fit_network(network, replace(QUICK, epochs=12), labeled, PREPROCESSING)
    proba = predict_network(network, labeled, PREPROCESSING, "cpu", "float32")
    assert (proba.argmax(1) == labeled.labels).all()
    assert diary[-1]["loss"] < diary[0]["loss"] / 2
    assert [entry["epoch"] for entry in diary] == list(range(1, 13))
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


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 100])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_schedule_is_counted_in_steps_and_ends_at_zero(steps_per_epoch, frozen):
    """Stepping per epoch with a horizon in steps would leave the learning rate near its top."""
    recipe = Recipe(epochs=15, frozen_epochs=5, lr=0.1, head_lr=0.4)
    network = make_network()
    optimizer = make_optimizer(network, network[-1], recipe)
    schedule = make_schedule(optimizer, recipe, steps_per_epoch, frozen)
    rates = []
    for step in range(1, steps_per_epoch * (5 if frozen else 10) + 1):
        schedule.step_update(step)
        rates.append([group["lr"] for group in optimizer.param_groups])
    rates = np.array(rates)
    top = rates.argmax(axis=0)[0]
    assert sorted(set(rates.max(axis=0))) == pytest.approx([0.1, 0.4], rel=0.07)
    assert (rates[0] > 0).all() and (np.diff(rates[top:], axis=0) < 0).all()
    assert top <= max(1, 0.1 * len(rates))
    assert (rates[-1] < (0.1 if steps_per_epoch == 1 else 0.01) * rates.max(axis=0)).all()


def test_the_learning_rate_in_the_diary_ends_near_zero(labeled):
    network = make_network()
    diary = fit_network(network, replace(QUICK, epochs=10, batch_size=4), labeled, PREPROCESSING)
    assert diary[-1]["lr"] < 0.001 * QUICK.lr
    assert 0.2 * QUICK.lr < diary[5]["lr"] < 0.8 * QUICK.lr


def test_norms_and_biases_do_not_decay():
    network = make_network()
    optimizer = make_optimizer(network, network[-1], QUICK)
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]]
    assert {id(p) for p in decayed} == {id(network[0].weight), id(network[-1].weight)}


def test_an_unknown_optimizer_is_refused_by_name():
    with pytest.raises(InputError, match=r"'adamm'.*adam"):
        make_optimizer(make_network(), None, replace(QUICK, optimizer="adamm"))


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


def test_early_stopping_holds_out_only_real_labels(pool):
    labeled = select(pool, np.arange(36))
    pseudo = replace(select(pool, np.arange(36, 45)), is_pseudo=np.ones(9, dtype=bool))
    doubtful = replace(labeled.take(np.arange(3)), is_pseudo=np.ones(3, dtype=bool))
    everything = labeled.take(np.arange(3, 36)).join(pseudo).join(doubtful)
    learned, hold_out = split_off(everything, RICH, seed=0)
    assert 0 < len(hold_out) < 12
    assert set(hold_out.ids) <= set(labeled.ids[3:])
    assert set(learned.ids) | set(hold_out.ids) == set(everything.ids)
    assert not set(learned.ids) & set(hold_out.ids)


def test_early_stopping_keeps_groups_together(pool):
    paired = replace(pool, groups=np.arange(45) % 9)
    learned, hold_out = split_off(select(paired, np.arange(45)), RICH, seed=0)
    assert len(hold_out) and not set(learned.groups) & set(hold_out.groups)


def test_with_few_images_of_a_class_nothing_is_held_out(pool):
    few = select(pool, np.arange(21))  # 7 of each class
    learned, hold_out = split_off(few, RICH, seed=0)
    assert len(hold_out) == 0 and len(learned) == 21


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
    diary = fit_network(network, recipe, labeled, PREPROCESSING)
    assert len(diary) < 60
    _, hold_out = split_off(labeled, recipe, 0)
    proba = predict_network(network, hold_out, PREPROCESSING, "cpu", "float32")
    best = max(diary, key=lambda entry: (entry["inner_accuracy"], -entry["inner_loss"]))
    assert (proba.argmax(1) == hold_out.labels).mean() == best["inner_accuracy"]
    loss = -np.log(proba[np.arange(len(proba)), hold_out.labels]).mean()
    assert loss == pytest.approx(best["inner_loss"], rel=1e-4)
    assert len(diary) - best["epoch"] == 2


def test_scoring_varies_nothing(labeled):
    """Under training augmentation, two scores of the same weights would differ."""
    recipe = replace(RICH, frozen_epochs=0, lr=0, freeze_batch_norm=True, patience=50)
    diary = fit_network(make_network(), recipe, labeled, PREPROCESSING)
    assert len({entry["inner_loss"] for entry in diary}) == 1


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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_adapters_a_stopped_training_goes_on_to_the_same_weights(labeled, tmp_path, precision):
    recipe = replace(RICH, lora_rank=2, lora_alpha=4.0, accumulate=2)
    checkpoint = tmp_path / "checkpoint.pt"
    set_deadline(0)
    with pytest.raises(TimeIsUp):
        train(labeled, recipe, checkpoint=checkpoint, precision=precision)
    set_deadline(None)
    resumed = train(labeled, recipe, checkpoint=checkpoint, precision=precision)
    assert same(resumed, train(labeled, recipe, precision=precision))
    assert resumed.keys() == state(make_network()).keys()


def test_adapters_leave_the_biases_and_move_the_weights(labeled):
    before, after = state(make_network()), train(labeled, replace(QUICK, lora_rank=2))
    assert torch.equal(before["0.bias"], after["0.bias"])
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["6.bias"], after["6.bias"])  # the head learns as it is


CHILD = """
import os, signal, sys
sys.path[:0] = {folders!r}
from pathlib import Path
import numpy as np, torch
import test_training as t
torch.set_num_threads(1)
t.loop.CHECKPOINT_SECONDS = 0
calls = 0

def forward(network, pixels):
    global calls
    calls += network.training
    if calls == 4 * 4 + 2:  # the second step of the fifth epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return network(pixels)

pool = t.make_pool(Path({folder!r}), 45, t.SIZE, n_labeled=36)
t.train(t.select(pool, np.arange(36)), t.RICH, forward=forward, checkpoint=Path({checkpoint!r}))
"""


def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    code = CHILD.format(
        folders=[str(parent) for parent in Path(__file__).parents[:3]],
        folder=str(tmp_path / "pool"),
        checkpoint=str(checkpoint),
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 4
    labeled = select(make_pool(tmp_path / "pool", 45, SIZE, n_labeled=36), np.arange(36))
    resumed: list[int] = []
    assert same(train(labeled, RICH, checkpoint=checkpoint, forward=counting(resumed)), train(labeled, RICH))
    assert sum(resumed) == 2 * 4  # two epochs of four steps were left


def counting(calls: list[int]) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
    """Return a forward pass that notes the training steps."""

    def forward(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        calls.append(int(network.training))
        return network(pixels)

    return forward


def test_time_up_leaves_a_checkpoint_and_the_next_call_goes_on(labeled, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    set_deadline(0)
    for epoch in (1, 2, 3):
        with pytest.raises(TimeIsUp):
            train(labeled, RICH, checkpoint=checkpoint)
        assert torch.load(checkpoint, weights_only=True)["epoch"] == epoch
    set_deadline(None)
    assert same(train(labeled, RICH, checkpoint=checkpoint), train(labeled, RICH))


@pytest.mark.parametrize("other", [{"seed": 7}, {"recipe": QUICK}, {"made_from": "other weights"}])
def test_a_checkpoint_of_other_settings_is_ignored(labeled, tmp_path, monkeypatch, other):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    checkpoint = tmp_path / "checkpoint.pt"
    train(labeled, **{"recipe": RICH, "checkpoint": checkpoint, **other})
    assert same(train(labeled, RICH, checkpoint=checkpoint), train(labeled, RICH))


@pytest.mark.parametrize("damaged", [b"", b"garbage", bytes(range(256)), b"\x80\x02h\x07q"])
def test_a_broken_checkpoint_is_ignored(labeled, tmp_path, damaged):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(damaged)
    assert same(train(labeled, checkpoint=checkpoint), train(labeled))


def test_a_broken_checkpoint_is_named_as_it_is_written_on_the_disk(labeled, tmp_path, capfd):
    folder = tmp_path / "a [bold] folder"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"garbage")
    train(labeled, replace(QUICK, epochs=1), checkpoint=folder / "checkpoint.pt")
    assert "a [bold] folder" in " ".join(capfd.readouterr().err.split())


def test_short_epochs_do_not_write_a_checkpoint_each(labeled, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 3600)
    train(labeled, checkpoint=tmp_path / "checkpoint.pt")
    assert not (tmp_path / "checkpoint.pt").exists()


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


def test_efficientnetv2_s_takes_real_steps(pool):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("tf_efficientnetv2_s", num_classes=3, drop_path_rate=0.2)
    before = network.conv_stem.weight.detach().clone()
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3, label_smoothing=0.1, mixup=0.2, ema_decay=0.99, augment="strong")
    geometry = Preprocessing(Geometry(32, 32), (0.5,) * 3, (0.5,) * 3)
    diary = fit_network(network, recipe, select(pool, np.arange(8)), geometry, head=network.classifier)
    assert np.isfinite(diary[0]["loss"])
    assert not torch.equal(network.conv_stem.weight, before)
