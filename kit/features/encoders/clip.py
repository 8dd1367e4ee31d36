"""open_clip's networks: both towers, as open_clip.create_model builds them, with the kit's rule about pickles.

Where open_clip would only warn, the kit decides: weights trained with QuickGELU (OpenAI's and some others') get it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import logging
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from kit.core.errors import InputError, MissingWeights, nearest
from kit.data.store import Geometry
from kit.features.encoders.preprocessing import Preprocessing, read_channels, read_size, read_word, refuse_unknown
from kit.features.weights import (
    HF_HUB,
    LOCAL_CONFIGURATION,
    LOCAL_DIR,
    EncoderSpec,
    find_weights,
    load_state,
    local_weights,
    match_names,
    read_weights,
)

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP, CoCa, CustomTextCLIP

    ClipNetwork: TypeAlias = CLIP | CustomTextCLIP | CoCa  # both towers: image and text

TIMM = "timm"  # the kit's own argument: constructor arguments of an image tower that is timm's
FIXED_BY_CLIP = ("num_classes", "global_pool", "pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir")
IMAGE_SIZE = 224  # pixels, open_clip's default
CLIP_RESIZES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class ClipConfiguration:
    """Hold the published configuration of a CLIP.

    Parameters
    ----------
    model
        The architecture: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and more.
    preprocessing
        How it wants its images; open_clip's defaults fill in what is not published.
    quick_gelu
        Whether these weights were trained with QuickGELU.
    """

    model: dict[str, Any]
    preprocessing: dict[str, Any]
    quick_gelu: bool = False


def read_configuration(spec: EncoderSpec) -> ClipConfiguration:
    """Return the published configuration of a CLIP; no weights are read.

    InputError where a local-dir's configuration cannot be read, or open_clip knows no such model or tag; MissingWeights
    where open_clip is not installed.
    """
    spec.check_library()
    import open_clip
    from open_clip.pretrained import download_pretrained_from_hf

    if spec.folder is not None:
        return _read_json(spec, spec.folder / LOCAL_CONFIGURATION)
    if spec.name.startswith(HF_HUB):
        find_weights(spec)
        repository = spec.name.removeprefix(HF_HUB)
        return _read_json(spec, download_pretrained_from_hf(repository, filename=LOCAL_CONFIGURATION))
    model, published = open_clip.get_model_config(spec.name), open_clip.get_pretrained_cfg(spec.name, spec.tag)
    if model is None or not published:
        tags = [f"{name}/{tag}" for name, tag in open_clip.list_pretrained()]
        raise InputError(f"encoder {spec.text!r}: {nearest(f'{spec.name}/{spec.tag}', tags)}")
    return ClipConfiguration(model, published, published.get("quick_gelu", False))


def clip_preprocessing(spec: EncoderSpec) -> Preprocessing:
    """Return how a CLIP wants its images, in open_clip's order: published, the tower's size, what the user forces."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    published = read_configuration(spec)
    args = _checked_arguments(spec)
    tower = args.get("vision_cfg", published.model.get("vision_cfg", {}))
    size = args.get("force_image_size") or tower.get("image_size", IMAGE_SIZE)
    config = merge_preprocess_dict(PreprocessCfg(), published.preprocessing)
    config = merge_preprocess_dict({**config, "size": size}, args.get("force_preprocess_cfg", {}))
    height, width = read_size(spec, config["size"])
    resize = read_word(spec, "resize_mode", config["resize_mode"], CLIP_RESIZES)
    # At prediction open_clip takes "random" for bicubic.
    interpolation = read_word(spec, "interpolation", config["interpolation"], ("bicubic", "bilinear", "random"))
    geometry = Geometry(
        height, width, resize, interpolation.replace("random", "bicubic"), fill=int(config["fill_color"] or 0)
    )
    mean, std = (read_channels(spec, key, config[key]) for key in ("mean", "std"))
    return Preprocessing(geometry, mean, std)


def load_clip(spec: EncoderSpec) -> ClipNetwork:
    """Build a CLIP and load its weights, strictly.

    Raises
    ------
    InputError
        When open_clip cannot build it with these arguments, or the weights do not fit.
    MissingWeights
        When its text tower's configuration cannot be had.
    """
    published = read_configuration(spec)
    name = f"{LOCAL_DIR}{spec.folder}" if spec.folder else spec.name
    if (file := local_weights(spec)) is None:
        tag = None if spec.name.startswith(HF_HUB) else spec.tag
        network = _create(spec, published, name, pretrained=tag, require_pretrained=True)
    else:
        network = build_untrained(spec)
        load_state(network, _convert(network, match_names(network, read_weights(file)), spec), spec)
    if getattr(network.visual, "output_tokens", False):  # CoCa's would give its caption's tokens beside the features
        setattr(network.visual, "output_tokens", False)  # noqa: B010 - only some towers have it
    _check_size(spec, network)
    return network


def build_untrained(spec: EncoderSpec) -> ClipNetwork:
    """Build a CLIP with random weights; errors as of `load_clip`."""
    # Without weights open_clip would fetch a Hugging Face text tower's: pretrained_text says no.
    name = f"{LOCAL_DIR}{spec.folder}" if spec.folder else spec.name
    return _create(spec, read_configuration(spec), name, load_weights=False, pretrained_text=False)


def _read_json(spec: EncoderSpec, file: Any) -> ClipConfiguration:
    """Read an open_clip_config.json."""
    try:
        with open(file, encoding="utf-8") as text:
            config = json.load(text)
    except FileNotFoundError as error:
        raise InputError(f"encoder {spec.text!r}: {file} is missing; a local-dir has it beside its weights") from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from error
    tables = config if isinstance(config, dict) else {}
    model, preprocessing = tables.get("model_cfg", {}), tables.get("preprocess_cfg", {})
    is_whole = isinstance(model, dict) and isinstance(preprocessing, dict) and {"vision_cfg", "text_cfg"} <= set(model)
    if not is_whole:
        raise InputError(f"{file}: open_clip cannot build it: model_cfg must hold embed_dim, vision_cfg and text_cfg")
    return ClipConfiguration(model, preprocessing)


def _checked_arguments(spec: EncoderSpec) -> dict[str, Any]:
    """Return a copy of the constructor arguments; refuse unknown ones and those that are the kit's."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    known = {name for name in inspect.signature(open_clip.create_model).parameters if name.startswith("force_")}
    for kind in (open_clip.CLIP, open_clip.CustomTextCLIP, open_clip.CoCa):
        known |= set(inspect.signature(kind).parameters)
    refuse_unknown(spec, "encoder_args", spec.args, (known | {TIMM}) - {"cast_dtype", "output_dict"})
    keys = set(PreprocessCfg.__dataclass_fields__) - {"mode"}
    refuse_unknown(spec, "encoder_args.force_preprocess_cfg", spec.args.get("force_preprocess_cfg", {}), keys)
    return deepcopy(spec.args)


def _create(spec: EncoderSpec, published: ClipConfiguration, name: str, **args: Any) -> ClipNetwork:
    """Build a CLIP; open_clip's warning about random weights is for those who do not load their own after."""
    import open_clip

    given = _checked_arguments(spec)
    timm_args = given.pop(TIMM, {})
    if published.quick_gelu:
        given.setdefault("force_quick_gelu", True)
    text_tower = published.model["text_cfg"].get("hf_model_name")
    if text_tower and importlib.util.find_spec("transformers") is None:
        raise MissingWeights(
            f"encoder {spec.text!r}: its text tower, {text_tower}, is built by the package transformers; install it "
            "into .venv: pip install transformers"
        )
    logging.disable(logging.WARNING)
    try:
        with _timm_arguments(spec, given.get("vision_cfg", published.model["vision_cfg"]), timm_args):
            return cast("ClipNetwork", open_clip.create_model(name, **args, **given))
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError, OSError) as error:
        if text_tower and isinstance(error, OSError):
            raise MissingWeights(
                f"encoder {spec.text!r}: its text tower needs config.json of {text_tower}, which is not on this "
                f"machine. Connect once, or fill the hub's cache with: hf download {text_tower} config.json"
            ) from error
        raise InputError(f"encoder {spec.text!r}: open_clip cannot build it ({error})") from error
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _timm_arguments(spec: EncoderSpec, tower: dict[str, Any], args: dict[str, Any]) -> Iterator[None]:
    """Give timm's constructor more arguments while open_clip, which passes none on, builds its image tower."""
    import open_clip.timm_model

    if not args:
        yield
        return
    if not isinstance(args, dict) or not tower.get("timm_model_name"):
        raise InputError(
            f"encoder {spec.text!r}: encoder_args.timm is a table for image towers of timm's; this tower is open_clip's"
        )
    for key in FIXED_BY_CLIP:
        if key in args:
            raise InputError(f"encoder {spec.text!r}: encoder_args.timm {key!r} is not yours to give; CLIP decides it")
    library = open_clip.timm_model.timm
    open_clip.timm_model.timm = SimpleNamespace(create_model=partial(library.create_model, **args))
    try:
        yield
    finally:
        open_clip.timm_model.timm = library


def _convert(network: ClipNetwork, tensors: dict[str, torch.Tensor], spec: EncoderSpec) -> dict[str, torch.Tensor]:
    """Bring weights into the form of the network, as open_clip.load_checkpoint does.

    Position embeddings are interpolated only where the user asked for another size or context.
    """
    import open_clip
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    tensors = convert_state_dict(cast("CLIP", network), tensors)  # a CoCa is returned as it is
    if "positional_embedding" in tensors and isinstance(network, open_clip.CustomTextCLIP | open_clip.CoCa):
        tensors = convert_to_custom_text_state_dict(tensors)
    current = network.state_dict()
    for name in ("logit_scale", "logit_bias"):  # a number, or a row of one
        if name in tensors and name in current and tensors[name].numel() == current[name].numel():
            tensors[name] = tensors[name].reshape(current[name].shape)
    positions = "text.transformer.embeddings.position_ids"  # not kept any more since transformers 4.31
    if positions not in current:
        tensors.pop(positions, None)
    if "force_image_size" in spec.args:
        resize_pos_embed(tensors, network)
    if "force_context_length" in spec.args:
        resize_text_pos_embed(tensors, network)
    return tensors


def _check_size(spec: EncoderSpec, network: ClipNetwork) -> None:
    """Refuse forced image sizes that the tower's position embedding cannot take."""
    forced = spec.args.get("force_preprocess_cfg", {}).get("size")
    height, width = read_size(spec, network.visual.image_size)
    has_positions = any("pos_embed" in name or "positional_embedding" in name for name in network.visual.state_dict())
    if forced is not None and has_positions and read_size(spec, forced) != (height, width):
        raise InputError(
            f"encoder {spec.text!r}: force_preprocess_cfg.size = {forced}, but its image tower takes {height} x "
            f"{width} pixels; write force_image_size = {forced} instead, which fits the tower too"
        )
