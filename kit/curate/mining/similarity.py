"""Cosine similarities of a large pool to a few exemplars: matrix products in blocks, memory flat in the pool's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.terminal import track

POOL_BLOCK = 4096  # images whose similarities to all exemplars are held at a time
REVERSE_BLOCK = 64  # images whose similarities to the whole pool are held at a time


@dataclass(frozen=True)
class Nearest:
    """Hold what each image of a pool is nearest to.

    Parameters
    ----------
    codes
        (n_images,) class codes of the nearest exemplars.
    cosine
        (n_images,) similarities to them, -1..1.
    runner_up
        (n_images,) similarities to the nearest exemplars of any other class.
    is_mutual
        (n_images,) whether image and exemplar are among each other's nearest neighbours.
    """

    codes: np.ndarray
    cosine: np.ndarray
    runner_up: np.ndarray
    is_mutual: np.ndarray


def find_nearest(
    values: np.ndarray, exemplars: np.ndarray, codes: np.ndarray, n_neighbors: int, floor: float = -1.0
) -> Nearest:
    """Compare every image with every exemplar.

    Parameters
    ----------
    values
        (n_images, n_dims) float32 features of unit length.
    exemplars
        (n_exemplars, n_dims) likewise.
    codes
        (n_exemplars,) class codes, of two classes or more, each of which occurs.
    n_neighbors
        How many of the pool's images are an exemplar's nearest neighbours, and an image's.
    floor
        Similarity below which an image is no neighbour of an exemplar, -1..1. Who an image's own neighbours are costs
        a product with the whole pool, which this saves the images that no threshold will take.
    """
    import torch

    from kit.features.device import device_name

    device = device_name()
    targets = torch.from_numpy(np.ascontiguousarray(exemplars)).to(device)  # (n_exemplars, n_dims)
    own = torch.from_numpy(codes).to(device)
    n_classes, k = int(codes.max()) + 1, min(n_neighbors, len(values))
    near = torch.full((len(codes), 0), -2.0, device=device)  # (n_exemplars, k) similarities of the nearest so far
    near_rows = torch.zeros((len(codes), 0), dtype=torch.int64, device=device)
    cosine, runner_up, best = np.empty(len(values), np.float32), np.empty(len(values), np.float32), []
    for start in track(range(0, len(values), POOL_BLOCK), "mine"):
        block = torch.from_numpy(values[start : start + POOL_BLOCK]).to(device) @ targets.T  # (n_block, n_exemplars)
        best.append(block.argmax(dim=1).cpu().numpy())
        per_class = block.new_full((len(block), n_classes), -2.0)
        per_class.scatter_reduce_(1, own.expand_as(block), block, "amax")
        two = per_class.topk(2, dim=1).values.cpu().numpy()
        cosine[start : start + POOL_BLOCK], runner_up[start : start + POOL_BLOCK] = two.T
        found, rows = block.T.contiguous().topk(min(k, len(block)), dim=1)
        joined, joined_rows = torch.cat([near, found], dim=1), torch.cat([near_rows, rows + start], dim=1)
        near, order = joined.topk(min(k, joined.shape[1]), dim=1)
        near_rows = joined_rows.gather(1, order)
    nearest = np.concatenate(best)
    near_rows[near < floor] = -1
    is_mutual = _find_mutual(values, cosine, nearest, near_rows.cpu().numpy(), k, device)
    return Nearest(codes[nearest], cosine, runner_up, is_mutual)


def _find_mutual(
    values: np.ndarray, cosine: np.ndarray, nearest: np.ndarray, near_rows: np.ndarray, k: int, device: str
) -> np.ndarray:
    """Return which images are among the k nearest of their nearest exemplar, and have fewer than k images nearer.

    Only the exemplars' own neighbours are compared with the pool, (n_exemplars, k) `near_rows` at most; -1 is none.
    """
    import torch

    is_mutual = np.zeros(len(values), dtype=bool)
    is_own = (near_rows >= 0) & (nearest[near_rows] == np.arange(len(near_rows))[:, None])
    asked = np.unique(near_rows[is_own])
    everything = torch.from_numpy(values).to(device)
    for start in track(range(0, len(asked), REVERSE_BLOCK), "mine back"):
        rows = torch.from_numpy(asked[start : start + REVERSE_BLOCK]).to(device)
        block = everything[rows] @ everything.T  # (n_block, n_images)
        block[torch.arange(len(rows), device=device), rows] = -2.0  # an image is not its own neighbour
        limit = torch.from_numpy(cosine[asked[start : start + REVERSE_BLOCK]]).to(device)
        n_nearer = (block > limit[:, None]).sum(dim=1)
        is_mutual[asked[start : start + REVERSE_BLOCK]] = (n_nearer < k).cpu().numpy()
    return is_mutual
