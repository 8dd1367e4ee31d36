"""Weights: where an encoder's weights are, whether they can be had, and that they fit.

An encoder is written as one text, wherever it comes from::

    open_clip:MODEL/TAG               weights from the hub, for example open_clip:ViT-B-16/openai
    open_clip:MODEL/TAG@FILE          the same network and preprocessing, weights from a file
    open_clip:local-dir:FOLDER        open_clip_config.json beside open_clip_model.safetensors
    timm:NAME                         weights from the hub, for example timm:tf_efficientnetv2_s.in21k_ft_in1k
    timm:NAME@FILE.safetensors        weights from a file; constructor arguments in ``encoder_args``

Reads weights; writes nothing. `find_weights` tells before any work whether the weights can be had.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import InputError, MissingWeights, nearest, some
from kit.files import hash_file

if TYPE_CHECKING:
    import torch
    from torch import nn

LOCAL_DIR = "local-dir:"
HUB_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class EncoderSpec:
    """Name an encoder: what a run's ``encoder`` and ``encoder_args`` say, paths resolved.

    Parameters
    ----------
    text
        As the user wrote it.
    library
        ``"open_clip"`` or ``"timm"``.
    name
        The architecture; empty for a local-dir.
    tag
        open_clip's pretrained tag, or None.
    file
        A local weights file or local-dir folder, or None for the hub.
    args
        Arguments of the network's constructor.
    """

    text: str
    library: str
    name: str
    tag: str | None = None
    file: Path | None = None
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> list[object]:
        """Return what decides the encoder's output: architecture, arguments, weights, the library's version."""
        version = importlib.metadata.version("timm" if self.library == "timm" else "open_clip_torch")
        weights = [digest_of(file) for file in self._files()] or self.tag
        return [self.library, version, self.name, self.args, weights]

    def _files(self) -> list[Path]:
        """Return the local files that decide the encoder."""
        if self.file is None:
            return []
        if self.file.is_dir():
            return sorted(file for file in self.file.iterdir() if file.suffix in (".json", ".safetensors"))
        return [self.file]


def parse_encoder(text: str, args: dict[str, Any] | None = None, lookup: tuple[Path, ...] = ()) -> EncoderSpec:
    """Read an encoder's one-line notation.

    Parameters
    ----------
    text
        The notation in this module's docstring.
    args
        Constructor arguments.
    lookup
        Folders in which a relative path is looked up, in order.

    Raises
    ------
    InputError
        When the notation is not understood.
    MissingWeights
        When a file or folder it names does not exist.
    """
    library, colon, rest = text.partition(":")
    if not colon or library not in ("open_clip", "timm") or not rest:
        hint = "write open_clip:MODEL/TAG, open_clip:local-dir:FOLDER, timm:NAME or timm:NAME@FILE.safetensors"
        raise InputError(f"encoder {text!r} is not understood; {hint}")
    args = dict(args or {})
    if library == "open_clip" and rest.startswith(LOCAL_DIR):
        folder = _find_file(rest.removeprefix(LOCAL_DIR), lookup, text)
        return EncoderSpec(text, library, "", file=folder, args=args)
    name, at, path = rest.partition("@")
    file = _find_file(path, lookup, text) if at else None
    if library == "timm":
        return EncoderSpec(text, library, name, tag=name, file=file, args=args)
    name, slash, tag = name.rpartition("/")
    if not slash:
        raise InputError(f"encoder {text!r}: name the pretrained weights too, for example open_clip:{tag}/openai")
    return EncoderSpec(text, library, name, tag=tag, file=file, args=args)


def find_weights(spec: EncoderSpec) -> None:
    """Make sure the weights can be had, before any work.

    Raises
    ------
    InputError
        When the architecture or tag is unknown.
    MissingWeights
        When they are neither on this machine nor in reach; names the file and the remedy.
    """
    if spec.file is not None:
        return
    repository, file = _hub_file(spec)
    if not _on_this_machine(repository, file) and not _hub_has(repository):
        raise MissingWeights(
            f"{spec.text}: the weights are not on this machine and the hub cannot be reached. Connect once, or fetch "
            f'{file} of {repository} elsewhere and write encoder = "{spec.text}@PATH/{file}"'
        )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; nothing else, because a pickle can run code.

    Raises
    ------
    InputError
        When it is not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: _as_float32(tensor) for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}); convert it, pickles are not loaded") from error


def load_state(
    network: nn.Module, tensors: dict[str, torch.Tensor], spec: EncoderSpec, ignore: tuple[str, ...]
) -> None:
    """Load weights strictly, but for the classifier's."""
    own = network.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(ignore or ("\0",))}
    needed = {name for name in own if not name.startswith(ignore or ("\0",))}
    wrong = [f"{name} is missing" for name in sorted(needed - set(tensors))]
    wrong += [f"{name} is not in the network" for name in sorted(set(tensors) - needed)]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in sorted(needed & set(tensors))
        if tensors[name].shape != own[name].shape
    ]
    if wrong:
        raise InputError(f"{spec.file}: weights of another architecture than {spec.text!r}: {some(wrong, 3)}")
    network.load_state_dict(tensors, strict=False)


@functools.cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    return hash_file(Path(path))


def digest_of(path: Path) -> str:
    """Return a file's SHA-256, computed once per process while the file stays the same."""
    stat = path.stat()
    return _digest(str(path), stat.st_size, stat.st_mtime_ns)


def _find_file(path: str, lookup: tuple[Path, ...], text: str) -> Path:
    """Return the first existing place of a path named by an encoder."""
    places = [Path(path).expanduser()] if Path(path).expanduser().is_absolute() else [base / path for base in lookup]
    for place in places:
        if place.exists():
            return place.resolve()
    raise MissingWeights(f"encoder {text!r}: no such file; looked for {some(places)}")


def _hub_file(spec: EncoderSpec) -> tuple[str, str]:
    """Return the hub's repository and file of an encoder's weights."""
    if spec.library == "timm":
        import timm

        config = timm.get_pretrained_cfg(spec.name, allow_unregistered=False) if timm.is_model(spec.name) else None
        if config is None:
            raise InputError(f"encoder {spec.text!r}: timm knows no such network; {_nearest_timm(spec.name)}")
        if not (config.hf_hub_id or config.url):
            raise InputError(f"encoder {spec.text!r}: timm has no weights for it; {_nearest_timm(spec.name)}")
        return config.hf_hub_id or config.url, "model.safetensors"
    import open_clip

    config = open_clip.get_pretrained_cfg(spec.name, spec.tag)
    if not config:
        tags = [f"{name}/{tag}" for name, tag in open_clip.list_pretrained()]
        raise InputError(f"encoder {spec.text!r}: {nearest(f'{spec.name}/{spec.tag}', tags)}")
    if config.get("hf_hub"):
        repository, file = os.path.split(config["hf_hub"])
        return repository, (file or "open_clip_model.safetensors").replace(".bin", ".safetensors")
    return config["url"], Path(config["url"]).name


def _nearest_timm(name: str) -> str:
    """Return a hint naming timm's networks near `name`."""
    import timm

    return nearest(name, timm.list_models(pretrained=True))


def _on_this_machine(repository: str, file: str) -> bool:
    """Return whether the weights lie in the hub's or open_clip's cache."""
    if repository.startswith("http"):
        return (Path.home() / ".cache" / "clip" / Path(repository).name).is_file()
    from huggingface_hub import try_to_load_from_cache

    names = (file, "pytorch_model.bin", "open_clip_pytorch_model.bin", "open_clip_model.safetensors")
    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)


@functools.cache
def _hub_has(repository: str) -> bool:
    """Ask the hub once whether it is there and has the repository."""
    import urllib.request

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    try:
        if repository.startswith("http"):
            with urllib.request.urlopen(repository, timeout=HUB_TIMEOUT_SECONDS):
                return True
        HfApi().model_info(repository, timeout=HUB_TIMEOUT_SECONDS)
    except (HfHubHTTPError, OSError):
        return False
    except Exception as error:  # a dead network has the hub's HTTP library's own family of errors
        if "http" in type(error).__module__:
            return False
        raise
    return True


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Widen half-precision weights; whole numbers stay what they are."""
    import torch

    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
