"""Encode once: features of the whole pool, cached by encoder, weights, preprocessing and precision.

Writes ``runs/NAME/cache/features/<key>.npy`` (n_pool, n_dims) float16, rows of unit length, and beside it, for people,
a note naming the encoder; a killed encoding goes on at the next block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.deadline import check_deadline
from kit.encoders import Encoder, load_encoder
from kit.errors import InputError, some
from kit.files import fill_array, key_of, write_json
from kit.images import Images, Pool
from kit.store import BLOCK, Geometry, decode_block, read_rows, read_store
from kit.terminal import Progress
from kit.weights import EncoderSpec, parse_encoder

if TYPE_CHECKING:
    import torch

BATCH = 64  # images per forward pass
HISTOGRAM_BINS = 8  # per colour
GIVEN = "given"  # the encoder name of the organisers' own embeddings.npy


@dataclass(frozen=True)
class Features:
    """Hold image features.

    Parameters
    ----------
    ids
        (n_images,) ids.
    values
        (n_images, n_dims) float32, rows of unit length.
    key
        The key of encoder, weights, preprocessing and precision.
    """

    ids: np.ndarray
    values: np.ndarray
    key: str


def encode_images(images: Images, encoder: str, encoder_args: dict[str, Any] | None = None) -> Features:
    """Return the features of a selection; the whole pool is encoded the first time.

    Parameters
    ----------
    images
        The selection.
    encoder
        As competition.toml writes it, or ``"given"`` for the organisers' embeddings.
    encoder_args
        Constructor arguments of the network.

    Raises
    ------
    InputError
        When the features are not finite, or the organisers gave no embedding of an image.
    TimeIsUp
        When the time limit is reached between blocks; a later call goes on at the next.
    """
    if encoder == GIVEN:
        return _given_features(images)
    spec = parse_encoder(encoder, encoder_args, images.pool.lookup)
    values, key = _read_cache(images.pool, spec)
    return Features(images.ids, read_rows(values, images.rows).astype(np.float32), key)


def _read_cache(pool: Pool, spec: EncoderSpec) -> tuple[np.ndarray, str]:
    """Return the pool's features, memory-mapped, computing what is missing.

    The preprocessing is in the key: it follows from the library's version, the network, its arguments and its weights.
    """
    from kit.device import choose_precision, device_name

    precision = choose_precision(spec, device_name())
    key = key_of(pool.key, spec.identity, precision)
    path = pool.cache / "features" / f"{key}.npy"
    if path.exists():
        return np.load(path, mmap_mode="r", allow_pickle=False), key
    encoder = load_encoder(spec)
    note = {"encoder": spec.text, "precision": precision, "preprocessing": encoder.preprocessing.key}
    with Progress("features", len(pool)) as progress:
        run = _Forward(encoder, precision)
        write_json(path.with_suffix(".json"), note)

        def fill(rows: np.ndarray, start: int, stop: int) -> None:
            rows[:] = run(decode_block(pool.paths[start:stop], encoder.preprocessing.geometry))
            progress.advance(stop - start)

        return fill_array(path, (len(pool), run.n_dims), "float16", fill, BLOCK, check_deadline), key


class _Forward:
    """Run an image tower on uint8 blocks, at one device and precision."""

    def __init__(self, encoder: Encoder, precision: str) -> None:
        from kit.device import device_name, prepare

        self.preprocessing = encoder.preprocessing
        self.device = device_name()
        self.tower = prepare(encoder.image_tower, self.device, precision)
        self.dtype = next(self.tower.parameters()).dtype
        geometry = self.preprocessing.geometry
        import torch

        blank = torch.zeros((1, 3, geometry.height, geometry.width), dtype=torch.uint8)
        self.n_dims = self._forward(blank).shape[1]

    def __call__(self, pixels: torch.Tensor) -> np.ndarray:
        """Return (n_images, n_dims) float32 of unit length for (n_images, 3, h, w) uint8."""
        values = np.concatenate([self._forward(part).numpy() for part in pixels.split(BATCH)])
        if not np.isfinite(values).all():
            raise InputError("the encoder gave features that are not finite; try another precision or other weights")
        return values

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():  # inference_mode with autocast is 3 to 10 times slower on CPUs
            batch = self.preprocessing.normalise(pixels.to(self.device)).to(self.dtype)
            values = self.tower(batch).float()
            return torch.nn.functional.normalize(values, dim=1).cpu()


def _given_features(images: Images) -> Features:
    """Return the organisers' embeddings, brought to unit length."""
    if images.pool.embeddings is None:
        raise InputError('encoder = "given" needs [data] embeddings = "embeddings.npy"')
    values = np.asarray(images.pool.embeddings[images.rows], dtype=np.float32)
    is_missing = np.isnan(values).any(axis=1)
    if is_missing.any():
        raise InputError(
            f'encoder = "given": [data] embeddings has no row for {is_missing.sum()} of {len(values)} images: '
            f"{some(images.ids[is_missing])}"
        )
    return Features(images.ids, values / np.linalg.norm(values, axis=1, keepdims=True), key_of(GIVEN, images.pool.key))


def image_features(images: Images, encoder: str | None, encoder_args: dict[str, Any], pixels: int) -> np.ndarray:
    """Return an encoder's features, or without one pixels and colour histograms.

    All three colours are kept of grey images too: the columns must not depend on which images are asked for.

    Parameters
    ----------
    images
        The selection.
    encoder, encoder_args
        The encoder, or None.
    pixels
        Side of the squashed image whose pixels are used, in pixels.

    Returns
    -------
    np.ndarray
        (n_images, n_dims) float32; without an encoder 3 * pixels**2 pixels, 0..1, then eight bins of a histogram per
        colour, which sum to 1.
    """
    if encoder is not None:
        return encode_images(images, encoder, encoder_args).values
    store = read_store(images.pool, Geometry(pixels, pixels, "squash", "bilinear"))  # (n_pool, 3, pixels, pixels)
    values = np.empty((len(images), 3 * (pixels**2 + HISTOGRAM_BINS)), dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        values[start : start + BLOCK] = _describe(read_rows(store, images.rows[start : start + BLOCK]))
    return values


def _describe(pixels: np.ndarray) -> np.ndarray:
    """Return pixels and histograms of one block, (n_images, n_dims) float32, of (n_images, 3, h, w) uint8."""
    flat = pixels.reshape(len(pixels), 3, -1)
    bins = flat // (256 // HISTOGRAM_BINS)
    counts = [(bins == step).mean(axis=2, dtype=np.float32) for step in range(HISTOGRAM_BINS)]
    return np.concatenate([np.divide(flat.reshape(len(flat), -1), 255, dtype=np.float32), *counts], axis=1)
