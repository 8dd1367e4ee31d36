"""Folds on several devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.features.device import choose_precision
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
SPREAD = """
import sys
from pathlib import Path
from kit.config.reader import read_competition
from kit.runs.fit.crossval import crossval
from kit.features.device import list_devices
from kit.core.files import Workspace
from kit.data.prepared import prepare

assert len(list_devices()) == 2
print(crossval(prepare(read_competition("colours", Workspace(Path(sys.argv[1])))), "net").folder)
"""


def test_folds_spread_over_two_devices_give_the_predictions_of_one(colours, tmp_path, monkeypatch):
    """Both processes begin by decoding the same images into the same store."""
    colours(TINY_NETWORK)
    serial, spread = tmp_path, tmp_path / "spread"
    shutil.copytree(tmp_path, spread, ignore=shutil.ignore_patterns("spread"))
    environment = {**os.environ, "KIT_DEVICE": "cpu,cpu", "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", SPREAD, str(spread)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    result = crossval(prepare(read_competition("colours", Workspace(serial))), "net")
    for split in ("oof", "test", "unlabeled"):
        ours = read_predictions(result.folder / f"{split}.parquet")
        theirs = read_predictions(Path(child.stdout.split()[-1]) / f"{split}.parquet")
        assert list(ours.ids) == list(theirs.ids)
        assert np.array_equal(ours.proba, theirs.proba)


@pytest.mark.parametrize("text", ["timm:resnet18", "open_clip:local-dir:.", "open_clip:RN50/openai"])
def test_only_open_clips_large_transformers_are_encoded_in_half_precision_on_cpus(text, tmp_path):
    assert choose_precision(parse_encoder(text, {}, (tmp_path,)), "cpu") == "float32"


def test_half_precision_on_cpus_is_bfloat16_which_cannot_overflow():
    assert choose_precision(parse_encoder("open_clip:ViT-B-16/openai"), "cpu") in ("float32", "bfloat16")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_prepared_network_is_in_evaluation_mode_at_its_precision(precision):
    network = place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Dropout()), "cpu", precision)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {getattr(torch, precision)}
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
