"""Folds on several devices."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.features.device import choose_precision, choose_training, list_devices
from kit.features.device import place_network as place
from kit.features.weights import parse_encoder
from kit.runs.fit.crossval import crossval
from kit.scoring.predictions import read_predictions

TINY_NETWORK = """
[runs.net]
model = "fine_tune"
encoder = "timm:test_efficientnet"
pretrained = false
image_size = 32
epochs = 2
batch_size = 8
"""


@pytest.fixture
def two_devices(monkeypatch):
    """Return a function from whose call on there are two devices."""

    def begin() -> None:
        monkeypatch.setenv("KIT_DEVICE", "cpu,cpu")
        list_devices.cache_clear()
        assert len(list_devices()) == 2

    yield begin
    list_devices.cache_clear()


def test_folds_spread_over_two_devices_give_the_predictions_of_one(colours, tmp_path, two_devices):
    """Both processes begin by decoding the same images into the same store."""
    colours(TINY_NETWORK)
    spread = tmp_path / "spread"
    shutil.copytree(tmp_path, spread, ignore=shutil.ignore_patterns("spread"))
    alone = crossval(prepare(read_competition("colours", Workspace(tmp_path))), "net")
    two_devices()
    together = crossval(prepare(read_competition("colours", Workspace(spread))), "net")
    for split in ("oof", "test", "unlabeled"):
        ours, theirs = (read_predictions(result.folder / f"{split}.parquet") for result in (alone, together))
        assert list(ours.ids) == list(theirs.ids)
        assert np.array_equal(ours.proba, theirs.proba)


@pytest.mark.parametrize("text", ["timm:resnet18", "open_clip:local-dir:.", "open_clip:RN50/openai"])
def test_only_open_clips_large_transformers_are_encoded_in_half_precision_on_cpus(text, tmp_path):
    assert choose_precision(parse_encoder(text, {}, (tmp_path,)), "cpu") == "float32"


def test_half_precision_on_cpus_is_bfloat16_which_cannot_overflow():
    assert choose_precision(parse_encoder("open_clip:ViT-B-16/openai"), "cpu") in ("float32", "bfloat16")


@pytest.mark.parametrize(("has_bfloat16", "half"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_encodes_and_trains_in_the_half_precision_that_it_has(has_bfloat16, half, monkeypatch):
    """A T4 only emulates bfloat16, which is not asked for."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or has_bfloat16
    )
    assert choose_precision(parse_encoder("timm:resnet18"), "cuda:0") == half
    assert choose_training(torch.nn.Conv2d(3, 4, 3), 32, "cuda:1") == half


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_prepared_network_is_in_evaluation_mode_at_its_precision(precision):
    network = place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Dropout()), "cpu", precision)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {getattr(torch, precision)}
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
