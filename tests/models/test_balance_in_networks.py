"""Imbalance in networks: losses by name, resampling epoch by epoch, rare classes varied more than others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.pools import labels_of, make_pool
from torch.nn import functional

from kit.core.errors import InputError
from kit.data.images import Images, Pool
from kit.models.balance import Balance, balance_images
from kit.models.heads.semi_head import SemiProbe
from kit.models.networks.fine_tune import FineTune
from kit.models.training.augment import augment, augment_rarely
from kit.models.training.batches import mark_copies, weighted_targets
from kit.models.training.loss import (
    balanced_softmax,
    binary_cross_entropy,
    binary_targets,
    cross_entropy,
    focal,
    make_loss,
)
from kit.models.training.recipe import Recipe


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return make_pool(tmp_path_factory.mktemp("pool"), 30, 16, n_labeled=24)


@pytest.fixture
def unequal(pool: Pool) -> Images:
    """Four images of each rare class and sixteen of the frequent one; the pool's own classes do not matter here."""
    return pool.select(np.arange(24), np.repeat([0, 1, 2], [4, 4, 16]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"focal_gamma": 1.0}, 'focal_gamma is read with loss = "focal" alone'),
        ({"loss": "balanced_softmax", "balance": "over"}, "done twice"),
        ({"augment_rare": "strong"}, "augment_rare varies the copies"),
        ({"augment_rare": "strong", "balance": "over", "augment_copy": True, "augment": "light"}, "use one of them"),
    ],
)
def test_a_recipe_refuses_what_nothing_reads(options, message):
    with pytest.raises(InputError, match=message):
        Recipe(**options)


def test_a_semi_probe_still_refuses_what_its_method_does_not_read():
    with pytest.raises(InputError, match="does not read threshold"):
        SemiProbe(encoder="given", semi="freematch", threshold=0.9)


def logits_and_targets(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, generator=generator), torch.rand(6, 3, generator=generator)


def test_balanced_softmax_of_classes_of_one_size_is_the_cross_entropy():
    logits, targets = logits_and_targets()
    assert torch.equal(balanced_softmax(logits, targets, torch.full((3,), 1 / 3)), cross_entropy(logits, targets))
    shares = torch.tensor([0.7, 0.2, 0.1])
    shifted = cross_entropy(logits + shares.log(), targets)
    assert balanced_softmax(logits, targets, shares) == pytest.approx(float(shifted))


def test_the_focal_loss_with_gamma_0_is_the_cross_entropy_and_hears_the_sure_less():
    logits, targets = logits_and_targets()
    assert focal(logits, targets, 0.0) == pytest.approx(float(cross_entropy(logits, targets)), rel=1e-6)
    sure, named = torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    p = float(sure.softmax(dim=1)[0, 0])
    assert focal(sure, named, 2.0) == pytest.approx((1 - p) ** 2 * float(cross_entropy(sure, named)), rel=1e-4)


def test_the_binary_loss_agrees_with_torch_and_weighs_images_and_classes():
    logits, targets = logits_and_targets()
    labels = (targets > 0.5).float()
    weights, of_class = torch.arange(1.0, 7), torch.tensor([1.0, 2.0, 0.5])
    theirs = partial(functional.binary_cross_entropy_with_logits, logits, labels, reduction="none")
    assert binary_cross_entropy(logits, labels) == pytest.approx(float(theirs().mean(dim=1).sum()), rel=1e-5)
    weighed = binary_cross_entropy(logits, binary_targets(labels, weights, 0.0), of_class)
    expected = theirs(pos_weight=of_class) * weights[:, None]
    assert weighed == pytest.approx(float(expected.mean(dim=1).sum()), rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax", "focal"])
def test_losses_are_linear_in_the_targets_so_that_weights_lie_there(loss, unequal):
    logits, targets = logits_and_targets()
    chosen = make_loss(Recipe(loss=loss), unequal)
    assert 2 * chosen(logits, targets) == pytest.approx(float(chosen(logits, 2 * targets)), rel=1e-6)


def test_class_weights_weigh_the_targets_of_networks(unequal):
    balanced = balance_images(unequal, Balance(balance="inverse"), 0)
    sums = weighted_targets(balanced, np.arange(24), 0.0).sum(dim=0)
    assert sums.tolist() == [8, 8, 8]


def test_networks_see_a_resampled_image_as_often_as_it_was_drawn(unequal):
    repeated = balance_images(unequal, Balance(balance="over"), 0, repeat=True)
    once = balance_images(unequal, Balance(balance="over"), 0)
    assert np.bincount(repeated.labels).tolist() == [16, 16, 16] and set(repeated.weights) == {1}
    assert len(once) == 24 and np.bincount(once.labels, once.weights).tolist() == [16, 16, 16]
    assert mark_copies(repeated.rows).sum() == 48 - 24


def test_only_the_copies_of_rare_images_are_varied_strongly():
    pixels = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    rare = torch.tensor([False, True, False, True])
    varied = augment_rarely(pixels, ("none", "strong"), torch.Generator().manual_seed(1), False, rare)
    assert torch.equal(varied[~rare], pixels[~rare]) and not torch.isclose(varied[rare], pixels[rare]).all()
    same = augment_rarely(pixels, ("none", "none"), torch.Generator(), False, rare)
    assert torch.equal(same, augment(pixels, "none", torch.Generator()))


def tune(pool: Pool, rows: np.ndarray, **options: object) -> FineTune:
    """Train a tiny network for two epochs on some of a pool's images."""
    model = FineTune(
        encoder="timm:test_vit", pretrained=False, image_size=16, encoder_args={"patch_size": 8}, epochs=2,
        batch_size=8, ema_decay=0.0, precision="float32", augment="light", **options,
    )  # fmt: skip
    return model.fit(pool.select(rows, labels_of(rows)), pool.select(np.arange(24, 30)))


@pytest.mark.parametrize(
    "options",
    [
        {"balance": "inverse"},
        {"balance": "under"},
        {"balance": "over", "augment_rare": "strong"},
        {"balance": "logit_adjustment"},
        {"loss": "balanced_softmax"},
    ],
    ids=str,
)
def test_a_network_trained_on_classes_of_one_size_is_the_same_with_every_switch(options, pool):
    rows, asked = np.arange(24), pool.select(np.arange(24, 30))
    assert np.array_equal(tune(pool, rows, **options).predict_proba(asked), tune(pool, rows).predict_proba(asked))


def test_a_restored_network_sweeps_the_same_taus(pool):
    rows, asked = np.array([0, 3, 6, 9, 12, 15, 1, 4, 2, 5]), pool.select(np.arange(24, 30))
    model = tune(pool, rows, balance="nested")
    sweep = model.predict_sweep(asked)
    assert len(sweep) == 5 and sweep[4, :, 0].mean() < sweep[0, :, 0].mean()
    restored = replace(model).restore(model.tensors(), pool.classes)
    assert np.array_equal(restored.predict_sweep(asked), sweep)
