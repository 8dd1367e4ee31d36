"""Gradient maps: which pixels a network's score goes up and down with, and Grad-CAM on its last convolutions.

All of it is captum's; here are the choices: which layer, which baseline, how many steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.core.shapes import Pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

Heat: TypeAlias = NDArray[np.floating[Any]]
"""(h, w) or (n_targets, h, w): how much each pixel speaks for a target, above 0, or against it, below 0."""

MIN_SIDE = 4  # cells: a coarser map says no place
N_STEPS = 32  # of the path from the blank picture to the picture
STEPS_AT_ONCE = 8


def blank_of(pixels: Pixels) -> NDArray[Any]:
    """Return the colour that stands for nothing in a picture, (3,) of its own kind: its median.

    It is the paper of drawings and scans; a grey patch on black would be evidence itself.

    The picture is (3, height, width).
    """
    return np.median(pixels.reshape(len(pixels), -1), axis=1).astype(pixels.dtype)


def integrated_gradients(network: nn.Module, pixels: Pixels, target: int, device: str = "cpu") -> Heat:
    """Return how much each pixel adds to a score, along the way from a blank picture.

    Parameters
    ----------
    network
        Pixels 0..255 (n_images, 3, h, w) in, scores (n_images, n_targets) out.

    Returns
    -------
    Heat
        (h, w) float32, above 0 for the target; summed over colours.

    References
    ----------
    Sundararajan et al. 2017, Axiomatic attribution for deep networks, section 3.
    """
    from captum.attr import IntegratedGradients

    picture = _picture(pixels, device)
    blank = _picture(np.broadcast_to(blank_of(pixels)[:, None, None], pixels.shape), device)
    attributed = IntegratedGradients(network).attribute(
        picture, blank.detach(), target, n_steps=N_STEPS, internal_batch_size=STEPS_AT_ONCE
    )
    return attributed.sum(dim=(0, 1)).detach().float().cpu().numpy()


def grad_cam(network: nn.Module, layer: nn.Module, pixels: Pixels, target: int, device: str = "cpu") -> Heat:
    """Return the layer's channels weighted by the score's mean gradient, enlarged to the picture.

    The layer comes from `find_map`. Published Grad-CAM keeps what is above 0, here what speaks against the target stays
    too.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM, section 3.
    """
    import torch
    from captum.attr import LayerAttribution, LayerGradCam

    attributed = LayerGradCam(network, layer).attribute(_picture(pixels, device), target)
    coarse = attributed if isinstance(attributed, torch.Tensor) else attributed[0]
    fine = LayerAttribution.interpolate(coarse.float(), pixels.shape[1:], "bilinear")
    return fine[0, 0].detach().cpu().numpy()


def find_map(network: nn.Module, pixels: Pixels, device: str = "cpu") -> nn.Module | None:
    """Return the deepest module whose output is a convolutional map of 4 x 4 cells or more, or None.

    A map is (n_images, n_channels, h, w) with the channels of the convolution before it. Where tokens follow, as after
    a transformer's patches, there is none: the map would be of the very first layer.
    """
    import torch
    from torch import nn

    deepest: nn.Module | None = None
    n_channels = 0

    def look(module: nn.Module, _: object, output: object) -> None:
        nonlocal deepest, n_channels
        if not isinstance(output, torch.Tensor) or module is network:
            return
        if output.ndim == 3 and output.shape[1] > 1:
            deepest, n_channels = None, 0
        if output.ndim != 4 or min(output.shape[2:]) < MIN_SIDE:
            return
        if isinstance(module, nn.Conv2d):
            n_channels = output.shape[1]
        if output.shape[1] == n_channels:
            deepest = module

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.no_grad():
            network(_picture(pixels, device))
    finally:
        for hook in hooks:
            hook.remove()
    return deepest


def _picture(pixels: Pixels, device: str) -> Tensor:
    """Return (1, 3, h, w) float32 on a device that gradients can be taken of."""
    import torch

    return torch.from_numpy(pixels.astype(np.float32))[None].to(device).requires_grad_()
