"""Augmentation: identities, bounds, and the same draws on every device."""

import pytest
import torch

from kit.models.training.augment import LEVELS, Augmentation, augment


@pytest.fixture
def pixels() -> torch.Tensor:
    """Return eight images, wider than high."""
    return torch.randint(0, 256, (8, 3, 24, 40), generator=generator(), dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vary(monkeypatch: pytest.MonkeyPatch, pixels: torch.Tensor, seed: int = 0, **settings: float) -> torch.Tensor:
    """Augment at a level of one's own."""
    monkeypatch.setitem(LEVELS, "own", Augmentation(**settings))
    return augment(pixels, "own", generator(seed))


def test_none_changes_nothing(pixels):
    assert torch.equal(augment(pixels, "none", generator()), pixels.float())


@pytest.mark.parametrize("level", ["light", "strong"])
def test_pixels_stay_in_their_range(pixels, level):
    varied = augment(pixels, level, generator())
    assert varied.shape == pixels.shape
    assert varied.dtype == torch.float32
    assert varied.min() >= 0 and varied.max() <= 255
    assert not torch.equal(varied, pixels.float())


def test_the_same_generator_gives_the_same_images(pixels):
    assert torch.equal(augment(pixels, "strong", generator(3)), augment(pixels, "strong", generator(3)))
    assert not torch.equal(augment(pixels, "strong", generator(3)), augment(pixels, "strong", generator(4)))


def test_whole_numbers_and_floats_are_varied_alike(pixels):
    assert torch.equal(augment(pixels, "strong", generator()), augment(pixels.float(), "strong", generator()))


def test_every_image_has_its_own_parameters(pixels):
    same = pixels[:1].expand(8, -1, -1, -1)
    varied = augment(same, "light", generator())
    assert all(not torch.equal(varied[0], other) for other in varied[1:])


def test_the_callers_generator_is_left_alone(pixels):
    before = torch.get_rng_state()
    augment(pixels, "strong", generator(), flip=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_flip_mirrors_images(pixels):
    mirrored = augment(pixels, "none", generator(), flip=True)
    original = pixels.float()
    kinds = [
        "same"
        if torch.allclose(new, old, atol=0.01)
        else "mirrored"
        if torch.allclose(new, old.flip(2), atol=0.01)
        else ""
        for new, old in zip(mirrored, original, strict=True)
    ]
    assert set(kinds) == {"same", "mirrored"}


def test_no_level_mirrors_an_arrow():
    arrow = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    arrow[..., :16] = 200  # bright on the left
    for level in LEVELS:
        varied = augment(arrow, level, generator())
        assert (varied[..., :12].mean(dim=(1, 2, 3)) > varied[..., 20:].mean(dim=(1, 2, 3))).all()


def test_a_full_turn_on_a_wide_image_keeps_its_shape(monkeypatch):
    """Degrees are of pixels, not of half sides: a disc stays a disc on an image that is not square."""
    rows, columns = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(64) - 31.5, indexing="ij")
    disc = ((rows**2 + columns**2) < 10**2).mul(255).to(torch.uint8).expand(16, 3, -1, -1)
    varied = vary(monkeypatch, disc, rotation=90)
    middle = slice(18, 46)  # further out the reflected disc comes in
    assert (varied - disc.float())[..., middle].abs().mean() < 8


def test_zoom_and_shift_stay_within_their_bounds(monkeypatch):
    dot = torch.zeros(200, 3, 41, 41)
    dot[:, :, 20, 20] = 255
    shifted = vary(monkeypatch, dot, shift=0.1)
    place = shifted[:, 0].flatten(1).argmax(1)
    reach = torch.stack([place // 41 - 20, place % 41 - 20]).abs()
    assert 3 <= reach.max() <= 5  # a tenth of 41 pixels is 4.1


def test_brightness_alone_multiplies(monkeypatch, pixels):
    dim = pixels.float() / 4
    factor = vary(monkeypatch, dim, brightness=0.5) / dim.clamp_min(1e-6)
    for value in factor:
        seen = value[value > 0.01]
        assert torch.allclose(seen, seen[0].expand_as(seen), rtol=1e-3)
        assert 0.5 <= seen[0] <= 1.5


def test_contrast_and_saturation_keep_the_mean_grey(monkeypatch, pixels):
    calm = pixels.float() / 4 + 90
    luminance = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    for settings in ({"contrast": 0.3}, {"saturation": 0.3}):
        varied = vary(monkeypatch, calm, **settings)
        difference = ((varied - calm) * luminance).sum(1).mean(dim=(1, 2))
        assert difference.abs().max() < 0.05
        assert (varied - calm).abs().max() > 1


def test_erasing_hides_a_part_of_some_images(monkeypatch, pixels):
    many = pixels.float().repeat(32, 1, 1, 1)
    varied = vary(monkeypatch, many, erase=0.5)
    share = (varied != many).any(1).float().mean(dim=(1, 2))
    assert 0.35 < (share > 0).float().mean() < 0.65
    assert share[share > 0].min() > 0.01 and share.max() < 0.25
