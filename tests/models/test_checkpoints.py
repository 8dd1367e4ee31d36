"""A training that was stopped or killed goes on from its checkpoint to the same weights."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pools import make_pool
from support.training import QUICK, RICH, SIZE, counting, make_network, same, select, state, train
from support.warm import Warm

from kit.core.deadline import set_deadline
from kit.core.errors import TimeIsUp
from kit.models.training import loop

POOL = (45, SIZE, 36)


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
    calls += network.training
    if calls == 4 * 4 + 2:  # the second step of the fifth epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return network(pixels)

pool = make_pool(Path({folder!r}), 45, t.SIZE, n_labeled=36)
t.train(t.select(pool, np.arange(36)), t.RICH, forward=forward, checkpoint=Path({checkpoint!r}))
"""


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


def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    code = CHILD.format(
        folder=str(tmp_path / "pool"),
        checkpoint=str(checkpoint),
    )
    child = Warm(code)
    _, stderr = child.communicate()
    assert child.returncode == -signal.SIGKILL, stderr
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 4
    labeled = select(make_pool(tmp_path / "pool", 45, SIZE, n_labeled=36), np.arange(36))
    resumed: list[int] = []
    assert same(train(labeled, RICH, checkpoint=checkpoint, forward=counting(resumed)), train(labeled, RICH))
    assert sum(resumed) == 2 * 4  # two epochs of four steps were left


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
def test_a_checkpoint_of_other_settings_is_set_aside(labeled, tmp_path, monkeypatch, other):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    checkpoint = tmp_path / "checkpoint.pt"
    train(labeled, **{"recipe": RICH, "checkpoint": checkpoint, **other})
    assert same(train(labeled, RICH, checkpoint=checkpoint), train(labeled, RICH))
    calls: list[int] = []
    train(labeled, **{"recipe": RICH, "checkpoint": checkpoint, **other}, forward=counting(calls))
    assert not sum(calls)  # it was set aside, not lost


def test_another_device_of_the_same_kind_goes_on(labeled, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    checkpoint, calls = tmp_path / "checkpoint.pt", []
    train(labeled, checkpoint=checkpoint, device="cpu:0")
    train(labeled, checkpoint=checkpoint, forward=counting(calls))
    assert not sum(calls)


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
