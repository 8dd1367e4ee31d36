"""Weights in a folder: which encoder each file holds, and how it wants its images.

A ``config.json`` or the header of the file decides, and for a local-dir its ``open_clip_config.json``. Where neither is
there the tensors tell the architecture, but not padding, mean and deviation: a strict load proves nothing. Then all
candidates are named; `kit.curate.plan.choose` compares them on the labels. Reads headers; writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.core.errors import InputError
from kit.features.encoders import timm_configuration
from kit.features.weights import LOCAL_CONFIGURATION, LOCAL_DIR, PACKAGES, PIP, locate_weights, parse_encoder
from kit.features.weights.spec import LOCAL_WEIGHTS, PICKLE_SUFFIXES

CONFIGURATION = "config.json"  # timm's, as it lies in a repository of the hub
PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
HALF, IMAGENET = {"mean": [0.5] * 3, "std": [0.5] * 3}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PADDED_MODULES = ("efficientnet", "mobilenetv3")  # of timm, whose networks take pad_type
HASH_IN_NAME = re.compile("-[0-9a-f]{8}$")
TELLING = {  # the first tensor of a kind of network -> timm's modules that have it
    "conv_stem.weight": ("efficientnet", "mobilenetv3"),
    "layer1.0.conv1.weight": ("resnet",),
    "blocks.0.attn.qkv.weight": ("vision_transformer", "deit", "eva"),
    "stages.0.blocks.0.conv_dw.weight": ("convnext",),
    "features.conv0.weight": ("densenet",),
}

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Candidate:
    """Hold one way to read a file of weights: as competition.toml writes it, and in words how it differs."""

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True)
class FoundWeights:
    """Hold one encoder of a folder: a name for its runs, and the ways to read it; one where a file decides."""

    name: str
    path: Path
    candidates: tuple[Candidate, ...]
    decided_by: str


def find_in_folder(folder: Path, known: dict[str, str] | None = None) -> tuple[list[FoundWeights], list[str]]:
    """Look through a folder and those below it.

    Parameters
    ----------
    known
        Encoders that are had already, by the fingerprints of their weights.

    Returns
    -------
    list of FoundWeights
        One for every encoder; copies of one file, and of what pip brings, once.
    list of str
        A sentence for every file that is no encoder, or that holds weights which are had already.

    Raises
    ------
    InputError
        When there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--weights {folder}: there is no such folder; name one that holds .safetensors files")
    found: list[FoundWeights] = []
    refused: list[str] = []
    seen = dict(known or {})
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLE_SUFFIXES and path.is_file():
            refused.append(f"{path}: a pickle can run code, so it is not loaded; convert it to safetensors")
        if path.suffix != ".safetensors" or not path.is_file():
            continue
        try:
            weights = fingerprint(path)
            if weights in seen:
                refused.append(f"{path}: the same weights as {seen[weights]}, which is taken")
                continue
            found.append(_recognise(path))
            seen[weights] = str(path)
        except InputError as error:
            refused.append(str(error))
    return _name_once(found), refused


def fingerprint(path: Path) -> str:
    """Return a hash of a few tensors of a file: what is equal there holds the same weights."""
    import torch

    digest = hashlib.sha256()
    with _open(path) as file:
        for name in sorted(file.keys(), key=lambda name: (-math.prod(file.get_slice(name).get_shape()), name))[:3]:
            digest.update(name.encode() + file.get_tensor(name).reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def pip_fingerprints() -> dict[str, str]:
    """Return the notation of each network that an installed package holds, by its fingerprint."""
    texts = [f"timm:{name}@{PIP}" for name, package in PACKAGES.items() if package.folder is not None]
    return {fingerprint(locate_weights(parse_encoder(text))): text for text in texts}


def _recognise(path: Path) -> FoundWeights:
    """Return what a file holds; InputError, in one sentence, where it is no encoder that the kit can load."""
    if (path.parent / LOCAL_CONFIGURATION).is_file():
        return _of_local_dir(path)
    shapes, header = read_header(path)
    beside = path.parent / CONFIGURATION
    config = _read_json(beside) if beside.is_file() else header
    if isinstance(config.get("architecture"), str):
        return _of_configuration(path, shapes, config, beside.name if beside.is_file() else "the file's header")
    return _of_tensors(path, shapes)


def _of_local_dir(path: Path) -> FoundWeights:
    """Return the CLIP of a local-dir; another file beside its weights is not one."""
    weights = next(name for name in (*LOCAL_WEIGHTS, path.name) if (path.parent / name).is_file())
    if path.name != weights:
        raise InputError(f"{path}: left out, {weights} beside it is the local-dir's")
    candidate = Candidate(f"open_clip:{LOCAL_DIR}{path.parent.resolve()}")
    return FoundWeights(_short(path.parent.name), path, (candidate,), LOCAL_CONFIGURATION)


def _of_configuration(path: Path, shapes: Shapes, config: dict[str, Any], decided_by: str) -> FoundWeights:
    """Return the network that a configuration names, with its preprocessing where timm's own is another."""
    name = config["architecture"]
    if not fits(name, shapes, config.get("model_args") or {}):
        raise InputError(f"{path}: its tensors are not those of {name}, which {decided_by} names")
    published = config.get("pretrained_cfg") or {}
    overlay = {key: published[key] for key in PREPROCESSING if published.get(key) is not None}
    ours = _registered(name)
    overlay = {key: value for key, value in overlay.items() if _as_list(value) != _as_list(ours.get(key))}
    args = dict(config.get("model_args") or {})
    if overlay:
        args["pretrained_cfg_overlay"] = {key: _as_list(value) for key, value in overlay.items()}
    candidate = Candidate(f"timm:{name}@{path.resolve()}", args)
    return FoundWeights(_short(name), path, (candidate,), decided_by)


def _of_tensors(path: Path, shapes: Shapes) -> FoundWeights:
    """Return the ways to read a file of which nothing but names of tensors and of folders is known."""
    names = _architectures(path, shapes)
    if not names:
        remedy = f"put timm's {CONFIGURATION} beside it, or name its folder as timm names the network"
        raise InputError(f"{path}: no network that the kit knows has its tensors; {remedy}")
    candidates = [
        Candidate(f"timm:{name}@{path.resolve()}", _arguments(name, norm, pad), _words(name, norm, pad))
        for name in names
        for pad in _paddings(name, names)
        for norm in _normalisations(name)
    ]
    return FoundWeights(_short(names[0]), path, tuple(candidates), "tensors")


def _architectures(path: Path, shapes: Shapes) -> list[str]:
    """Return timm's networks with exactly these tensors: by the names of file and folders, else by trying."""
    import timm

    pieces = [HASH_IN_NAME.sub("", path.stem), *(parent.name for parent in path.parents)]
    pieces = [part for piece in pieces for part in (piece, piece.partition(".")[0], *piece.split("--"))]
    for name in dict.fromkeys(part.partition(".")[0] for part in pieces):
        if not timm.is_model(name):
            continue
        twins = dict.fromkeys([name, f"tf_{name}", name.removeprefix("tf_")])
        if fitting := [twin for twin in twins if timm.is_model(twin) and fits(twin, shapes)]:
            return fitting
    modules = next((modules for tensor, modules in TELLING.items() if tensor in shapes), ())
    return [name for module in modules for name in timm.list_models(module=module) if fits(name, shapes)]


def fits(name: str, shapes: Shapes, args: dict[str, Any] | None = None) -> bool:
    """Return whether a timm network has exactly these tensors, but for its classifier."""
    import timm
    import torch

    if not timm.is_model(name):
        return False
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False, **(args or {}))
    classifier = timm_configuration(network).get("classifier") or ()
    ignored = tuple(f"{prefix}." for prefix in ([classifier] if isinstance(classifier, str) else classifier))
    theirs = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if not key.startswith(ignored)}
    return theirs == {key: shape for key, shape in shapes.items() if not key.startswith(ignored)}


def _paddings(name: str, names: list[str]) -> list[str]:
    """Return the paddings that a network may have been trained with: TensorFlow's too, unless a twin has it."""
    from timm.models import _registry

    takes_it = _registry._model_to_module.get(name) in PADDED_MODULES
    return ["", "same"] if takes_it and not any(twin.startswith("tf_") for twin in names) else [""]


def _normalisations(name: str) -> list[dict[str, Any]]:
    """Return mean and deviation that timm registers, and the two that are usual."""
    ours = {key: _as_list(_registered(name)[key]) for key in ("mean", "std")}
    return [ours, *(norm for norm in (HALF, IMAGENET) if norm != ours)]


def _arguments(name: str, norm: dict[str, Any], pad: str) -> dict[str, Any]:
    """Return the constructor's arguments of a candidate; none that say what timm does anyway."""
    differs = any(_as_list(_registered(name)[key]) != norm[key] for key in norm)
    overlay = {"pretrained_cfg_overlay": norm} if differs else {}
    return {**({"pad_type": pad} if pad else {}), **overlay}


def _words(name: str, norm: dict[str, Any], pad: str) -> str:
    """Return a candidate in words."""
    mean = {0.5: "mean .5", 0.485: "ImageNet's mean"}.get(norm["mean"][0], f"mean {norm['mean'][0]:g}")
    return f"{name}, {'padding same, ' if pad else ''}{mean}"


def _registered(name: str) -> dict[str, Any]:
    """Return timm's registered preprocessing of a network."""
    import timm
    from timm.data.config import resolve_data_config

    config = timm.get_pretrained_cfg(name)
    return resolve_data_config(pretrained_cfg=config.to_dict() if config else {})


def read_header(path: Path) -> tuple[Shapes, dict[str, Any]]:
    """Return the shapes of a file's tensors and what its header says; no tensor is read."""
    with _open(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
        header = dict(file.metadata() or {})
    if isinstance(header.get("pretrained_cfg"), str):
        header["pretrained_cfg"] = json.loads(header["pretrained_cfg"])
    return shapes, header


def _open(path: Path) -> Any:
    """Open a safetensors file; InputError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error


def _read_json(path: Path) -> dict[str, Any]:
    """Read a configuration; InputError where it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}), so {path.parent} is left out") from error
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> Any:
    """Return a tuple as the list that JSON and TOML have."""
    return list(value) if isinstance(value, tuple | list) else value


def _short(name: str) -> str:
    """Return a name for runs: letters, digits and underscores."""
    return re.sub("[^A-Za-z0-9]+", "_", name.removeprefix("tf_")).strip("_") or "encoder"


def _name_once(found: list[FoundWeights]) -> list[FoundWeights]:
    """Number the names that repeat."""
    used: dict[str, int] = {}
    named = []
    for each in found:
        used[each.name] = used.get(each.name, 0) + 1
        name = each.name if used[each.name] == 1 else f"{each.name}_{used[each.name]}"
        named.append(FoundWeights(name, each.path, each.candidates, each.decided_by))
    return named
