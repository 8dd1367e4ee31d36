"""Encode once: features of the whole pool, cached by encoder, weights, preprocessing and precision.

Writes ``runs/NAME/cache/features/<key>.npy`` (n_pool, n_dims) float16, rows of unit length, in several files where that
would be large (`kit.core.shards`), and beside it a note naming the encoder, the precision, the hash of its
preprocessing, which is compared on re-use, and that of the values, which `verify` compares; a killed encoding goes on
at the next block (`kit.features.encoding`).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.arrays import fill_array, read_array
from kit.core.deadline import check_deadline
from kit.core.errors import InputError, some
from kit.core.files import key_of, read_object, write_atomic, write_json
from kit.core.shapes import Pixels, Rows, Vectors
from kit.core.shards import fill_shards, is_begun, list_shards, range_at, read_shards, remove_ranges
from kit.core.terminal import Progress, stage, track, warn
from kit.data.images import Images, Pool, ids_of, pool_behind
from kit.data.nvjpeg import has_decoder
from kit.data.store import BLOCK, Geometry, read_rows, read_store
from kit.features.encoders import preprocessing_of
from kit.features.encoding import Encoding, NotFinite, remove_features
from kit.features.weights import EncoderSpec, spec_of

HISTOGRAM_BINS = 8  # per colour
SEAL = "sha256"  # in the note: of the values as they were made
SEALED_ROWS = 65_536  # rows hashed at a time
GIVEN = "given"  # the encoder name of the organisers' own embeddings.npy


@dataclass(frozen=True)
class Features:
    """Hold image features, float32 of unit length; `key` is of encoder, weights, precision and what decodes."""

    values: Vectors
    key: str


def encode_images(images: Images, encoder: str, encoder_args: dict[str, Any] | None = None) -> Features:
    """Return the features of a selection; the whole pool is encoded the first time.

    ``"given"`` as the encoder stands for the embeddings that the organisers gave. InputError where the features are not
    finite, or the organisers gave none of an image; TimeIsUp where the time limit is reached between blocks: a later
    call goes on at the next.
    """
    if encoder == GIVEN:
        return _given_features(images)
    values, key = _read_cache(pool_behind(images), spec_of(images.pool, encoder, encoder_args))
    return Features(read_rows(values, images.rows, np.float32), key)


def has_features(pool: Pool, encoder: str, encoder_args: dict[str, Any] | None = None) -> bool:
    """Return whether an encoder has encoded the whole pool already."""
    return _made_at(pool, spec_of(pool, encoder, encoder_args)) is not None


def features_files(pool: Pool, encoder: str, encoder_args: dict[str, Any] | None = None) -> list[Path]:
    """Return the files of an encoder's features of the whole pool; none where they are not there."""
    path = _made_at(pool, spec_of(pool, encoder, encoder_args))
    return [] if path is None else list_shards(path)


def adopt_features(pool: Pool, other: Pool, rows: Rows, encoder: str, encoder_args: dict[str, Any]) -> None:
    """Take over features of the same images that another pool holds or encodes, instead of encoding them again.

    `rows` are the positions of the pool's images in `other`, (n_pool,).
    """
    values, _ = _read_cache(other, spec_of(pool, encoder, encoder_args))
    keep_features(pool, encoder, encoder_args, read_rows(values, rows))


def keep_features(pool: Pool, encoder: str, encoder_args: dict[str, Any], values: Vectors) -> None:
    """Keep (n_pool, n_dims) float16 features that were computed elsewhere as those of a pool; no image is read."""
    from kit.features.device import choose_precision, device_name

    spec = spec_of(pool, encoder, encoder_args)
    precision = choose_precision(spec, device_name())
    path, _ = _locate(pool, spec, precision)
    note = {"encoder": spec.text, "precision": precision, "preprocessing": preprocessing_of(spec).key}
    write_json(path.with_suffix(".json"), note)  # killed before it is sealed: the next use seals it
    with write_atomic(path) as file:
        np.save(file, values)
    _seal(path, values)


def _locate(pool: Pool, spec: EncoderSpec, precision: str) -> tuple[Path, str]:
    """Return where an encoder's features lie, or will, and their key."""
    from kit.features.device import device_name

    decoders = ["nvjpeg"] if has_decoder(device_name()) else []  # whose pixels may differ from the CPU's by a level
    key = key_of(pool.key, spec.identity, precision, *decoders)
    return pool.cache / "features" / f"{key}.npy", key


def _read_cache(pool: Pool, spec: EncoderSpec) -> tuple[Vectors, str]:
    """Return the pool's features, memory-mapped, computing what is missing; float32 where half precision overflows."""
    from kit.features.device import choose_precision, device_name

    precision = choose_precision(spec, device_name())
    if precision != "float32":
        with suppress(NotFinite):  # `Encoding` has noted it and warned
            return _encode_pool(pool, spec, precision)
    try:
        return _encode_pool(pool, spec, "float32")
    except NotFinite as error:
        raise InputError(
            f"encoder {spec.text!r} gives features that are not finite, in float32 too: images {error}; use other "
            "weights, or check its encoder_args"
        ) from error


def _encode_pool(pool: Pool, spec: EncoderSpec, precision: str) -> tuple[Vectors, str]:
    """Return the pool's features at one precision, and their key.

    Preprocessing is no part of the key: it follows from the library's version, the network, its arguments and its
    weights. Its hash is saved in the note and compared all the same, so that it cannot change unseen.
    """
    path, key = _locate(pool, spec, precision)
    overflows = _check_note(path, spec)
    if overflows:
        raise NotFinite(overflows)
    if (known := read_shards(path, (len(pool), None), "float16")) is not None:
        _seal(path, known)
        return known, key
    with Progress("features", len(pool)) as progress, Encoding(pool, spec, path, precision, progress) as encoding:
        values = fill_shards(path, encoding.shape, "float16", encoding.fill, BLOCK, check_deadline)
    if progress.n_made:
        stage("features", f"{spec.text}: {progress.summary('images encoded')}")
    _seal(path, values)
    remove_ranges(path)
    return values, key


def encode_range(
    pool: Pool, start: int, stop: int, encoder: str, encoder_args: dict[str, Any] | None = None
) -> Path | None:
    """Encode the images `start` to `stop` of a pool into a file of their own, from which `encode_images` takes them.

    Any process on any machine that sees the cache may call it, several at once of different ranges. What comes out is
    the same as encoded in one go where ranges begin at multiples of `kit.data.store.BLOCK`, and end there or with the
    pool.

    Returns
    -------
    Path
        The file; None where the pool's features are there already, or are not finite in half precision, so that the
        whole pool is to be encoded in float32.
    """
    from kit.features.device import choose_precision, device_name

    spec = spec_of(pool, encoder, encoder_args)
    precision = choose_precision(spec, device_name())
    path, _ = _locate(pool, spec, precision)
    if _check_note(path, spec) or list_shards(path):
        return None
    piece = range_at(path, start, stop)
    if read_array(piece, (stop - start, None), "float16") is not None:
        return piece
    with (
        suppress(NotFinite),  # `Encoding` has noted it and warned
        Progress("features", stop - start) as progress,
        Encoding(pool, spec, path, precision, progress, (start, stop)) as encoding,
    ):
        fill_array(piece, encoding.shape, "float16", encoding.fill, BLOCK, check_deadline)
        return piece
    return None


def range_file(pool: Pool, start: int, stop: int, encoder: str, encoder_args: dict[str, Any] | None = None) -> Path:
    """Return where `encode_range` leaves a range."""
    from kit.features.device import choose_precision, device_name

    spec = spec_of(pool, encoder, encoder_args)
    path, _ = _locate(pool, spec, choose_precision(spec, device_name()))
    return range_at(path, start, stop)


def _seal(path: Path, values: Vectors) -> None:
    """Note the hash of features that have none yet, so that others in their place can be told."""
    file = path.with_suffix(".json")
    note = read_object(file) or {}
    if SEAL not in note:
        write_json(file, {**note, SEAL: _hash_values(values)})


def _hash_values(values: Vectors) -> str:
    """Return the SHA-256 of features and of their shape, block by block."""
    digest = hashlib.sha256(repr(values.shape).encode())
    for start in range(0, len(values), SEALED_ROWS):
        digest.update(np.ascontiguousarray(values[start : start + SEALED_ROWS]).tobytes())
    return digest.hexdigest()


def features_seal(pool: Pool, encoder: str, encoder_args: dict[str, Any] | None = None) -> str | None:
    """Return the hash that the features of a pool had when they were made; None where there are none."""
    if encoder == GIVEN:
        return None
    path = _made_at(pool, spec_of(pool, encoder, encoder_args))
    return None if path is None else (read_object(path.with_suffix(".json")) or {}).get(SEAL)


def are_features_changed(pool: Pool, encoder: str, encoder_args: dict[str, Any] | None = None) -> bool:
    """Return whether the features of a pool are others than those whose hash was noted when they were made."""
    spec = spec_of(pool, encoder, encoder_args)
    path, seal = _made_at(pool, spec), features_seal(pool, encoder, encoder_args)
    if path is None or seal is None:
        return False
    values = read_shards(path, (len(pool), None), "float16")
    return values is None or _hash_values(values) != seal


def _made_at(pool: Pool, spec: EncoderSpec) -> Path | None:
    """Return the file of an encoder's features, or None where the pool was not encoded."""
    from kit.features.device import choose_precision, device_name

    precisions = (choose_precision(spec, device_name()), "float32")  # the second where the first overflows
    return next((path for each in precisions if list_shards(path := _locate(pool, spec, each)[0])), None)


def _check_note(path: Path, spec: EncoderSpec) -> str | None:
    """Throw features away that were made with another preprocessing; return the images noted as overflowing."""
    note = read_object(path.with_suffix(".json")) or {}
    is_made = is_begun(path)
    if not is_made and not note:
        return None
    if note.get("preprocessing") == preprocessing_of(spec).key:
        return note.get("overflows")
    if is_made:
        warn(f"features of {spec.text} were made with another preprocessing than it has now; they are made anew")
    remove_features(path)
    return None


def _given_features(images: Images) -> Features:
    """Return the organisers' embeddings, brought to unit length."""
    embeddings = pool_behind(images).embeddings
    if embeddings is None:
        raise InputError('encoder = "given" needs [data] embeddings = "embeddings.npy"')
    values = np.asarray(embeddings[images.rows], dtype=np.float32)
    is_missing = np.isnan(values).any(axis=1)
    if is_missing.any():
        raise InputError(
            f'encoder = "given": [data] embeddings has no row for {is_missing.sum()} of {len(values)} images: '
            f"{some(ids_of(images)[is_missing])}"
        )
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    if (odd := ~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0)).any():
        raise InputError(
            f'encoder = "given": [data] embeddings are zero or infinite for {odd.sum()} of {len(values)} images: '
            f"{some(ids_of(images)[odd])}"
        )
    return Features(values / norms, key_of(GIVEN, images.pool.key))


def image_features(images: Images, encoder: str | None, encoder_args: dict[str, Any], pixels: int) -> Vectors:
    """Return an encoder's features, or without an encoder pixels and colour histograms.

    All three colours are kept of grey images too: the columns must not depend on which images are asked for.

    Without an encoder: 3 * pixels**2 pixels, 0..1, of the squashed image, then eight bins of a histogram per colour,
    which sum to 1.
    """
    if encoder is not None:
        return encode_images(images, encoder, encoder_args).values
    store = read_store(images.pool, squashed(pixels))  # (n_pool, 3, pixels, pixels)
    values = np.empty((len(images), 3 * (pixels**2 + HISTOGRAM_BINS)), dtype=np.float32)
    for start in track(range(0, len(images), BLOCK), "pixels"):
        values[start : start + BLOCK] = _describe(read_rows(store, images.rows[start : start + BLOCK]))
    return values


def squashed(pixels: int) -> Geometry:
    """Return the geometry of the image whose pixels are features."""
    return Geometry(pixels, pixels, "squash", "bilinear")


def _describe(pixels: Pixels) -> Vectors:
    """Return pixels and histograms of one block, float32, of (n_images, 3, h, w) pixels."""
    flat = pixels.reshape(len(pixels), 3, -1)
    bins = flat // (256 // HISTOGRAM_BINS)
    counts = [(bins == step).mean(axis=2, dtype=np.float32) for step in range(HISTOGRAM_BINS)]
    return np.concatenate([np.divide(flat.reshape(len(flat), -1), 255, dtype=np.float32), *counts], axis=1)
