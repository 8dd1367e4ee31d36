"""timm's networks."""

from __future__ import annotations

import dataclasses
import sys
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from kit.core.errors import InputError, nearest
from kit.data.store import Geometry
from kit.features.encoders.preprocessing import Preprocessing, read_channels, read_size, read_word, refuse_unknown
from kit.features.weights import EncoderSpec, load_state, local_weights, match_names, read_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

TIMM_RESIZES = {"center": "shortest", "squash": "squash", "border": "longest"}  # timm's crop_mode: what it does first
MAX_CROP_PCT = 2  # above 1 the image is padded with black: VOLO's are, at 1.15
FIXED_BY_ENCODER = ("checkpoint_path", "num_classes", "pretrained", "pretrained_cfg", "cache_dir")
NO_OVERLAY = ("file", "state_dict", "url", "hf_hub_id", "hf_hub_filename", "source", "num_classes")


def load_timm(spec: EncoderSpec, n_classes: int, pretrained: bool = True, **args: Any) -> nn.Module:
    """Build a timm network; all weights but the classifier's come from the file or the hub.

    `n_classes` is 0 for the pooled features alone; without `pretrained` the weights are random.

    Raises
    ------
    InputError
        When timm knows no such network or argument, or the file does not fit.
    """
    import timm

    given = _checked_arguments(spec)
    file = local_weights(spec) if pretrained else None
    from_hub = pretrained and file is None
    try:
        network = timm.create_model(spec.name, pretrained=from_hub, num_classes=n_classes, **given, **args)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        known = spec.name.partition(".")[0] in timm.list_models()
        hint = str(error) if known else nearest(spec.name, timm.list_models())
        raise InputError(f"encoder {spec.text!r}: timm cannot build it; {hint}") from error
    if file is not None:
        tensors = match_names(network, read_weights(file))
        if "input_size" in given.get("pretrained_cfg_overlay", {}):
            tensors = _fit_positions(network, tensors)
        load_state(network, tensors, spec, ignore=_classifier_keys(network))
    return network


def timm_preprocessing(network: nn.Module) -> Preprocessing:
    """Return how a timm network wants its images, from the configuration that it carries."""
    from timm.data.config import resolve_model_data_config

    spec = EncoderSpec(f"timm:{timm_configuration(network)['architecture']}", "timm", "")
    return _translate(spec, resolve_model_data_config(network))


def timm_configuration(network: nn.Module) -> dict[str, Any]:
    """Return what timm keeps in a network about its pretraining: architecture, mean, std, classifier and more."""
    return cast("dict[str, Any]", network.pretrained_cfg)


def preprocessing_of_timm(spec: EncoderSpec) -> Preprocessing:
    """Return the same from timm's registry, without the network."""
    import timm
    from timm.data.config import resolve_data_config
    from timm.models import resolve_pretrained_cfg

    overlay = _checked_arguments(spec).get("pretrained_cfg_overlay")
    name, _, tag = spec.name.partition(".")
    if not timm.is_model(name):
        raise InputError(f"encoder {spec.text!r}: timm cannot build it; {nearest(spec.name, timm.list_models())}")
    try:
        config = resolve_pretrained_cfg(name, tag, overlay).to_dict()
    except RuntimeError as error:  # an unknown tag
        tags = timm.list_models(f"{name}.*", pretrained=True)
        raise InputError(f"encoder {spec.text!r}: timm cannot build it; {nearest(spec.name, tags)}") from error
    return _translate(spec, resolve_data_config(pretrained_cfg=config))


def _checked_arguments(spec: EncoderSpec) -> dict[str, Any]:
    """Return a copy of the constructor arguments, as timm writes into what it is given.

    The size of a transformer, `img_size`, is the size of its images too.
    """
    from timm.models import PretrainedCfg

    for key in FIXED_BY_ENCODER:
        if key in spec.args:
            raise InputError(f"encoder {spec.text!r}: encoder_args {key!r} is not yours to give; the encoder names it")
    given = deepcopy(spec.args)
    overlay = given.get("pretrained_cfg_overlay", {})
    known = {field.name for field in dataclasses.fields(PretrainedCfg)} - set(NO_OVERLAY)
    refuse_unknown(spec, "encoder_args.pretrained_cfg_overlay", overlay, known)
    if "img_size" in given and "input_size" not in overlay:
        given["pretrained_cfg_overlay"] = {**overlay, "input_size": (3, *read_size(spec, given["img_size"]))}
    return given


def _fit_positions(network: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Interpolate the position embeddings of a transformer whose image size was changed, by timm's own filter."""
    current = network.state_dict()
    shared = [name for name in tensors if "pos_embed" in name and name in current]
    if all(tensors[name].shape == current[name].shape for name in shared):
        return tensors
    architecture = sys.modules[type(network).__module__]
    return architecture.checkpoint_filter_fn(tensors, network)


def _translate(spec: EncoderSpec, config: dict[str, Any]) -> Preprocessing:
    """Translate timm's data configuration; borders get the mean's grey."""
    height, width = read_size(spec, config["input_size"])
    mean, std = (read_channels(spec, key, config[key]) for key in ("mean", "std"))
    mode = read_word(spec, "crop_mode", config["crop_mode"], tuple(TIMM_RESIZES))
    interpolation = read_word(spec, "interpolation", config["interpolation"], ("bicubic", "bilinear", "nearest"))
    crop_pct = config["crop_pct"]
    if not isinstance(crop_pct, int | float) or not 0 < crop_pct < MAX_CROP_PCT:
        hint = f"write a share of the resized side, above 0, below {MAX_CROP_PCT}"
        raise InputError(f"encoder {spec.text!r}: preprocessing crop_pct = {crop_pct!r}; {hint}")
    if mode == "border" and crop_pct != 1:
        raise InputError(f"encoder {spec.text!r}: preprocessing crop_mode = 'border' needs crop_pct = 1.0")
    fill = round(255 * sum(mean) / len(mean)) if mode == "border" else 0
    return Preprocessing(Geometry(height, width, TIMM_RESIZES[mode], interpolation, float(crop_pct), fill), mean, std)


def _classifier_keys(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of a timm network's classifier."""
    names = timm_configuration(network).get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
