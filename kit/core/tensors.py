"""Arrays by name on disk, as safetensors: learned weights and what was measured with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kit.core.errors import DamagedFile
from kit.core.files import remedy_for, write_atomic
from kit.core.shapes import Tensors


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write arrays, such as learned weights, as safetensors, atomically; its folder is made."""
    from safetensors.numpy import save

    with write_atomic(path) as file:
        file.write(save({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> Tensors:
    """Read learned weights; a file that is not there or is no safetensors any more raises DamagedFile."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{path}: cannot be read as weights ({error}); {remedy_for(path)}") from error
