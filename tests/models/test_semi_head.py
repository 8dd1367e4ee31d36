"""A probe that learns from unlabelled images: without their weight it is the regression it starts at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.clouds import clouds, split

from kit.core.errors import InputError
from kit.models.heads import semi_head as module
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.semi_head import SemiProbe
from kit.runs.store.build import build_model

METHODS: dict[str, dict[str, Any]] = {
    "mean_teacher": {"semi": "mean_teacher"},
    "fixmatch": {"semi": "fixmatch", "threshold": 0.6, "align": True},
    "freematch": {"semi": "freematch", "fairness": 0.01},
    "hidden": {"semi": "freematch", "hidden": 16},
}
QUICK: dict[str, Any] = {"encoder": "given", "steps": 60}


@pytest.mark.parametrize("name", METHODS)
def test_it_knows_clear_clouds_and_says_what_was_taught(name, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    head = SemiProbe(**QUICK, **METHODS[name]).fit(labeled, others)
    proba = head.predict_proba(others)
    assert proba.sum(axis=1) == pytest.approx(np.ones(len(others)), abs=1e-5)
    assert (proba.argmax(axis=1) == codes[others.rows]).mean() > 0.85
    assert 0 < head.record_["mask_rate"] <= 1 and sum(head.record_["pseudo_share"]) == pytest.approx(1, abs=1e-3)


def test_unlabeled_clouds_help_where_a_label_lies_at_an_edge(tmp_path):
    pool, codes = clouds(tmp_path, n_labeled=3, n_unlabeled=600, spread=0.4)
    labeled, others = split(pool, codes)
    alone = LinearProbe("given").fit(labeled, others).predict_proba(others)
    head = SemiProbe(encoder="given", align=True).fit(labeled, others).predict_proba(others)
    right = [(proba.argmax(axis=1) == codes[others.rows]).mean() for proba in (alone, head)]
    assert right[1] > right[0] + 0.02


@pytest.mark.parametrize("keys", [{"unlabeled_weight": 0.0}, {"threshold": 1.1, "dropout": 0.9}])
def test_where_nothing_is_taught_it_stays_at_the_regression(keys, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    head = SemiProbe(**QUICK, semi="fixmatch", C=30.0, **keys).fit(labeled, others).predict_proba(others)
    alone = LinearProbe("given").fit(labeled, others).predict_proba(others)
    assert head == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_head_and_a_restored_one_says_the_same(name, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    first, second, third = (SemiProbe(**QUICK, **METHODS[name], seed=seed).fit(labeled, others) for seed in (1, 1, 2))
    proba = first.predict_proba(others)
    assert np.array_equal(proba, second.predict_proba(others)) and not np.array_equal(
        proba, third.predict_proba(others)
    )
    restored = SemiProbe(**QUICK, **METHODS[name], seed=1).restore(first.tensors(), pool.classes)
    assert first.keeps_weights and np.array_equal(restored.predict_proba(others), proba)


def test_neither_hidden_labels_nor_labeled_images_teach_as_unlabeled_ones(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    plain = SemiProbe(**QUICK).fit(labeled, others).predict_proba(others)
    for told in (pool.select(others.rows, codes[others.rows]), labeled.join(others)):
        assert np.array_equal(SemiProbe(**QUICK).fit(labeled, told).predict_proba(others), plain)


def test_only_a_block_of_the_pool_is_in_memory(tmp_path, monkeypatch):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    whole = SemiProbe(**QUICK).fit(labeled, others)
    monkeypatch.setattr(module, "BLOCK", 100)
    sizes: list[int] = []
    head = SemiProbe(**QUICK)
    read = head._features
    monkeypatch.setattr(head, "_features", lambda images: sizes.append(len(images)) or read(images))
    head.fit(labeled, others)
    assert max(sizes[1:]) == 84 and len(sizes) == 61  # 7 unlabelled images for each of 12, the labelled ones before
    assert np.array_equal(head.predict_proba(others), whole.predict_proba(others))


def test_a_strong_view_is_of_unit_length_and_lacks_features():
    head = SemiProbe(encoder="given", dropout=0.5, noise=0.0)
    features = torch.full((4, 400), 1 / math.sqrt(400))
    strong = head._vary(features, torch.Generator().manual_seed(0))
    assert torch.allclose(strong.norm(dim=1), torch.ones(4)) and 0.4 < float((strong == 0).float().mean()) < 0.6
    untouched = SemiProbe(encoder="given", dropout=0.0, noise=0.0)._vary(features, torch.Generator().manual_seed(0))
    assert torch.allclose(untouched, features)


def test_no_unlabeled_image_at_all_is_refused(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, _ = split(pool, codes)
    with pytest.raises(InputError, match="linear_probe needs none"):
        SemiProbe(**QUICK).fit(labeled, labeled)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('semi = "self_training"', "semi"),
        ("threshold = 0.9", 'semi = "freematch" does not read threshold'),
        ("dropout = 1.0", "dropout"),
    ],
)
def test_options_out_of_bounds_are_refused(colours, keys, message):
    competition = colours(f'[runs.net]\nmodel = "semi_probe"\nencoder = "given"\n{keys}')
    with pytest.raises(InputError, match=message):
        build_model(competition, competition.run("net"))
