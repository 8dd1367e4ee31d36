"""Clusters: k-means on cached features, its clusters matched to classes by the training labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from scipy.special import softmax

from kit.core.errors import InputError
from kit.core.shapes import Logits, Tensors, Vectors, Weights
from kit.core.terminal import note, warn
from kit.data.images import Images
from kit.models.balance import NESTED
from kit.models.heads.head import Head, Setting
from kit.models.search import Between

PER_CLASS = [1, 2, 4]  # clusters per class to choose among
SHARPNESSES = [20.0, 5.0, 80.0]
MANY = 100_000  # images past which mini-batches take the place of whole passes
BATCH = 4096  # images per mini-batch
N_STARTS = 3  # k-means++ starts, of which the tightest clustering is kept
MIN_SHARE = 1e-6  # probability of a class that none of an image's clusters is matched to


@dataclass
class Clusters(Head):
    """Cluster labelled and unlabelled images with k-means++, then let the labels say what each cluster is.

    The labels take no part in the clustering: where two classes look alike, or one looks like two, labels cannot mend
    it. How far it goes wrong is noted for every fold, and kept in `record_`.

    Parameters
    ----------
    n_clusters
        How many; as many as there are classes by default, or ``"nested"`` for one, two or four times as many.
    matching
        ``"one_to_one"`` gives every class one cluster, so that most labelled images are in their class's (needs as many
        clusters as classes); ``"majority"`` gives a cluster to its commonest class; ``"shares"`` lets it stand for
        several, by their shares of its labelled images; ``"auto"`` is one to one where that is possible, else shares.
    smoothing
        Labelled images added to each cluster's own, spread as the classes are, where shares count.
    sharpness
        Factor on squared distances to the centres, above 0, or ``"nested"``: how decidedly an image belongs to the
        nearest.
    pca
        Principal components that are clustered; 0 for the features as they are.
    representative
        Cluster this many images that stand for all - those nearest to the centres of a finer, coarse clustering, each
        with the weight of the images around it - in place of all; 0 for all.

    References
    ----------
    Arthur and Vassilvitskii 2007, k-means++; Kuhn 1955, the Hungarian method.
    """

    n_clusters: Annotated[int, Field(ge=2)] | Literal["nested"] | None = None
    matching: Literal["auto", "one_to_one", "majority", "shares"] = "auto"
    smoothing: Annotated[float, Field(ge=0), Between(0.1, 10, log=True)] = 1.0
    sharpness: Annotated[float, Field(gt=0), Between(1, 200, log=True)] | Literal["nested"] = NESTED
    pca: Annotated[int, Field(ge=0)] = 0
    representative: Annotated[int, Field(ge=0)] = 0

    def head_settings(self) -> list[Setting]:
        """Return the numbers of clusters and sharpnesses to try."""
        sharpnesses = SHARPNESSES if self.sharpness == NESTED else [self.sharpness]
        return [{**size, "sharpness": sharpness} for size, sharpness in product(self._sizes(), sharpnesses)]

    def fit(self, labeled: Images, unlabeled: Images) -> Clusters:
        """Cluster all images that may be seen, then match the clusters to classes.

        Raises
        ------
        InputError
            When one cluster per class is asked for, and another number of clusters.
        """
        others = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))  # pseudo-labelled ones once
        self._clustered = labeled.join(others)
        super().fit(labeled, unlabeled)
        del self._clustered
        self.record_ = [
            describe_clusters(self._learned[f"counts.{i}"], labeled.classes) for i in range(len(self._sizes()))
        ]
        note(f"clusters: {'; '.join(map(_sentence, self.record_))}")
        return self

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Cluster what was seen, at every number of clusters, and count each cluster's labels."""
        everything = self._features(self._clustered)
        learned = _principal(everything, self.pca, self.seed) if self.pca else {}
        seen, projected = _project(everything, learned), _project(features, learned)
        kept, weights = self._stand_ins(seen)
        truth = np.zeros((len(labeled), labeled.n_classes))
        truth[np.arange(len(labeled)), labeled.labels] = labeled.weights
        for i, size in enumerate(self._sizes()):
            n_clusters = _count(size, labeled.n_classes)
            if self.matching == "one_to_one" and n_clusters != labeled.n_classes:
                raise InputError(
                    f'clusters: matching = "one_to_one" needs as many clusters as classes ({labeled.n_classes}), '
                    f'not {n_clusters}; leave n_clusters out, or write matching = "shares"'
                )
            if n_clusters > len(kept):
                warn(f"clusters: {n_clusters} are asked for of {len(kept)} images; lowered to one for each image")
            centres = _cluster(kept, weights, n_clusters, self.seed)
            nearest = _distances(projected, centres).argmin(axis=1)
            counts = np.zeros((len(centres), labeled.n_classes))
            np.add.at(counts, (nearest, labeled.labels), labeled.weights)
            learned |= {f"centres.{i}": centres, f"counts.{i}": counts}
            for sharpness in {setting["sharpness"] for setting in self.head_settings()}:
                soft = _memberships(projected, centres, sharpness).T @ truth
                learned[f"shares.{i}.{sharpness:g}"] = self._match(counts, soft)
        return learned

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return log-probabilities, (n_images, n_classes): memberships times what the clusters stand for."""
        i = self._sizes().index({name: value for name, value in setting.items() if name != "sharpness"})
        belongs = _memberships(_project(features, learned), learned[f"centres.{i}"], setting["sharpness"])
        return np.log(np.maximum(belongs @ learned[f"shares.{i}.{setting['sharpness']:g}"], MIN_SHARE))

    def _sizes(self) -> list[Setting]:
        """Return the numbers of clusters to try, by themselves or as multiples of the number of classes."""
        if self.n_clusters == NESTED:
            return [{"per_class": factor} for factor in PER_CLASS]
        return [{"per_class": 1} if self.n_clusters is None else {"n_clusters": self.n_clusters}]

    def _match(self, counts: Weights, soft: Weights) -> Weights:
        """Return what each cluster stands for, (n_clusters, n_classes), of counted and of shared-out labels."""
        n_clusters, n_classes = counts.shape
        tied = counts + 1e-3 * soft / max(soft.max(), 1.0)  # of equal counts the nearer cluster
        if self.matching == "majority":
            return np.eye(n_classes)[tied.argmax(axis=1)]
        if self.matching == "one_to_one" or (self.matching == "auto" and n_clusters == n_classes):
            return match_one_to_one(tied)
        prior = soft.sum(axis=0) / soft.sum()
        shared = soft + (self.smoothing + MIN_SHARE) * prior  # a cluster without a label stands for all classes
        return shared / shared.sum(axis=1, keepdims=True)

    def _stand_ins(self, seen: Vectors) -> tuple[Vectors, Weights]:
        """Return the features that are clustered, (n_images, n_dims), and how many images each stands for."""
        if not 0 < self.representative < len(seen):
            return seen, np.ones(len(seen), dtype=np.float32)
        coarse = _cluster(seen, np.ones(len(seen), dtype=np.float32), self.representative, self.seed, coarse=True)
        home = np.empty(len(seen), dtype=np.int64)
        nearest = np.full(len(coarse), -1)
        least = np.full(len(coarse), np.inf)
        for start in range(0, len(seen), BATCH):
            distances = _distances(seen[start : start + BATCH], coarse)
            home[start : start + BATCH] = distances.argmin(axis=1)
            candidates, shortest = distances.argmin(axis=0), distances.min(axis=0)
            closer = shortest < least
            nearest[closer], least[closer] = start + candidates[closer], shortest[closer]
        sizes = np.bincount(home, minlength=len(coarse))
        kept = np.flatnonzero(sizes)
        return seen[nearest[kept]], sizes[kept].astype(np.float32)


def match_one_to_one(counts: Weights) -> Weights:
    """Give every class a cluster of its own, so that as many labelled images as possible are in their class's.

    `counts` is (n_clusters, n_classes) labelled images; the result is of 0 and 1, all 0 for a cluster that is left
    over.
    """
    from scipy.optimize import linear_sum_assignment

    matched = np.zeros_like(counts, dtype=np.float64)
    matched[linear_sum_assignment(counts, maximize=True)] = 1.0
    return matched


def describe_clusters(counts: Weights, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return how well clusters fit classes: the limits of whatever is matched to them.

    `counts` is (n_clusters, n_classes) labelled training images.

    Returns
    -------
    dict
        ``n_clusters``; ``purity``, the share of labelled images that are of their cluster's commonest class, 0..1;
        ``sharing``, the groups of classes most of whose images are in one and the same cluster; ``homeless``, the
        classes that are the commonest of no cluster; ``unlabeled``, the number of clusters without a labelled image.
    """
    seen = counts.sum(axis=0) > 0
    home = np.where(seen, counts.argmax(axis=0), -1)
    groups = [[classes[code] for code in np.flatnonzero(home == cluster)] for cluster in range(len(counts))]
    held = counts.sum(axis=1) > 0
    commonest = set(counts[held].argmax(axis=1).tolist())
    return {
        "n_clusters": len(counts),
        "purity": float(counts.max(axis=1).sum() / counts.sum()),
        "sharing": [group for group in groups if len(group) > 1],
        "homeless": [classes[code] for code in np.flatnonzero(seen) if code not in commonest],
        "unlabeled": int((~held).sum()),
    }


def _sentence(limits: dict[str, Any]) -> str:
    """Return the limits in one line."""
    n_sharing = sum(map(len, limits["sharing"]))
    return (
        f"{limits['n_clusters']} of purity {limits['purity']:.2f} ({n_sharing} classes share one, "
        f"{len(limits['homeless'])} lead none, {limits['unlabeled']} without a label)"
    )


def _count(size: Setting, n_classes: int) -> int:
    """Return the number of clusters that a setting means."""
    return size.get("n_clusters") or size["per_class"] * n_classes


def _cluster(features: Vectors, weights: Weights, n_clusters: int, seed: int, coarse: bool = False) -> Vectors:
    """Return cluster centres, (n_clusters, n_dims) float32, fewer where there are fewer images."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    options: dict[str, Any] = {"n_clusters": min(n_clusters, len(features)), "random_state": seed}
    options["n_init"] = 1 if coarse else N_STARTS
    is_large = coarse or len(features) > MANY
    kmeans = MiniBatchKMeans(**options, batch_size=BATCH) if is_large else KMeans(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal images: then some centres are equal
        return np.asarray(kmeans.fit(features, sample_weight=weights).cluster_centers_, dtype=np.float32)


def _principal(features: Vectors, n_components: int, seed: int) -> Tensors:
    """Return mean (n_dims,) and components (n_components, n_dims) of features; fewer where there are fewer images."""
    from sklearn.decomposition import PCA

    n_components = min(n_components, *features.shape)
    solver = "covariance_eigh" if len(features) >= features.shape[1] else "full"
    fitted = PCA(n_components, svd_solver=solver, random_state=seed).fit(features)
    parts = {"mean": fitted.mean_, "components": fitted.components_}
    return {name: np.asarray(value, dtype=np.float32) for name, value in parts.items()}


def _project(features: Vectors, learned: Tensors) -> Vectors:
    """Return features in principal components where there are any, else as they are."""
    return (features - learned["mean"]) @ learned["components"].T if "components" in learned else features


def _distances(features: Vectors, centres: Vectors) -> Weights:
    """Return squared Euclidean distances, (n_images, n_clusters)."""
    squares = (features**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(squares - 2 * features @ centres.T, 0)


def _memberships(features: Vectors, centres: Vectors, sharpness: float) -> Weights:
    """Return how far images belong to each cluster, (n_images, n_clusters), rows summing to 1."""
    return softmax(-sharpness * _distances(features, centres), axis=1)
