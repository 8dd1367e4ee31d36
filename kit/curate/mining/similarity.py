"""Compare a large pool with a few exemplars: cosine similarities in blocks, so that memory does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.core.shapes import Labels, Mask, Rows, Scores, Vectors
from kit.core.terminal import track

POOL_BLOCK = 4096  # images whose similarities to all exemplars are held at a time
REVERSE_BLOCK = 64  # images whose similarities to the whole pool are held at a time


@dataclass(frozen=True)
class Nearest:
    """Hold the nearest exemplar of each image of a pool.

    Parameters
    ----------
    codes
        Class codes of the nearest exemplars.
    cosine
        Similarities to them, -1..1.
    runner_up
        Similarities to the nearest exemplars of any other class.
    is_mutual
        Whether image and exemplar are among each other's nearest neighbours.
    """

    codes: Labels
    cosine: Scores
    runner_up: Scores
    is_mutual: Mask


def find_nearest(values: Vectors, exemplars: Vectors, codes: Labels, n_neighbors: int, floor: float = -1.0) -> Nearest:
    """Find the nearest exemplar of every image, and whether each is among the other's nearest neighbours.

    Parameters
    ----------
    codes
        (n_exemplars,) class codes, of two classes or more, each of which occurs.
    n_neighbors
        How many images of the pool are an exemplar's nearest neighbours, and an image's.
    floor
        Similarity below which an image is no neighbour of an exemplar, -1..1. To know an image's neighbours costs a
        product with the whole pool; for images below the floor, which no threshold will take, it is saved.
    """
    import torch

    from kit.features.device import device_name

    device = device_name()
    targets = torch.from_numpy(np.ascontiguousarray(exemplars)).to(device)  # (n_exemplars, n_dims)
    class_of = torch.from_numpy(codes).to(device)
    n_classes, k = int(codes.max()) + 1, min(n_neighbors, len(values))
    near = torch.full((len(codes), 0), -2.0, device=device)  # (n_exemplars, k) similarities of the nearest so far
    near_rows = torch.zeros((len(codes), 0), dtype=torch.int64, device=device)
    cosine, runner_up, best = np.empty(len(values), np.float32), np.empty(len(values), np.float32), []
    for start in track(range(0, len(values), POOL_BLOCK), "mine"):
        block = torch.from_numpy(values[start : start + POOL_BLOCK]).to(device) @ targets.T  # (n_block, n_exemplars)
        best.append(block.argmax(dim=1).cpu().numpy())
        per_class = block.new_full((len(block), n_classes), -2.0)
        per_class.scatter_reduce_(1, class_of.expand_as(block), block, "amax")
        two = per_class.topk(2, dim=1).values.cpu().numpy()
        cosine[start : start + POOL_BLOCK], runner_up[start : start + POOL_BLOCK] = two.T
        nearer, rows = block.T.contiguous().topk(min(k, len(block)), dim=1)
        joined, joined_rows = torch.cat([near, nearer], dim=1), torch.cat([near_rows, rows + start], dim=1)
        near, order = joined.topk(min(k, joined.shape[1]), dim=1)
        near_rows = joined_rows.gather(1, order)
    nearest = np.concatenate(best)
    near_rows[near < floor] = -1
    is_mutual = _find_mutual(values, cosine, nearest, near_rows.cpu().numpy(), k, device)
    return Nearest(codes[nearest], cosine, runner_up, is_mutual)


def _find_mutual(values: Vectors, cosine: Scores, nearest: Rows, near_rows: Rows, k: int, device: str) -> Mask:
    """Return which images are among the k nearest of their nearest exemplar, and have fewer than k images nearer.

    Only the exemplars' neighbours, (n_exemplars, k) `near_rows`, are compared with the pool; -1 is none.
    """
    import torch

    is_mutual = np.zeros(len(values), dtype=bool)
    is_nearest = (near_rows >= 0) & (nearest[near_rows] == np.arange(len(near_rows))[:, None])
    candidates = np.unique(near_rows[is_nearest])
    everything = torch.from_numpy(values).to(device)
    for start in track(range(0, len(candidates), REVERSE_BLOCK), "mine back"):
        rows = torch.from_numpy(candidates[start : start + REVERSE_BLOCK]).to(device)
        block = everything[rows] @ everything.T  # (n_block, n_images)
        block[torch.arange(len(rows), device=device), rows] = -2.0  # an image is not its own neighbour
        limit = torch.from_numpy(cosine[candidates[start : start + REVERSE_BLOCK]]).to(device)
        n_nearer = (block > limit[:, None]).sum(dim=1)
        is_mutual[candidates[start : start + REVERSE_BLOCK]] = (n_nearer < k).cpu().numpy()
    return is_mutual
