"""Tiny CLIPs on the disk, and a stop after the first epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

TOWERS: dict[str, dict[str, Any]] = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
    "transformer": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
}


def write_clip(folder: Path, vision: dict[str, Any], text_layers: int = 1) -> None:
    """Write a tiny CLIP with random weights in open_clip's local-dir form."""
    folder.mkdir()
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": text_layers}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
