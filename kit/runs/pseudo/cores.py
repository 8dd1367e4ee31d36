"""Cores: k-means clusters of the pool vouch for pseudo labels near their centres.

The clusters are matched to classes by the training folds' labels and by teachers that never saw the fold, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kit.config.runs import Cores
from kit.core.shapes import Labels, Mask, Proba, Scores, Vectors
from kit.data.images import Images
from kit.features.cache import encode_images

if TYPE_CHECKING:
    from sklearn.cluster import KMeans, MiniBatchKMeans

LARGE_POOL = 20_000  # images; above it k-means learns from batches
IMAGES_PER_BATCH = 4096


def find_cores(cores: Cores, pool: Images, labeled: Images, proba: Proba) -> Labels:
    """Return the class that each image's cluster vouches for, -1 outside the cores; (n_images,).

    `proba` (n_images, n_classes) are the teachers' mean predictions of the pool; `labeled` are the images of the
    training folds.
    """
    features = encode_images(pool, cores.encoder, cores.encoder_args).values
    n_classes = proba.shape[1]
    clusters, distance, k_means = _cluster(features, min(cores.per_class * n_classes, len(pool)))
    votes = np.zeros((k_means.n_clusters, n_classes))
    np.add.at(votes, clusters, proba)
    known = k_means.predict(encode_images(labeled, cores.encoder, cores.encoder_args).values)
    np.add.at(votes, (known, labeled.labels), 1.0)
    vouched = votes.argmax(axis=1)[clusters]
    vouched[~_nearest(clusters, distance, cores.share)] = -1
    return vouched


def _cluster(features: Vectors, n_clusters: int) -> tuple[Labels, Scores, KMeans | MiniBatchKMeans]:
    """Return each image's cluster and its distance to the centre, and the fitted k-means."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    options: dict[str, Any] = {"n_clusters": n_clusters, "n_init": 3, "random_state": 0}
    k_means = (
        MiniBatchKMeans(batch_size=IMAGES_PER_BATCH, **options) if len(features) > LARGE_POOL else KMeans(**options)
    )
    clusters = k_means.fit_predict(features)
    return clusters, np.linalg.norm(features - np.asarray(k_means.cluster_centers_)[clusters], axis=1), k_means


def _nearest(clusters: Labels, distance: Scores, share: float) -> Mask:
    """Return which images are among the nearest share of their cluster; one of each at least."""
    order = np.lexsort((distance, clusters))
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - starts[clusters[order]]
    return rank < np.maximum(1, np.round(share * sizes))[clusters]
