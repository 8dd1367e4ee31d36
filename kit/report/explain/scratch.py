"""Scratch: pictures that lie in no file, shown to a fitted model as if they were images of the competition.

Writes a temporary folder with the features or pixels of one handful of pictures at a time; nothing of it stays.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kit.core.shapes import Pixels, Proba, Vectors
from kit.data.images import Images, Pool
from kit.data.store import Geometry, keep_pixels
from kit.features.cache import keep_features
from kit.features.forward import ImageForward
from kit.features.weights import spec_of


class Scratch:
    """Hold a folder for pictures that are made up; use it as a context, which deletes it.

    Classes and words are those of the competition's pool of images.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._towers: dict[tuple[str, str], ImageForward] = {}

    def __enter__(self) -> Scratch:
        self._folder = TemporaryDirectory(prefix="explain-")
        texts = self.pool.cache / "text"
        texts.mkdir(parents=True, exist_ok=True)
        (Path(self._folder.name) / "text").symlink_to(texts.resolve())  # the words' features are the competition's
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def ask(
        self,
        pixels: Pixels,
        geometry: Geometry,
        encoder: tuple[str, dict[str, Any]] | None,
        say: Callable[[Images], Proba],
    ) -> Proba:
        """Return what a function of images, such as a model's `predict_proba`, gives pictures.

        The pictures are (n_images, 3, h, w) uint8 of the geometry. `encoder` is the name and the arguments of that
        whose features the model reads; None for one that reads pixels.
        """
        pool = self._pool_of(pixels)
        if encoder is None:
            keep_pixels(pool, geometry, pixels)
        else:
            keep_features(pool, *encoder, self.encode(pixels, *encoder).astype(np.float16))
        answers = say(pool.select(np.arange(len(pixels))))
        for kind in ("store", "features"):
            shutil.rmtree(pool.cache / kind, ignore_errors=True)
        return answers

    def encode(self, pixels: Pixels, encoder: str, args: dict[str, Any]) -> Vectors:
        """Return an encoder's features of pictures, (n_images, n_dims) float32 of unit length."""
        import torch

        return self.tower(encoder, args)(torch.from_numpy(pixels))

    def tower(self, encoder: str, args: dict[str, Any]) -> ImageForward:
        """Return an encoder's image tower, loaded once; in the precision in which features are made."""
        from kit.features.device import choose_precision, device_name
        from kit.features.encoders import load_encoder

        key = (encoder, repr(args))
        if key not in self._towers:
            spec = spec_of(self.pool, encoder, args)
            self._towers[key] = ImageForward(load_encoder(spec), choose_precision(spec, device_name()))
        return self._towers[key]

    def _pool_of(self, pixels: Pixels) -> Pool:
        """Return a pool of pictures; its key is that of their pixels."""
        ids = np.array([f"{i:04d}" for i in range(len(pixels))], dtype=object)
        return replace(
            self.pool,
            ids=ids,
            splits=np.full(len(ids), "test", dtype=object),
            paths=np.full(len(ids), "", dtype=object),
            digests=np.array([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pixels], dtype=object),
            groups=np.arange(len(ids)),
            cache=Path(self._folder.name),
            embeddings=None,
        )
