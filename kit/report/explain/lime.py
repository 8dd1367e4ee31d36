"""LIME: which superpixels a model's score hangs on, seen from outside; it works for every model.

captum's Lime over scikit-image's SLIC, with the kernel and the ridge regression of the authors' image explainer:
superpixels are blanked at random, and a linear model, which heeds the least blanked most, says what each of them adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kit.core.shapes import Pixels, Proba, Scores
from kit.report.explain.gradients import Heat, blank_of

if TYPE_CHECKING:
    from torch import Tensor

N_SEGMENTS = 50  # superpixels of a picture, about
NEARLY = 8  # grey levels that no eye tells apart
KERNEL_WIDTH = 0.25  # of cosine distances between masks
RIDGE = 1.0
AT_ONCE = 64  # blanked pictures asked at a time


def superpixels(pixels: Pixels) -> tuple[NDArray[np.int64], int | None]:
    """Return the superpixels of a picture, (h, w) numbers from 0, and the one that is blank already, or None.

    Those of the blank colour are made one: blanking them changes nothing, and what a regression on few samples says of
    each would be noise.

    References
    ----------
    Achanta et al. 2012, SLIC superpixels compared to state-of-the-art superpixel methods.
    """
    from skimage.segmentation import slic

    # SLICO's compactness follows the texture; with the usual 10 a noisy picture became two superpixels
    segments = slic(pixels.transpose(1, 2, 0), N_SEGMENTS, slic_zero=True, start_label=0)
    differs = np.abs(pixels.astype(np.int16) - blank_of(pixels)[:, None, None]).max(axis=0) > NEARLY
    is_blank = ~np.isin(segments, segments[differs])
    segments[is_blank] = segments.max() + 1
    numbers, segments = np.unique(segments, return_inverse=True)
    return segments.reshape(is_blank.shape).astype(np.int64), len(numbers) - 1 if is_blank.any() else None


def lime(say: Callable[[Pixels], Proba], pixels: Pixels, targets: list[int], n_samples: int, seed: int) -> Heat:
    """Return how much each superpixel adds to the scores.

    Parameters
    ----------
    say
        Pictures (n_images, 3, h, w) uint8 in, scores (n_images, n_targets) out; asked once for all targets.
    n_samples
        Blanked pictures, 2 or more.
    seed
        Of the blanking; the same seed gives the same map.

    Returns
    -------
    Heat
        (n_targets, h, w) float32, above 0 for the target.

    References
    ----------
    Ribeiro et al. 2016, "Why should I trust you?", sections 3.3 and 3.4.
    """
    import torch
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    segments, blank = superpixels(pixels)
    remembered: dict[bytes, Scores] = {}

    def forward(pictures: Tensor, target: int) -> Tensor:
        shown = pictures.to(torch.uint8).numpy()
        keys = [picture.tobytes() for picture in shown]
        fresh = [i for i, key in enumerate(keys) if key not in remembered]
        if fresh:
            remembered.update(zip((keys[i] for i in fresh), say(shown[fresh]), strict=True))
        return torch.tensor(np.array([remembered[key][target] for key in keys]))

    maps = []
    for target in targets:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            coefficients = Lime(forward, SkLearnRidge(alpha=RIDGE), proximity).attribute(
                torch.from_numpy(pixels)[None].float(),
                torch.from_numpy(blank_of(pixels)).float().reshape(1, 3, 1, 1),
                additional_forward_args=(target,),
                feature_mask=torch.from_numpy(segments)[None, None],
                n_samples=n_samples,
                perturbations_per_eval=AT_ONCE,
                return_input_shape=False,
            )
        weights = coefficients.numpy().ravel()
        if blank is not None:
            weights[blank] = 0
        maps.append(weights[segments])
    return np.stack(maps).astype(np.float32)


def proximity(_: Any, __: Any, kept: Tensor, **___: Any) -> float:
    """Return the weight of a blanked picture, 0..1, from the superpixels that it kept (1, n_segments)."""
    distance = 1 - math.sqrt(float(kept.float().mean()))  # the cosine distance to a mask of ones
    return math.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))
