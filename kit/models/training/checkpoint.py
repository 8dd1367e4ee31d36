"""Where checkpoints lie, of which training and epoch they are; those of other trainings are set aside, not lost.

Reads and renames ``checkpoint*.pt``. A run may have been begun on another kind of device or in another precision too,
there by a session on Kaggle, here by this machine: each goes on from its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from kit.core.terminal import note


def load(checkpoint: Path, mmap: bool = False) -> dict[str, Any]:
    """Return what a checkpoint holds, in the memory of the CPU; with `mmap` its tensors stay on the disk."""
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mmap)


def read_progress(checkpoint: Path) -> tuple[str, int] | None:
    """Return the key of the training that a checkpoint is of, and after how many epochs; None if it cannot be read."""
    if not checkpoint.exists():
        return None
    try:
        state = load(checkpoint, mmap=True)
        return str(state["key"]), int(state["epoch"])
    except Exception as error:  # a damaged file makes the unpickler raise anything
        note(f"{checkpoint} cannot be read ({type(error).__name__}), so nothing goes on from it")
        return None


def aside(checkpoint: Path, key: str) -> Path:
    """Return where the checkpoint of a training lies beside the one that is written at `checkpoint`."""
    return checkpoint.with_stem(f"{checkpoint.stem}-{key[:8]}")


def find_checkpoint(checkpoint: Path, key: str) -> Path | None:
    """Return the checkpoint of a training that is after most epochs; None where there is none.

    One of another training that lies at `checkpoint` is set aside, since that place is written to.
    """
    progress = {file: read_progress(file) for file in (checkpoint, aside(checkpoint, key))}
    epochs = {file: read[1] for file, read in progress.items() if read is not None and read[0] == key}
    if (other := progress[checkpoint]) is not None and other[0] != key:
        os.replace(checkpoint, aside(checkpoint, other[0]))
        if not epochs:
            note(f"{checkpoint} is of other settings, images or kind of device: set aside, and training begins anew")
    return max(epochs, key=lambda file: epochs[file], default=None)
