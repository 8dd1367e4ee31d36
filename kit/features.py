"""Encode once: features of the whole pool, cached by encoder, weights, preprocessing and precision.

Writes ``runs/NAME/cache/features/<key>.npy`` (n_pool, n_dims) float16, rows of unit length, and a note beside it
naming the preprocessing; a killed encoding goes on at the next block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.encoders import Encoder, load_encoder
from kit.errors import InputError
from kit.files import fill_array, key_of, read_json, write_json
from kit.images import Images, Pool
from kit.store import BLOCK, Geometry, decode_block, read_pixels
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
        When cached features were made under another preprocessing than the encoder now has, or are not finite.
    """
    if encoder == GIVEN:
        return _given_features(images)
    spec = parse_encoder(encoder, encoder_args, images.pool.lookup)
    values, key = _read_cache(images.pool, spec)
    rows = np.asarray(values[np.sort(images.rows)], dtype=np.float32)[np.argsort(np.argsort(images.rows))]
    return Features(images.ids, rows, key)


def _read_cache(pool: Pool, spec: EncoderSpec) -> tuple[np.ndarray, str]:
    """Return the pool's features, memory-mapped, computing what is missing."""
    from kit.device import choose_precision, device_name

    precision = choose_precision(spec, device_name())
    key = key_of(pool.key, spec.identity, precision)
    path = pool.cache / "features" / f"{key}.npy"
    note = path.with_suffix(".json")
    facts = read_json(note)
    if path.exists() and facts:
        return np.load(path, mmap_mode="r", allow_pickle=False), key
    encoder = load_encoder(spec)
    if facts and facts["preprocessing"] != encoder.preprocessing.key:
        raise InputError(
            f"{path}: made under another preprocessing than {spec.text} has now; ./run.sh clean removes it"
        )
    with Progress("features", len(pool)) as progress:
        run = _Forward(encoder, precision)
        write_json(note, {"encoder": spec.text, "precision": precision, "preprocessing": encoder.preprocessing.key})

        def fill(rows: np.ndarray, start: int, stop: int) -> None:
            rows[:] = run(decode_block(pool.paths[start:stop], encoder.preprocessing.geometry))
            progress.advance(stop - start)

        return fill_array(path, (len(pool), run.n_dims), "float16", fill, BLOCK), key


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
    return Features(images.ids, values / np.linalg.norm(values, axis=1, keepdims=True), key_of(GIVEN, images.pool.key))


def image_features(images: Images, encoder: str | None, encoder_args: dict[str, Any], pixels: int) -> np.ndarray:
    """Return an encoder's features, or without one pixels and colour histograms.

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
        (n_images, n_dims) float32; pixels are 0..1, each colour's histogram sums to 1.
    """
    if encoder is not None:
        return encode_images(images, encoder, encoder_args).values
    values = read_pixels(images, Geometry(pixels, pixels, "squash", "bilinear"))  # (n_images, 3, pixels, pixels)
    flat = values.reshape(len(values), 3, -1)
    counts = [(flat // (256 // HISTOGRAM_BINS) == step).mean(axis=2) for step in range(HISTOGRAM_BINS)]
    same = bool((flat[:, :1] == flat).all())  # grey images: one channel says it all
    kept = flat[:, :1] if same else flat
    return np.concatenate([kept.reshape(len(flat), -1) / 255, *counts], axis=1, dtype=np.float32)
