"""Views of images at test time: mirrored, or cut out and enlarged; a network's predictions of them are averaged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CROPPED = 7 / 8  # of each side: what a crop keeps, as 224 of 256 pixels


def views_of(pixels: Tensor, tta: str) -> list[Tensor]:
    """Return the views of a batch over which predictions are averaged, the images themselves first.

    Parameters
    ----------
    tta
        ``"none"``: the images alone; ``"mirror"``: and left to right; ``"crops"``: and the four corners and the middle,
        `CROPPED` of each side, enlarged to the whole; ``"mirrored_crops"``: those six and their mirror images.

    Returns
    -------
    list of Tensor
        1, 2, 6 or 12 of the shape of `pixels`.

    References
    ----------
    Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks, section 4.1: ten crops.
    """
    views = [pixels, *(_crops(pixels) if "crops" in tta else ())]
    return [*views, *(view.flip(3) for view in views)] if "mirror" in tta else views


def _crops(pixels: Tensor) -> list[Tensor]:
    """Return the four corners and the middle, as large as the whole."""
    height, width = pixels.shape[2:]
    tall, wide = max(1, round(CROPPED * height)), max(1, round(CROPPED * width))
    down, right = height - tall, width - wide
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    cut = torch.cat([pixels[:, :, top : top + tall, left : left + wide] for top, left in corners])
    enlarged = functional.interpolate(cut, (height, width), mode="bilinear", align_corners=False)
    return list(enlarged.chunk(len(corners)))
