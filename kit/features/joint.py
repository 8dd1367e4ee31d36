"""Joint features: several encoders' features side by side, each of unit length, so that each counts alike.

Nothing is written but what each encoder's own cache writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from kit.core.errors import InputError
from kit.core.shapes import Vectors
from kit.data.images import Images
from kit.features.cache import encode_images
from kit.features.whitening import Whitening

KEYS = {"encoder", "encoder_args"}  # of a table in `encoders`
ROWS = 65_536  # images joined at a time

Joined: TypeAlias = tuple[str, dict[str, Any]]
"""An encoder and its arguments."""


def encoders_of(options: dict[str, Any]) -> list[Joined]:
    """Return the encoders that a run's options name: ``encoder`` first, then those of ``encoders``.

    Each of ``encoders`` is a notation, or a table ``{ encoder = "...", encoder_args = { ... } }``. InputError where a
    table is another one, or an encoder stands there twice.
    """
    joined: list[Joined] = []
    if options.get("encoder"):
        joined.append((options["encoder"], options.get("encoder_args") or {}))
    for other in options.get("encoders") or []:
        table: dict[str, Any] = {"encoder": other} if isinstance(other, str) else other
        if not isinstance(table.get("encoder"), str) or not table.keys() <= KEYS:
            raise InputError(
                f'encoders: {other!r} is no encoder; write "timm:NAME" or {{ encoder = "timm:NAME", encoder_args = '
                "{ ... } }"
            )
        joined.append((table["encoder"], table.get("encoder_args", {})))
    for i, each in enumerate(joined):
        if each in joined[:i]:
            raise InputError(f"encoders: {each[0]!r} stands there twice with the same encoder_args; leave one out")
    return joined


def encode_jointly(images: Images, encoders: Sequence[Joined], whitenings: Sequence[Whitening] = ()) -> Vectors:
    """Return the features of several encoders side by side, (n_images, the sum of their n_dims), of unit length.

    `whitenings` has one for each encoder, or none.
    """
    if len(encoders) == 1 and not whitenings:
        return encode_images(images, *encoders[0]).values
    whole = np.empty((0, 0), dtype=np.float32)
    for start in range(0, max(len(images), 1), ROWS):  # what lies between is held of a block, not of all images
        rows = images.take(np.arange(start, min(start + ROWS, len(images))))
        values = [encode_images(rows, encoder, args).values for encoder, args in encoders]
        if whitenings:
            values = [whiten(each) for whiten, each in zip(whitenings, values, strict=True)]
        block = side_by_side(values)
        if start == 0:
            whole = np.empty((len(images), block.shape[1]), dtype=np.float32)
        whole[start : start + ROWS] = block
    return whole


def side_by_side(values: Sequence[Vectors]) -> Vectors:
    """Return features of unit length (n_images, n_dims) side by side, float32, of unit length again.

    Each is divided by the root of their number: the cosine of two images is the mean of what the encoders say.
    """
    return np.concatenate(values, axis=1).astype(np.float32) / np.float32(np.sqrt(len(values)))
