"""Unlabelled images in training: where they teach nothing it is as without them, and a killed run ends the same."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.clips import TOWERS, write_clip
from support.pools import labels_of
from support.training import (
    METHODS,
    PREPROCESSING,
    QUICK,
    RICH,
    SIZE,
    SOON,
    make_network,
    record_of,
    same,
    select,
    train_both,
)
from support.warm import Warm

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.training import loop
from kit.models.training.batches import draw_passes, draw_steps
from kit.models.training.recipe import Recipe
from kit.models.training.unlabeled import Stream, take_confident

POOL = (60, SIZE, 30)


CHILD = """
import os, signal
from pathlib import Path
import numpy as np, torch
from kit.models.training import loop
import support.training as t
from support.pools import make_pool
loop.CHECKPOINT_SECONDS = 0
calls = 0

def forward(network, pixels):
    global calls
    calls += not network.training
    if calls == 5:  # a weak view in the middle of the second epoch that has any
        os.kill(os.getpid(), signal.SIGKILL)
    return network(pixels)

pool = make_pool(Path({folder!r}), 60, t.SIZE, n_labeled=30)
recipe = t.replace(t.QUICK, epochs=4, **t.METHODS["freematch"])
t.train_both(t.select(pool, np.arange(30)), pool.select(np.arange(30, 60)), recipe, forward=forward,
        checkpoint=Path({checkpoint!r}))
"""


@pytest.mark.parametrize("method", METHODS)
def test_without_weight_training_is_that_without_unlabeled_images(method, labeled, unlabeled):
    base = replace(RICH, ema_decay=0.9, accumulate=2)
    keys = {name: value for name, value in METHODS[method].items() if name not in ("fairness", "loss_temperature")}
    with_them = train_both(labeled, unlabeled, replace(base, **keys, unlabeled_weight=0.0))
    assert same(with_them, train_both(labeled, None, base))


@pytest.mark.parametrize("method", ["fixmatch", "self_training"])
def test_where_nothing_passes_training_is_that_without_unlabeled_images(method, labeled, unlabeled):
    recipe = replace(RICH, **{**METHODS[method], "threshold": 1.1})
    assert same(train_both(labeled, unlabeled, recipe), train_both(labeled, None, RICH))
    rates = [entry["mask_rate"] for entry in record_of(labeled, unlabeled, recipe) if "mask_rate" in entry]
    assert rates and set(rates) == {0.0}


@pytest.mark.parametrize("method", METHODS)
def test_unlabeled_images_move_the_weights_and_the_record_tells_of_them(method, labeled, unlabeled):
    recipe = replace(RICH, **METHODS[method], epochs=8, lr=0.02)
    assert not same(train_both(labeled, unlabeled, recipe), train_both(labeled, None, replace(RICH, epochs=8, lr=0.02)))
    last = record_of(labeled, unlabeled, recipe)[-1]
    assert 0 < last["mask_rate"] <= 1
    if method == "self_training":
        assert sum(last["counts"]) == last["n_joined"] and len(last["counts"]) == 3
    else:
        assert sum(last["pseudo_share"]) == pytest.approx(1, abs=1e-3) and np.isfinite(last["unlabeled_loss"])
    assert ("consistency_weight" in last) == (method == "mean_teacher")


@pytest.mark.parametrize("method", METHODS)
def test_the_labels_of_unlabeled_images_are_never_read(method, pool, labeled, unlabeled):
    recipe = replace(RICH, **METHODS[method])
    known = select(pool, unlabeled.rows)
    assert same(train_both(labeled, known, recipe), train_both(labeled, unlabeled, recipe))


def test_a_labeled_image_is_not_unlabeled_too(pool, labeled, unlabeled):
    recipe = replace(RICH, **METHODS["fixmatch"])
    assert same(train_both(labeled, pool.select(np.arange(60)), recipe), train_both(labeled, unlabeled, recipe))


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_goes_on_to_the_same_weights_and_record(method, labeled, unlabeled, tmp_path, monkeypatch):
    recipe, checkpoint = replace(RICH, **METHODS[method], steps_per_epoch=5), tmp_path / "checkpoint.pt"
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    set_deadline(0)
    for _ in range(4):
        with pytest.raises(TimeIsUp):
            train_both(labeled, unlabeled, recipe, checkpoint=checkpoint)
    set_deadline(None)
    resumed = record_of(labeled, unlabeled, recipe, checkpoint=checkpoint)
    for entry, other in zip(resumed, record_of(labeled, unlabeled, recipe), strict=True):
        assert {**entry, "seconds": 0} == {**other, "seconds": 0}
    weights = train_both(labeled, unlabeled, recipe, checkpoint=checkpoint)
    assert same(weights, train_both(labeled, unlabeled, recipe))


def test_a_checkpoint_with_other_unlabeled_images_is_ignored(labeled, unlabeled, tmp_path, monkeypatch):
    recipe, checkpoint = replace(RICH, **METHODS["fixmatch"]), tmp_path / "checkpoint.pt"
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    train_both(labeled, unlabeled.take(np.arange(9)), recipe, checkpoint=checkpoint)
    resumed = train_both(labeled, unlabeled, recipe, checkpoint=checkpoint)
    assert same(resumed, train_both(labeled, unlabeled, recipe))


def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(pool, labeled, unlabeled, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    code = CHILD.format(
        folder=str(pool.lookup[0]),
        checkpoint=str(checkpoint),
    )
    child = Warm(code)
    _, stderr = child.communicate()
    assert child.returncode == -signal.SIGKILL, stderr
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["epoch"] == 1 and int(saved["method"]["n_updates"]) == 4
    recipe = replace(QUICK, epochs=4, **METHODS["freematch"])
    resumed = train_both(labeled, unlabeled, recipe, checkpoint=checkpoint)
    assert same(resumed, train_both(labeled, unlabeled, recipe))


def test_frozen_epochs_do_without_unlabeled_images(labeled, unlabeled):
    record = record_of(labeled, unlabeled, replace(RICH, **METHODS["fixmatch"]))
    assert ["unlabeled_loss" in entry for entry in record] == [False, False, True, True, True, True]


def test_images_join_from_their_epoch_on(labeled, unlabeled):
    record = record_of(labeled, unlabeled, replace(QUICK, epochs=5, **METHODS["self_training"]))
    assert ["n_joined" in entry for entry in record] == [False, False, True, True, True]


def test_early_stopping_holds_out_labeled_images_alone(labeled, unlabeled):
    recipe = replace(RICH, **METHODS["self_training"], patience=3, epochs=8)
    network = make_network()
    run = loop.Loop(
        network, recipe, labeled, unlabeled, PREPROCESSING, network[-1], torch.nn.Module.__call__, 0, "cpu", "float32"
    )
    held_out, rows = set(run.hold_out.images.rows), set(run.train.rows)
    run.run(None, "")
    joined, _ = run._join()
    assert held_out <= set(labeled.rows) and not held_out & set(joined.rows)
    assert rows <= set(joined.rows) and all(entry["inner_accuracy"] is not None for entry in run.record)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["mean_teacher", "freematch"])
def test_half_precision_gives_finite_numbers_even_for_huge_logits(method, precision, labeled, unlabeled):
    def forward(network: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        return network(pixels) * 1000

    recipe = replace(QUICK, **METHODS[method], lr=1e-3)
    record = record_of(labeled, unlabeled, recipe, forward=forward, precision=precision)
    assert all(np.isfinite(entry["unlabeled_loss"]) for entry in record)


def test_parts_of_both_batches_are_equally_large(labeled, unlabeled):
    sizes: list[int] = []

    def forward(network: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        if network.training:
            sizes.append(len(pixels))
        return network(pixels)

    recipe = replace(QUICK, epochs=1, batch_size=6, accumulate=4, **METHODS["mean_teacher"], unlabeled_ratio=4)
    train_both(labeled, unlabeled, recipe, forward=forward)
    assert set(sizes) == {6} and len(sizes) == 5 * (1 + 4)


def test_when_memory_does_not_suffice_both_batches_go_in_parts(labeled, unlabeled, capfd):
    def forward(network: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        if network.training and len(pixels) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return network(pixels)

    recipe = replace(QUICK, epochs=1, **METHODS["mean_teacher"])
    train_both(labeled, unlabeled, recipe, forward=forward)
    assert "4 parts" in capfd.readouterr().err


def test_an_epoch_has_the_steps_that_are_asked_for(pool, labeled, unlabeled):
    rows, generator = np.arange(10), torch.Generator().manual_seed(0)
    batches = draw_steps(rows, 4, 8, generator)
    assert len(batches) == 8 and sorted(np.concatenate(batches[:6])) == sorted([*range(10)] * 2)
    assert len(draw_steps(rows, 4, 2, generator)) == 2 and len(draw_steps(rows, 4, None, generator)) == 3
    assert len(record_of(labeled, unlabeled, replace(QUICK, steps_per_epoch=9))) == 3
    assert same(train_both(labeled, None, replace(RICH, steps_per_epoch=3)), train_both(labeled, None, RICH))


def test_every_unlabeled_image_comes_before_any_comes_again():
    order = draw_passes(np.arange(10), 25, torch.Generator().manual_seed(0))
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10)) and len(order) == 25


def test_the_views_of_an_image_are_of_one_image_and_memory_does_not_grow_with_the_pool(pool, unlabeled):
    stream = Stream(unlabeled, PREPROCESSING, replace(QUICK, augment="none"), "none", 0, "cpu")
    stream.restart(3, 40)
    assert isinstance(stream.store, np.memmap) and stream.order.nbytes == 40 * 8
    first, second = stream.views(16)
    assert first.shape == (16, 3, SIZE, SIZE) and torch.equal(first, second)
    again = Stream(unlabeled, PREPROCESSING, replace(QUICK, augment="none"), "strong", 0, "cpu")
    again.restart(3, 40)
    weak, strong = again.views(16)
    assert torch.equal(weak, first) and not torch.equal(weak, strong)


def test_what_joins_is_pseudo_labeled_and_counted(unlabeled):
    proba = np.array([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9]], dtype=np.float32)
    taken, facts = take_confident(unlabeled.take(np.arange(3)), proba, 0.7, 0.5)
    assert taken.rows.tolist() == unlabeled.rows[[0, 2]].tolist() and taken.labels.tolist() == [0, 2]
    assert taken.is_pseudo.all() and set(taken.weights) == {0.5}
    assert facts == {"n_joined": 2, "mask_rate": 2 / 3, "counts": [1, 0, 1], "threshold": 0.7}


def test_fewer_unlabeled_images_than_asked_for_come_again(labeled, unlabeled):
    record = record_of(labeled, unlabeled.take(np.arange(1)), replace(QUICK, **METHODS["mean_teacher"]))
    assert np.isfinite(record[-1]["unlabeled_loss"])


def test_no_unlabeled_image_at_all_is_refused(labeled, unlabeled):
    for nothing in (None, unlabeled.take(np.arange(0)), labeled):
        with pytest.raises(InputError, match='there is none: set semi = "none"'):
            train_both(labeled, nothing, replace(QUICK, **METHODS["fixmatch"]))


def test_methods_that_would_never_begin_are_refused(labeled, unlabeled):
    with pytest.raises(InputError, match="begins after the frozen epochs"):
        train_both(labeled, unlabeled, replace(QUICK, frozen_epochs=3, **METHODS["fixmatch"]))
    with pytest.raises(InputError, match="join_epoch = 7 lies after the last of 3 epochs"):
        Recipe(semi="self_training", epochs=3)


@pytest.mark.parametrize("train", ["image", "both"])
def test_a_clip_learns_from_unlabeled_images(train, pool, labeled, unlabeled):
    write_clip(Path(pool.lookup[0]) / train, TOWERS["transformer"])
    options = {"encoder": f"open_clip:local-dir:{train}", "epochs": 2, "batch_size": 8, "lr": 1e-3, "train": train}
    alone, taught = (
        ClipFinetune(**options, **keys).fit(labeled, unlabeled).predict_sweep(unlabeled)
        for keys in ({}, METHODS["freematch"])
    )
    assert np.array_equal(alone[0], taught[0]) and not np.allclose(alone[-1], taught[-1], atol=1e-4)


@pytest.mark.parametrize("method", ["freematch", "self_training"])
def test_a_real_network_learns_from_unlabeled_images(method, pool, unlabeled):
    few = pool.select(np.arange(30), labels_of(np.arange(30)))
    recipe = {"epochs": 7, "steps_per_epoch": 3, "batch_size": 8, "pretrained": False, "image_size": 32, "lr": 3e-3}
    keys = {name: value for name, value in METHODS[method].items() if name not in SOON}
    model = FineTune(encoder="timm:test_efficientnet", **recipe, **keys).fit(few, unlabeled)
    assert np.isfinite(model.predict_proba(unlabeled)).all() and "mask_rate" in model.record_[-1]
