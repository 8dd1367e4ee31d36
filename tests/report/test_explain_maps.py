"""The maps of explain: they are captum's, they point at planted evidence, the same seed gives the same map."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from kit.bench.explain import half_of, mass_share, plant, randomise
from kit.data.store import Geometry
from kit.report.explain import Map, Question, explain_picture
from kit.report.explain.gradients import blank_of, find_map, grad_cam, integrated_gradients
from kit.report.explain.lime import lime, proximity, superpixels
from kit.report.explain.subject import Subject
from kit.report.explain.writing import overlay

attr = pytest.importorskip("captum.attr")
IntegratedGradients, LayerGradCam, Lime = attr.IntegratedGradients, attr.LayerGradCam, attr.Lime
SkLearnRidge = pytest.importorskip("captum._utils.models.linear_model").SkLearnRidge


class ColourNetwork(nn.Module):
    """Score how red, green and blue a picture is, through a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(1.5 * torch.eye(3)[..., None, None] - 0.5)
        self.pool = nn.MaxPool2d(2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(self.conv(pixels / 255))).mean(dim=(2, 3)) * 10


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return ColourNetwork().eval()


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    """A grey noisy picture with a green patch on its left, (3, 32, 32)."""
    draws = np.random.default_rng(0)
    grey = np.repeat(draws.integers(60, 200, (32, 32, 1)), 3, axis=2).astype(np.uint8)
    return np.ascontiguousarray(plant(grey, (40, 200, 40), "left", draws).transpose(2, 0, 1))


def sayer(network: nn.Module):
    """Return a network's probabilities as a function of pixels."""

    def say(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(network(torch.from_numpy(pixels).float()), 1).numpy()

    return say


def test_every_method_points_at_the_planted_patch(network, planted):
    inside = half_of((32, 32), "left")
    maps = [
        lime(sayer(network), planted, [1], 100, 0)[0],
        grad_cam(network, network.pool, planted, 1),
        integrated_gradients(network, planted, 1),
    ]
    assert all(mass_share(image_map, inside) > 0.7 for image_map in maps)
    assert lime(sayer(network), planted, [0], 100, 0)[0][inside].sum() < 0  # green speaks against red


def test_the_same_seed_gives_the_same_map_and_another_seed_another(network, planted):
    first, again, other = (lime(sayer(network), planted, [1], 40, seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    before = torch.random.get_rng_state()
    lime(sayer(network), planted, [1], 10, 0)
    assert (before == torch.random.get_rng_state()).all()


def test_lime_is_captums_over_slic_superpixels(network, planted):
    segments, _ = superpixels(planted)
    say = sayer(network)
    torch.manual_seed(3)
    expected = Lime(
        lambda pictures: torch.from_numpy(say(pictures.to(torch.uint8).numpy())), SkLearnRidge(alpha=1.0), proximity
    ).attribute(
        torch.from_numpy(planted)[None].float(),
        torch.from_numpy(blank_of(planted)).float().view(1, 3, 1, 1),
        target=1,
        feature_mask=torch.from_numpy(segments)[None, None],
        n_samples=60,
        perturbations_per_eval=7,
    )
    np.testing.assert_allclose(lime(say, planted, [1], 60, 3)[0], expected[0, 0].numpy(), atol=1e-6)


def test_superpixels_of_the_blank_colour_are_one_and_speak_for_nothing(network):
    pixels = np.zeros((3, 32, 32), dtype=np.uint8)
    pixels[1, 4:12, 4:12] = 255
    segments, blank = superpixels(pixels)
    assert len(np.unique(segments[20:])) == 1 and segments[-1, -1] == blank
    values = lime(sayer(network), pixels, [1], 60, 0)[0]
    assert (values[segments == blank] == 0).all() and values[8, 8] > 0


def test_grad_cam_and_gradients_are_captums(network, planted):
    picture = torch.from_numpy(planted)[None].float()
    cam = LayerGradCam(network, network.pool).attribute(picture, 1)
    expected = torch.nn.functional.interpolate(cam, (32, 32), mode="bilinear")[0, 0].detach().numpy()
    np.testing.assert_allclose(grad_cam(network, network.pool, planted, 1), expected, atol=1e-5)
    blank = torch.from_numpy(blank_of(planted)).float().view(1, 3, 1, 1).expand_as(picture)
    whole = IntegratedGradients(network).attribute(picture, blank, 1, n_steps=32)
    maps = integrated_gradients(network, planted, 1)
    np.testing.assert_allclose(maps, whole.sum(dim=(0, 1)).detach().numpy(), atol=1e-5)
    change = (network(picture) - network(blank))[0, 1].item()
    assert maps.sum() == pytest.approx(change, rel=0.05)  # completeness


@pytest.mark.parametrize(
    ("name", "args", "has_map"),
    [
        ("mobilenetv2_050", {}, True),
        ("convnext_atto", {}, True),
        ("vit_tiny_patch16_224", {"depth": 1}, False),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "img_size": 128, "window_size": 4}, False),
    ],
)
def test_convolutional_networks_have_a_map_and_transformers_none(name, args, has_map):
    side = 224 if name.startswith("vit") else 128
    network = timm.create_model(name, num_classes=3, **args).eval()
    layer = find_map(network, np.zeros((3, side, side), dtype=np.uint8))
    assert (layer is not None) == has_map
    if has_map:
        shape = grad_cam(network, layer, np.zeros((3, side, side), dtype=np.uint8), 0).shape
        assert shape == (side, side)


def test_copies_are_explained_by_the_mean_of_their_maps(network, planted):
    other = ColourNetwork().eval()
    randomise(other)
    subjects = [Subject(Geometry(32, 32), sayer(each), each, "cpu") for each in (network, other)]
    question = Question(("lime", "gradcam", "gradients"), n_samples=20)
    apart = [explain_picture([subject], planted, [1], ("r", "g", "b"), question) for subject in subjects]
    for both, *single in zip(explain_picture(subjects, planted, [1], ("r", "g", "b"), question), *apart, strict=True):
        np.testing.assert_allclose(both.values, np.mean([image_map.values for image_map in single], axis=0), atol=1e-6)
        assert both.score == pytest.approx(np.mean([image_map.score for image_map in single]))


@pytest.mark.parametrize("method", ["lime", "gradients"])
def test_what_speaks_for_is_drawn_green_and_what_speaks_against_red(method):
    values = np.zeros((40, 40), dtype=np.float32)
    values[5:15, 5:15], values[25:35, 25:35] = 1, -1
    drawn = overlay(np.full((3, 40, 40), 128, dtype=np.uint8), Map(method, "x", 0.5, values)).astype(int)
    red, green, _ = np.moveaxis(drawn, 2, 0)
    assert green[10, 10] > red[10, 10] + 50 and red[30, 30] > green[30, 30] + 50
    assert (drawn[20, 1] == 128).all()
