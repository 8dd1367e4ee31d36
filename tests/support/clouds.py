"""Pools of given features: clouds around the centres of three classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kit.data.images import Images, Pool


def clouds(folder: Path, n_labeled: int = 12, n_unlabeled: int = 90, spread: float = 0.3) -> tuple[Pool, np.ndarray]:
    """Return a pool of given features around three centres, and the true class codes."""
    generator = np.random.default_rng(0)
    codes = np.arange(n_labeled + n_unlabeled) % 3
    values = np.eye(8)[codes] + generator.normal(0, spread, (len(codes), 8))
    ids = np.array([f"{i:04d}" for i in range(len(codes))], dtype=object)
    splits = np.where(np.arange(len(codes)) < n_labeled, "labeled", "unlabeled").astype(object)
    pool = Pool(
        ids=ids, splits=splits, paths=ids, digests=ids, groups=np.arange(len(ids)), classes=("a", "b", "c"),
        cache=folder / "cache", prompts=folder / "prompts", embeddings=values.astype(np.float32),
    )  # fmt: skip
    return pool, codes


def split(pool: Pool, codes: np.ndarray) -> tuple[Images, Images]:
    """Return the labelled images with their labels, and the others."""
    labeled = np.flatnonzero(pool.splits == "labeled")
    return pool.select(labeled, codes[labeled]), pool.select(np.flatnonzero(pool.splits == "unlabeled"))
