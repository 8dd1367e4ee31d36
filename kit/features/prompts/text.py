"""Prompt lists x text encoder -> zero-shot weights, cached per encoder and list.

The unit-length text features of all prompts of a class are averaged and brought to unit length again (Radford et al.
2021, section 3.1.4). Writes ``runs/NAME/cache/text/<key>.npz``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError
from kit.core.files import key_of, write_atomic
from kit.core.shapes import Vectors
from kit.core.terminal import warn
from kit.data.images import Gallery, Pool, pool_behind
from kit.features.encoders import Encoder, load_encoder
from kit.features.prompts.lists import NAMES, PromptList, prompts_of
from kit.features.weights import EncoderSpec, spec_of


@dataclass(frozen=True)
class TextWeights:
    """Hold a zero-shot classifier: (n_classes, n_dims) float32 of unit length, and CLIP's factor on cosines."""

    values: Vectors
    logit_scale: float


def text_weights(encoder: Encoder, prompts: PromptList) -> Vectors:
    """Return the zero-shot classifier's weights, (n_classes, n_dims) float32, rows of unit length."""
    per_class = [prompts.prompts(code) for code in range(len(prompts.words))]
    features = encoder.encode_text(list(chain.from_iterable(per_class)))  # (n_prompts, n_dims)
    ends = np.cumsum([len(of_class) for of_class in per_class])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def read_text_weights(pool: Pool | Gallery, encoder: str, encoder_args: dict[str, Any], prompts: str) -> TextWeights:
    """Return the zero-shot classifier of a prompt list, from the cache where it lies there.

    InputError where the prompt list is refused or the encoder has no text tower.
    """
    pool = pool_behind(pool)
    return warm_text_weights(pool, encoder, encoder_args, [prompts_of(pool, prompts)])[0]


def keep_text_weights(
    pool: Pool, encoder: str, encoder_args: dict[str, Any], prompts: str, weights: TextWeights
) -> None:
    """Keep a zero-shot classifier that was computed elsewhere, so that no text is encoded."""
    spec = spec_of(pool, encoder, encoder_args)
    _write(_path(pool, spec, prompts_of(pool, prompts)), weights)


def warm_text_weights(
    pool: Pool, encoder: str, encoder_args: dict[str, Any], lists: Iterable[PromptList]
) -> list[TextWeights]:
    """Return the zero-shot classifier of each prompt list; for those not in the cache yet the encoder is loaded once.

    InputError where the encoder has no text tower, or a prompt is longer than it reads.
    """
    spec = spec_of(pool, encoder, encoder_args)
    loaded: Encoder | None = None
    classifiers = []
    for words in lists:
        path = _path(pool, spec, words)
        if (weights := _read(path)) is None:
            loaded = loaded or load_encoder(spec)
            weights = _encode(pool, loaded, words)
            _write(path, weights)
        classifiers.append(weights)
    return classifiers


def _encode(pool: Pool, encoder: Encoder, words: PromptList) -> TextWeights:
    """Encode a prompt list; name its file in what is wrong with it."""
    try:
        return TextWeights(text_weights(encoder, words), encoder.logit_scale)
    except InputError as error:
        file = "the generated list" if words.name == NAMES else pool.prompts / f"{words.name}.toml"
        raise InputError(f"{file}: {error}") from error


def _write(path: Path, weights: TextWeights) -> None:
    """Write weights into the cache."""
    with write_atomic(path) as file:
        np.savez(file, values=weights.values, logit_scale=weights.logit_scale)


def _read(path: Path) -> TextWeights | None:
    """Return weights from the cache, or None where there are none; a damaged file is named and deleted."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return TextWeights(arrays["values"], float(arrays["logit_scale"]))
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, KeyError, zipfile.BadZipFile):
        warn(f"{path}: damaged, and made again")
        path.unlink(missing_ok=True)
        return None


def _path(pool: Pool, spec: EncoderSpec, words: PromptList) -> Path:
    """Return where the weights of a prompt list lie, or will."""
    return pool.cache / "text" / f"{key_of(spec.identity, words.key)}.npz"
