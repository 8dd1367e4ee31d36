"""Cores: k-means clusters of the pool vouch for pseudo labels near their centres.

The clusters are matched to classes by the training folds' labels and by teachers that never saw the fold, nothing else.
"""

from __future__ import annotations

import numpy as np

from kit.config.competition import Cores
from kit.data.images import Images
from kit.features.cache import encode_images

LARGE = 20_000  # images; above it k-means learns from batches
BATCH = 4096


def find_cores(cores: Cores, pool: Images, labeled: Images, proba: np.ndarray) -> np.ndarray:
    """Return the class that each image's cluster vouches for, -1 outside the cores; (n_images,).

    Parameters
    ----------
    cores
        How the pool is clustered.
    pool
        The images to choose from.
    labeled
        The labelled images of the training folds.
    proba
        (n_images, n_classes) the teachers' opinion of the pool.
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


def _cluster(features: np.ndarray, n_clusters: int) -> tuple:
    """Return each image's cluster and its distance to the centre, and the fitted k-means."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(features) > LARGE:
        k_means = MiniBatchKMeans(n_clusters, batch_size=BATCH, n_init=3, random_state=0)
    else:
        k_means = KMeans(n_clusters, n_init=3, random_state=0)
    clusters = k_means.fit_predict(features)
    return clusters, np.linalg.norm(features - k_means.cluster_centers_[clusters], axis=1), k_means


def _nearest(clusters: np.ndarray, distance: np.ndarray, share: float) -> np.ndarray:
    """Return which images are among the nearest share of their cluster; one of each at least."""
    order = np.lexsort((distance, clusters))
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - starts[clusters[order]]
    return rank < np.maximum(1, np.round(share * sizes))[clusters]
