"""Test-time augmentation: which views there are, and that their mean predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.clips import TOWERS, write_clip
from support.pools import labels_of, make_pool

from kit.data.images import pool_behind
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.small_cnn import SmallCNN
from kit.models.training.views import views_of

N_VIEWS = {"none": 1, "mirror": 2, "crops": 6, "mirrored_crops": 12}


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tta", N_VIEWS)
def test_the_image_itself_is_the_first_of_views_of_its_size(pixels, tta):
    views = views_of(pixels, tta)
    assert len(views) == N_VIEWS[tta] and torch.equal(views[0], pixels)
    assert all(view.shape == pixels.shape for view in views)


def test_mirrored_views_are_the_others_mirrored(pixels):
    views = views_of(pixels, "mirrored_crops")
    assert all(torch.equal(view.flip(3), mirrored) for view, mirrored in zip(views[:6], views[6:], strict=True))


def test_crops_are_the_corners_and_the_middle(pixels):
    _, top_left, top_right, bottom_left, bottom_right, middle = views_of(pixels, "crops")
    for view, corner in ((top_left, (0, 0)), (top_right, (0, -1)), (bottom_left, (-1, 0)), (bottom_right, (-1, -1))):
        assert torch.allclose(view[:, :, *corner], pixels[:, :, *corner], atol=1e-6)
    assert not any(torch.equal(middle, view) for view in (top_left, top_right, bottom_left, bottom_right))


def test_an_even_image_looks_the_same_in_every_view():
    even = torch.full((2, 3, 9, 9), 0.3)
    assert all(torch.allclose(view, even) for view in views_of(even, "mirrored_crops"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    pool = make_pool(folder, 12, 32, n_labeled=9)
    write_clip(folder / "clip", TOWERS["transformer"])
    (folder / "prompts").mkdir()
    return pool.select(np.arange(9), labels_of(np.arange(9))), pool.select(np.arange(9, 12))


def models(folder: Path, tta: str) -> list:
    clip = {"encoder": f"open_clip:local-dir:{folder / 'clip'}", "epochs": 1, "lr": 1e-3}
    return [
        SmallCNN(image_size=16, channels=[4], epochs=2, tta=tta),
        ClipFinetune(**clip, batch_size=4, alpha=1.0, tta=tta),
    ]


def test_a_model_predicts_the_mean_over_its_views(images):
    labeled, others = images
    nobody = labeled.take(np.arange(0))
    for plain, mirrored in zip(
        *(models(pool_behind(labeled).lookup[0], tta) for tta in ("none", "mirror")), strict=True
    ):
        alone = plain.fit(labeled, nobody).predict_proba(others)
        both = mirrored.fit(labeled, nobody).predict_proba(others)
        assert not np.allclose(alone, both, atol=1e-7) and np.allclose(both.sum(1), 1, atol=1e-5)
        flipped = 2 * both - alone  # what it says of the mirror images
        assert flipped.min() >= -1e-6 and flipped.max() <= 1 + 1e-6
