"""Tiny CLIPs with random weights, as open_clip's local-dirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kit.config.competition import HOME

DIGITS = HOME / "digits" / "tiny-clip"
TINY_CLIP = f"open_clip:local-dir:{DIGITS}"
RESNET = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
VIT = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
TIMM = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
    "transformer": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
}
PREPROCESSING = {"size": [32, 32], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "resize_mode": "shortest"}


def make_clip(folder: Path, vision: dict[str, Any] = VIT, weights: bool = True, **model: Any) -> str:
    """Write a local-dir and return its encoder text.

    Parameters
    ----------
    folder
        Where it goes.
    vision
        The image tower.
    weights
        False for the configuration alone.
    **model
        More keys of ``model_cfg``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT, **model}}
    config["preprocess_cfg"] = PREPROCESSING
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if weights:
        save_random(folder)
    return f"open_clip:local-dir:{folder}"


def save_random(folder: Path) -> None:
    """Write random weights beside a local-dir's configuration; batch norms have statistics of their own."""
    torch.manual_seed(0)
    open_clip = pytest.importorskip("open_clip")
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, folder / FILE)


FILE = "open_clip_model.safetensors"


def write_clip(folder: Path, vision: dict[str, Any], text_layers: int = 1) -> None:
    """Write a tiny CLIP with random weights in open_clip's local-dir form."""
    folder.mkdir()
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": text_layers}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        open_clip = pytest.importorskip("open_clip")
        save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
