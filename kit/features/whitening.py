"""Whitening: features by a power of their size, then along the pool's principal axes, each divided by its spread.

A network's features are skewed, and a few directions that all photos share outweigh the rest: the power evens out the
first, the division the second. No label is looked at.

Writes ``runs/NAME/cache/whitening/<key>.npy``, (1 + n_axes, n_dims): the mean, then the axes by which it is divided.
Models of the same images share it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.core.arrays import fill_array
from kit.core.files import key_of
from kit.core.shapes import Rows, Vectors
from kit.data.images import Images, pool_behind
from kit.features.cache import GIVEN, encode_images

MAX_AXES = 256  # principal axes kept: in the others there is more noise than photo
MAX_IMAGES = 20_000  # that mean and axes are taken from at most, evenly spread
LEAST_VARIANCE = 1e-6  # beside that of the first axis: what is below is rounding


@dataclass(frozen=True)
class Whitening:
    """Change features of unit length to features of unit length; `fit_whitening` makes one.

    Parameters
    ----------
    power
        Of each number's size, its sign kept; above 0, 1 leaves the numbers as they are.
    basis
        (1 + n_axes, n_dims): the mean that is subtracted and the axes, divided by their spread; without rows the
        features keep their axes.
    """

    power: float
    basis: Vectors

    def __call__(self, values: Vectors) -> Vectors:
        """Return (n_images, n_axes) float32; (n_images, n_dims) without axes."""
        if self.power != 1:
            values = _unit(np.sign(values) * np.abs(values) ** np.float32(self.power))
        if not len(self.basis):
            return values
        return _unit((values - self.basis[0]) @ self.basis[1:].T)

    @property
    def key(self) -> str:
        """Return the key of what it does, and so of the images that it was fitted on."""
        return key_of(self.power, _digest(self.basis))


def fit_whitening(images: Images, encoder: str, encoder_args: dict[str, Any], power: float, whiten: float) -> Whitening:
    """Return the whitening of an encoder's features by the mean and the principal axes of images; their order is free.

    Parameters
    ----------
    whiten
        0..1: an axis is divided by its variance to the power of half of it. 1 gives all axes the same spread, 0 takes
        neither mean nor axes.
    """
    if whiten == 0:
        return Whitening(power, np.zeros((0, 0), dtype=np.float32))
    rows = np.unique(images.rows)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_IMAGES)).astype(np.int64)]
    looked_at = rows if encoder == GIVEN else rows[:1]  # given ones are in memory, and all that lack are named at once
    first = encode_images(images.pool.select(looked_at), encoder, encoder_args)
    n_dims = first.values.shape[1]
    shape = (1 + min(MAX_AXES, n_dims), n_dims)
    key = key_of(first.key, images.pool.key, _digest(rows), power, whiten)

    def fill(block: NDArray[np.float32], start: int, stop: int) -> None:
        values = encode_images(images.pool.select(rows), encoder, encoder_args).values
        block[:] = _find_basis(Whitening(power, np.zeros((0, 0)))(values), whiten)[start:stop]

    path = pool_behind(images).cache / "whitening" / f"{key}.npy"
    return Whitening(power, np.array(fill_array(path, shape, "<f4", fill, block=shape[0])))


def _find_basis(values: Vectors, whiten: float) -> Vectors:
    """Return the mean and the divided principal axes of features; an axis along which they do not vary is 0."""
    mean = values.mean(axis=0, dtype=np.float64)
    centred = (values - mean).astype(np.float32)
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(values))
    variances, axes = variances[::-1][:MAX_AXES], axes[:, ::-1][:, :MAX_AXES]
    varies = variances > LEAST_VARIANCE * variances[0]
    scale = np.where(varies, np.where(varies, variances, 1) ** (-whiten / 2), 0)
    return np.vstack([mean, (axes * scale).T])


def _unit(values: Vectors) -> Vectors:
    """Bring rows to unit length; a zero row stays."""
    values = np.asarray(values, dtype=np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12))


def _digest(values: Vectors | Rows) -> str:
    """Return a hash of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
