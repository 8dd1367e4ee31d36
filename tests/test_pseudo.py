"""Pseudo labels: the same number per class, agreement, order does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from kit.competition import PseudoPlan
from kit.predictions import Predictions
from kit.pseudo import choose_pseudo_labels


def teacher(seed: int, n_images: int = 300, n_classes: int = 4) -> Predictions:
    draws = np.random.default_rng(seed)
    alpha = np.array([8.0, 2.0, 1.0, 1.0])  # easy classes and hard ones
    ids = np.array([f"{i:04d}" for i in range(n_images)], dtype=object)
    return Predictions(ids, tuple("abcd"), draws.dirichlet(alpha, n_images))


def plan(**keys: object) -> PseudoPlan:
    return PseudoPlan(teachers=["x"], **keys)


def test_every_class_gets_at_most_its_quota_and_easy_classes_no_more():
    chosen = choose_pseudo_labels([teacher(0)], plan(keep_rate=0.2))
    counts = np.bincount(chosen.codes, minlength=4)
    assert counts.max() == 15 == chosen.diary["quota_per_class"]
    assert counts[0] == 15


def test_the_most_confident_of_a_class_are_chosen():
    own = teacher(0)
    chosen = choose_pseudo_labels([own], plan(keep_rate=0.2))
    codes = own.proba.argmax(axis=1)
    left = ~np.isin(own.ids, chosen.ids) & (codes == 0)
    assert chosen.confidence[chosen.codes == 0].min() >= own.proba[left, 0].max()


def test_all_teachers_must_agree():
    teachers = [teacher(0), teacher(1)]
    chosen = choose_pseudo_labels(teachers, plan(keep_rate=1.0))
    for own in teachers:
        assert (own.at(chosen.ids).proba.argmax(axis=1) == chosen.codes).all()
    loose = choose_pseudo_labels(teachers, plan(keep_rate=1.0, agree=False))
    assert len(loose.ids) > len(chosen.ids)
    assert chosen.diary["agreement"] < 1


def test_the_order_of_rows_does_not_matter():
    own = teacher(0)
    turned = own.at(own.ids[::-1])
    first, second = (choose_pseudo_labels([one], plan()) for one in (own, turned))
    assert dict(zip(first.ids, first.codes, strict=True)) == dict(zip(second.ids, second.codes, strict=True))


def test_an_empty_pool_gives_no_pseudo_labels():
    empty = Predictions([], tuple("abcd"), np.zeros((0, 4)))
    chosen = choose_pseudo_labels([empty], plan())
    assert len(chosen.ids) == 0 and chosen.diary["n_chosen"] == 0


def test_a_class_that_no_teacher_names_is_zero_in_the_diary():
    own = teacher(0)
    proba = own.proba.copy()
    proba[:, 3] = 0
    never = Predictions(own.ids, own.classes, proba / proba.sum(axis=1, keepdims=True))
    assert choose_pseudo_labels([never], plan()).diary["per_class"]["d"] == 0


@pytest.mark.parametrize("keep_rate", [0.1, 0.5, 1.0])
def test_the_diary_tells_what_was_kept(keep_rate):
    chosen = choose_pseudo_labels([teacher(0)], plan(keep_rate=keep_rate))
    assert chosen.diary["n_chosen"] == len(chosen.ids) == sum(chosen.diary["per_class"].values())
    assert chosen.diary["keep_rate"] <= keep_rate + 0.02
