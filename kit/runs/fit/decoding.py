"""Decoded images of a large pool as tasks: ranges of images, which `read_store` puts together.

What a model reads of the store is said here, not by the model: its code is part of the keys of finished runs.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kit.core.engine import Task
from kit.data.images import Gallery, Pool
from kit.data.prepared import Prepared
from kit.data.store import Geometry, decode_range, has_store, store_range
from kit.features.cache import squashed
from kit.features.encoders import preprocessing_of
from kit.features.weights import spec_of
from kit.models.classic.on_pixels import OnPixels
from kit.models.model import Model
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.networks.small_cnn import GREY, RESIZES, SmallCNN

RANGE = 4096  # images of a task: whole blocks


def find_geometry(model: Model, pool: Pool | Gallery) -> Geometry | None:
    """Return the geometry of the decoded images that a model reads of a pool; None where it reads none that is known.

    InputError and MissingWeights where the encoder whose geometry it is cannot be had.
    """
    model = model.copies[0]
    if isinstance(model, OnPixels):
        return squashed(model.pixels) if model.encoder is None else None
    if isinstance(model, SmallCNN):
        return Geometry(model.image_size, model.image_size, RESIZES[model.resize], fill=GREY)
    if not isinstance(model, FineTune | ClipFinetune):
        return None
    spec = spec_of(pool, model.encoder, model.encoder_args)
    if isinstance(model, FineTune):
        spec = replace(spec, args=model._arguments(spec))
    return preprocessing_of(spec).geometry


def decode_tasks(prepared: Prepared, geometry: Geometry) -> list[Task]:
    """Return tasks that decode a large pool in ranges, for `read_store` to put together; none of a small pool."""
    pool = prepared.pool
    if len(pool) <= RANGE or has_store(pool, geometry):
        return []
    tasks = []
    for start in range(0, len(pool), RANGE):
        stop = min(start + RANGE, len(pool))
        tasks.append(
            Task(
                f"{__name__}:do_decode",
                {"geometry": asdict(geometry), "start": start, "stop": stop},
                f"decode {start:,} to {stop:,}",
                minds_amx=False,
                reads=tuple(Path(path) for path in pool.paths[start:stop]),
                writes=(store_range(pool, start, stop, geometry),),
            )
        )
    return tasks


def do_decode(prepared: Prepared, geometry: dict[str, Any], start: int, stop: int) -> None:
    """Decode a range of the images."""
    decode_range(prepared.pool, start, stop, Geometry(**geometry))
