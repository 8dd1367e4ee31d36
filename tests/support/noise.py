"""Labels of pure noise, and a model whose setting is easily chosen by them."""

from __future__ import annotations

import dataclasses

import numpy as np

from kit.data.images import Images, Pool
from kit.data.prepared import Prepared
from kit.features.cache import encode_images
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.store.pairs import merge_folds

N_IMAGES, N_COLUMNS, N_DRAWS = 60, 60, 25


class NearestColumn:
    """Give an image the label of its nearest neighbour in one column of the features: which one, is the setting.

    Who is near is near in return: two images of equal labels speak for their column in both of their folds.
    """

    def fit(self, labeled: Images) -> NearestColumn:
        self.known, self.labels = encode_images(labeled, "given").values, labeled.labels
        return self

    def predict_sweep(self, images: Images) -> np.ndarray:
        features = encode_images(images, "given").values
        nearest = np.abs(features[:, None] - self.known[None]).argmin(axis=1)  # (n_images, n_columns)
        return 0.8 * np.eye(images.n_classes)[self.labels[nearest.T]] + 0.2 / images.n_classes


def noisy_rows(prepared: Prepared, draw: int) -> Prepared:
    """Return a competition of labels and embeddings that know nothing of each other."""
    draws = np.random.default_rng(draw)
    names = np.array([f"{i:03d}" for i in range(N_IMAGES)], dtype=object)
    kept = {"classes": prepared.classes, "cache": prepared.pool.cache, "prompts": prepared.pool.prompts}
    pool = Pool(
        ids=names, splits=np.full(N_IMAGES, "labeled", dtype=object), paths=names, digests=names,
        groups=np.arange(N_IMAGES), embeddings=draws.normal(size=(N_IMAGES, N_COLUMNS)), **kept,
    )  # fmt: skip
    labels = draws.permuted(np.tile(np.arange(3), (5, N_IMAGES // 15)), axis=1).ravel()  # every fold has all classes
    folds = np.repeat(np.arange(5), N_IMAGES // 5)
    return dataclasses.replace(
        prepared, pool=pool, labeled=np.arange(N_IMAGES), labels=labels, folds=folds, scored=tuple(range(5))
    )


def optimism(prepared: Prepared, build: type[NearestColumn]) -> tuple[float, float]:
    """Return how much better than the mean column the chosen ones are: by the other folds' oof, and by pairs."""

    def sweep(folds: Prepared, fold: int, of: int) -> np.ndarray:
        return build().fit(folds.training(fold)).predict_sweep(prepared.held_out(of))

    def apart(of: int, fold: int) -> np.ndarray:
        return sweep(merge_folds(prepared, of, fold), of, of)

    sweeps = {fold: sweep(prepared, fold, fold) for fold in prepared.scored}
    columns = list(range(N_COLUMNS))
    right = {fold: (sweeps[fold].argmax(axis=2) == prepared.fold_labels(fold)).mean(axis=1) for fold in sweeps}
    gains = []
    for given in (None, apart):
        chosen = choose_per_fold(prepared, columns, sweeps, 0, given)
        gains.append(np.mean([right[fold][value] - right[fold].mean() for fold, value in chosen.items()]))
    return float(gains[0]), float(gains[1])
