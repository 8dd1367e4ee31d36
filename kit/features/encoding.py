"""Encoding: a pool, or a range of it, block by block; the next block is decoded while this one is encoded.

Writes a note beside the features, ``<key>.json``, and takes what other processes have left in ``<key>.START-STOP.npy``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.core.errors import some
from kit.core.files import write_json
from kit.core.shapes import Vectors
from kit.core.shards import list_ranges, remove_array, take_rows
from kit.core.terminal import Progress, warn
from kit.data.ahead import Ahead
from kit.data.images import Pool
from kit.data.nvjpeg import BlockDecoder
from kit.data.store import BLOCK
from kit.features.encoders import load_encoder
from kit.features.forward import ImageForward, pin
from kit.features.weights import EncoderSpec

if TYPE_CHECKING:
    import torch


class NotFinite(Exception):
    """Name the images whose features are not finite at one precision."""


class Encoding:
    """Encode a pool, or a range of it, block by block; the next block is decoded while this one is encoded."""

    def __init__(
        self,
        pool: Pool,
        spec: EncoderSpec,
        path: Path,
        precision: str,
        progress: Progress,
        within: tuple[int, int] | None = None,
    ) -> None:
        from kit.features.device import list_devices

        encoder = load_encoder(spec)
        self._pool, self._path, self._progress = pool, path, progress
        self._first, self._last = within or (0, len(pool))
        self._note = {"encoder": spec.text, "precision": precision, "preprocessing": encoder.preprocessing.key}
        self._forward = ImageForward(encoder, precision, list_devices())
        self._decoder = BlockDecoder(encoder.preprocessing.geometry, self._forward.device)
        self._pieces = [] if within else list_ranges(path)
        self._decoded = Ahead(self._decode, self._following)
        self.shape = (self._last - self._first, self._forward.n_dims)
        write_json(path.with_suffix(".json"), self._note)

    def __enter__(self) -> Encoding:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoded.__exit__()

    def fill(self, rows: Vectors, start: int, stop: int) -> None:
        """Write the features of images, counted from the first of the range."""
        self._progress.resume_at(start)
        start, stop = self._first + start, self._first + stop
        if (piece := self._piece_of(start, stop)) is not None:
            rows[:] = piece
        else:
            rows[:] = self._encode(start, stop)
        self._progress.advance(stop - start)

    def _encode(self, start: int, stop: int) -> Vectors:
        """Return the features of images; give the precision up where they are not finite."""
        values = self._forward(self._decoded.take((start, stop)))
        is_finite = np.isfinite(values).all(axis=1)
        if not is_finite.all():
            _give_up(self._path, {**self._note, "overflows": some(self._pool.ids[start:stop][~is_finite])})
        return values

    def _decode(self, rows: tuple[int, int]) -> torch.Tensor:
        return pin(self._decoder(self._pool.paths[slice(*rows)]), self._forward.device)

    def _following(self, rows: tuple[int, int]) -> tuple[int, int] | None:
        """Return the next block that is to be decoded."""
        start, stop = rows[1], min(rows[1] + BLOCK, self._last)
        return (start, stop) if start < stop and self._piece_of(start, stop) is None else None

    def _piece_of(self, start: int, stop: int) -> Vectors | None:
        """Return the features of images that `encode_range` has encoded; None where it has not."""
        return take_rows(self._pieces, start, stop, self.shape, "float16")


def remove_features(path: Path) -> None:
    """Delete features, finished or not, and the note beside them."""
    remove_array(path)
    path.with_suffix(".json").unlink(missing_ok=True)


def _give_up(path: Path, note: dict[str, Any]) -> None:
    """Throw a half-made array away and note why, so that this precision is not tried again."""
    remove_features(path)
    if note["precision"] != "float32":
        write_json(path.with_suffix(".json"), note)
        warn(
            f"{note['encoder']} gives features that are not finite in {note['precision']} (images {note['overflows']}):"
            " they are computed in float32, which is slower"
        )
    raise NotFinite(note["overflows"])
