"""Encoders: open_clip and timm networks, each carrying its own preprocessing.

Reads weights; writes nothing. How an encoder is written in competition.toml stands in weights.py.
"""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kit.errors import InputError, nearest
from kit.files import key_of
from kit.store import Geometry
from kit.weights import LOCAL_DIR, EncoderSpec, find_weights, load_state, read_weights

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


@dataclass(frozen=True)
class Preprocessing:
    """Hold how an encoder wants its images.

    Parameters
    ----------
    geometry
        Resizing and cropping.
    mean, std
        Per channel, of pixels scaled to 0..1.
    """

    geometry: Geometry
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def key(self) -> str:
        """Return the hash that is saved with the features and compared on load."""
        return key_of(asdict(self))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (n_images, 3, h, w) uint8 into standardised float32."""
        import torch

        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.to(torch.float32) / 255 - mean) / std


@dataclass(frozen=True)
class Encoder:
    """Hold a loaded network, its preprocessing and, for CLIP, its tokenizer.

    Parameters
    ----------
    spec
        What was asked for.
    network
        A CLIP with both towers, or a timm network without classifier.
    preprocessing
        How it wants its images.
    """

    spec: EncoderSpec
    network: nn.Module
    preprocessing: Preprocessing

    @property
    def image_tower(self) -> nn.Module:
        """Return the module that turns images into (n_images, n_dims)."""
        return self.network.visual if self.spec.library == "open_clip" else self.network

    @property
    def logit_scale(self) -> float:
        """Return CLIP's factor on cosine similarities, about 100 for pretrained models."""
        _require_text_tower(self.spec)
        return float(self.network.logit_scale.detach().exp())

    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Return text features of unit length, (n_texts, n_dims) float32.

        Raises
        ------
        InputError
            When the encoder has no text tower, or a text is longer than its context.
        """
        import torch

        _require_text_tower(self.spec)
        tokens = _tokenize(self.spec, texts, self.network)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            features = [
                self.network.encode_text(part.to(device), normalize=True).float().cpu() for part in tokens.split(256)
            ]
        return torch.cat(features).numpy()


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Load an encoder in evaluation mode, float32, on the CPU.

    Raises
    ------
    InputError
        When the weights do not fit the architecture, or are not safetensors.
    MissingWeights
        When they cannot be had.
    """
    find_weights(spec)
    if spec.library == "timm":
        network = load_timm(spec, n_classes=0)
        return Encoder(spec, network.eval(), timm_preprocessing(network))
    return _load_open_clip(spec)


def load_timm(spec: EncoderSpec, n_classes: int, pretrained: bool = True, **args: Any) -> nn.Module:
    """Build a timm network; all weights but the classifier's come from the file or the hub.

    Parameters
    ----------
    spec
        The encoder.
    n_classes
        Outputs of the new classifier; 0 for the pooled features alone.
    pretrained
        False for random weights.
    **args
        More constructor arguments, such as ``drop_rate``.

    Raises
    ------
    InputError
        When timm knows no such network or argument, or the file does not fit.
    """
    import timm

    from_hub = pretrained and spec.file is None
    try:
        given = deepcopy(spec.args)  # timm writes into what it is given
        network = timm.create_model(spec.name, pretrained=from_hub, num_classes=n_classes, **given, **args)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        known = spec.name.partition(".")[0] in timm.list_models()
        hint = str(error) if known else nearest(spec.name, timm.list_models())
        raise InputError(f"encoder {spec.text!r}: timm cannot build it; {hint}") from error
    if pretrained and spec.file is not None:
        load_state(network, read_weights(spec.file), spec, ignore=_classifier_keys(network))
    return network


def timm_preprocessing(network: nn.Module) -> Preprocessing:
    """Return how a timm network wants its images, from its own configuration."""
    import timm.data

    config = timm.data.resolve_model_data_config(network)
    resize = "squash" if config["crop_mode"] == "squash" else "shortest"
    height, width = config["input_size"][1:]
    geometry = Geometry(height, width, resize, config["interpolation"], float(config["crop_pct"]))
    return Preprocessing(geometry, tuple(config["mean"]), tuple(config["std"]))


def _classifier_keys(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of a timm network's classifier."""
    names = network.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _load_open_clip(spec: EncoderSpec) -> Encoder:
    """Load a CLIP and the preprocessing its configuration names."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    if spec.file is not None and spec.file.is_dir():
        config = _read_local_config(spec)
        network = _create_clip(spec, f"{LOCAL_DIR}{spec.file}", load_weights=False)
        load_state(network, read_weights(spec.file / "open_clip_model.safetensors"), spec, ignore=())
        preprocessing = merge_preprocess_dict(PreprocessCfg(), config.get("preprocess_cfg", {}))
        return Encoder(spec, network.eval(), _open_clip_preprocessing(preprocessing))
    import open_clip

    if spec.file is None:
        network = _create_clip(spec, spec.name, pretrained=spec.tag)
        return Encoder(spec, network.eval(), _open_clip_preprocessing(open_clip.get_model_preprocess_cfg(network)))
    published = open_clip.get_pretrained_cfg(spec.name, spec.tag)
    network = _create_clip(spec, spec.name, force_quick_gelu=published.get("quick_gelu", False))
    load_state(network, read_weights(spec.file), spec, ignore=())
    preprocessing = merge_preprocess_dict(open_clip.get_model_preprocess_cfg(network), published)
    return Encoder(spec, network.eval(), _open_clip_preprocessing(preprocessing))


def _read_local_config(spec: EncoderSpec) -> dict[str, Any]:
    """Read the configuration of a local-dir."""
    file = spec.file / "open_clip_config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"encoder {spec.text!r}: {file} is missing; a local-dir has it beside its weights") from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from error


def _create_clip(spec: EncoderSpec, name: str, **args: Any) -> nn.Module:
    """Build a CLIP; open_clip's warning about random weights is for those who do not load their own after."""
    import open_clip

    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(name, **args, **deepcopy(spec.args))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"encoder {spec.text!r}: open_clip cannot build it ({error})") from error
    finally:
        logging.disable(logging.NOTSET)


def _open_clip_preprocessing(config: dict[str, Any]) -> Preprocessing:
    """Translate open_clip's preprocessing configuration."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    geometry = Geometry(
        height, width, config["resize_mode"], config["interpolation"], fill=int(config.get("fill_color", 0))
    )
    return Preprocessing(geometry, tuple(config["mean"]), tuple(config["std"]))


def _require_text_tower(spec: EncoderSpec) -> None:
    """Refuse to read words with a network that only sees."""
    if spec.library != "open_clip":
        raise InputError(f"encoder {spec.text!r} has no text tower; prompts need an open_clip encoder")


def _tokenize(spec: EncoderSpec, texts: list[str], network: nn.Module) -> torch.Tensor:
    """Tokenize; refuse texts that the context would cut."""
    import open_clip

    local = spec.file is not None and spec.file.is_dir()
    tokenizer = open_clip.get_tokenizer(f"{LOCAL_DIR}{spec.file}" if local else spec.name)
    context = tokenizer.context_length
    longest = tokenizer(texts, context_length=4 * context)
    lengths = (longest != 0).sum(dim=1)
    for text, length in zip(texts, lengths.tolist(), strict=True):
        if length > context:
            raise InputError(f"prompt {text!r} has {length} tokens; {spec.text} reads {context}: shorten it")
    return tokenizer(texts)
