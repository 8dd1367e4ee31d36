"""Pseudo labels: strategies, prior, agreement, weights, record; order does not matter."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from pydantic import ValidationError

from kit.config.runs import PseudoPlan
from kit.runs.pseudo import choose_pseudo_labels
from kit.runs.pseudo.opinion import scale_to_prior
from kit.runs.pseudo.record import average_records, compare_rounds, describe_balance, list_remarks
from kit.scoring.predictions import Predictions

CLASSES = tuple("abcd")


def teacher(seed: int, n_images: int = 300) -> Predictions:
    draws = np.random.default_rng(seed)
    alpha = np.array([2.0, 1.2, 0.8, 0.5])  # easy classes and hard ones
    ids = np.array([f"{i:04d}" for i in range(n_images)], dtype=object)
    return Predictions(ids, CLASSES, draws.dirichlet(alpha, n_images))


def predictions_of(proba: np.ndarray) -> Predictions:
    return Predictions([f"{i:04d}" for i in range(len(proba))], CLASSES, proba / proba.sum(axis=1, keepdims=True))


def plan(**keys: object) -> PseudoPlan:
    return PseudoPlan(teachers=["x"], **keys)


def test_every_class_gets_at_most_its_quota_and_easy_classes_no_more():
    chosen = choose_pseudo_labels([teacher(0)], plan(keep_rate=0.2))
    counts = np.bincount(chosen.codes, minlength=4)
    assert counts.max() == 15 == chosen.record["quota_per_class"]
    assert counts[0] == 15


def test_the_most_confident_of_a_class_are_chosen():
    predictions = teacher(0)
    chosen = choose_pseudo_labels([predictions], plan(keep_rate=0.2))
    left = ~np.isin(predictions.ids, chosen.ids) & (predictions.proba.argmax(axis=1) == 0)
    assert chosen.confidence[chosen.codes == 0].min() >= predictions.proba[left, 0].max()


def test_all_teachers_must_agree():
    teachers = [teacher(0), teacher(1)]
    chosen = choose_pseudo_labels(teachers, plan(keep_rate=1.0))
    for predictions in teachers:
        assert (predictions.at(chosen.ids).proba.argmax(axis=1) == chosen.codes).all()
    loose = choose_pseudo_labels(teachers, plan(keep_rate=1.0, agree=False))
    assert len(loose.ids) > len(chosen.ids)
    assert chosen.record["agreement"] < 1


@pytest.mark.parametrize(
    "options",
    [{}, {"strategy": "top_k"}, {"strategy": "threshold", "threshold": 0.6}, {"strategy": "adaptive"}],
    ids=["balanced", "top_k", "threshold", "adaptive"],
)
def test_the_order_of_rows_does_not_matter(options):
    predictions = teacher(0)
    first, second = (
        choose_pseudo_labels([one], plan(**options)) for one in (predictions, predictions.at(predictions.ids[::-1]))
    )
    assert dict(zip(first.ids, first.codes, strict=True)) == dict(zip(second.ids, second.codes, strict=True))


def test_a_threshold_keeps_all_that_reach_it_and_nothing_else():
    predictions = teacher(0)
    chosen = choose_pseudo_labels([predictions], plan(strategy="threshold", threshold=0.7))
    assert set(chosen.ids) == set(predictions.ids[predictions.proba.max(axis=1) >= 0.7])


def test_top_k_takes_k_of_each_class_whatever_the_size_of_the_pool():
    chosen = choose_pseudo_labels([teacher(0)], plan(strategy="top_k", k=5))
    assert np.bincount(chosen.codes).tolist() == [5, 5, 5, 5]


def test_top_k_takes_what_there_is_and_says_so():
    chosen = choose_pseudo_labels([teacher(0, 40)], plan(strategy="top_k", k=30))
    assert len(chosen.ids) == 40
    remarks = list_remarks(average_records([chosen.record]), plan(strategy="top_k", k=30).model_dump())
    counts = ", ".join(f"{name} ({n})" for name, n in chosen.record["per_class"].items())
    assert remarks == [f"fewer images than the 30 asked for in {counts}: all there are were taken"]


def test_adaptive_thresholds_are_lower_for_classes_that_are_named_rarely():
    predictions = teacher(0)
    chosen = choose_pseudo_labels([predictions], plan(strategy="adaptive"))
    thresholds = chosen.record["thresholds"]
    mean = predictions.proba.mean(axis=0)
    assert thresholds["a"] == pytest.approx(predictions.proba.max(axis=1).mean(), abs=1e-3)
    assert thresholds["d"] == pytest.approx(thresholds["a"] * mean[3] / mean[0], abs=1e-3)


def test_adaptive_thresholds_are_one_where_all_classes_are_alike():
    proba = np.tile([0.7, 0.1, 0.1, 0.1], (40, 1))
    predictions = predictions_of(np.stack([np.roll(row, i % 4) for i, row in enumerate(proba)]))
    assert set(choose_pseudo_labels([predictions], plan(strategy="adaptive")).record["thresholds"].values()) == {0.7}


def test_alignment_moves_the_mean_towards_the_prior():
    proba = teacher(0).proba
    prior = np.full(4, 0.25)
    ahead = np.abs(proba.mean(axis=0) - prior).sum()
    half, whole = (scale_to_prior(proba, prior, np.arange(4), strength).mean(axis=0) for strength in (0.5, 1.0))
    assert np.abs(whole - prior).sum() < np.abs(half - prior).sum() < ahead


def test_a_prior_that_the_teachers_follow_already_changes_nothing():
    proba = teacher(0).proba
    assert scale_to_prior(proba, proba.mean(axis=0), np.arange(4)) == pytest.approx(proba, abs=1e-6)


def test_weights_are_a_number_or_the_confidence():
    assert set(choose_pseudo_labels([teacher(0)], plan(weight=0.5)).weights) == {0.5}
    chosen = choose_pseudo_labels([teacher(0)], plan(weight="confidence"))
    assert chosen.weights == pytest.approx(chosen.confidence)


def test_a_total_weight_is_counted_in_real_labels_and_shared_by_confidence(make_labeled):
    labeled = make_labeled(12)
    chosen = choose_pseudo_labels([teacher(0)], plan(weight="confidence", total_weight=2.0), labeled)
    assert chosen.weights.sum() == pytest.approx(24.0, rel=1e-5)
    assert chosen.weights / chosen.weights[0] == pytest.approx(chosen.confidence / chosen.confidence[0], rel=1e-5)


@pytest.fixture
def make_labeled(tmp_path):
    from support.pools import make_pool

    def make(n_images: int):
        pool = make_pool(tmp_path, n_images)
        return pool.select(np.arange(n_images), np.arange(n_images) % 3)

    return make


def test_an_empty_pool_gives_no_pseudo_labels_and_says_so():
    empty = Predictions([], CLASSES, np.zeros((0, 4)))
    for strategy in ("balanced", "top_k", "threshold", "adaptive"):
        chosen = choose_pseudo_labels([empty], plan(strategy=strategy))
        assert len(chosen.ids) == 0 and chosen.record["n_chosen"] == 0
        remarks = list_remarks(average_records([chosen.record]), plan(strategy=strategy).model_dump())
        assert "the pool of unlabelled images is empty" in remarks[0]


def test_a_threshold_that_keeps_nothing_says_so():
    high = plan(strategy="threshold", threshold=1.0)
    chosen = choose_pseudo_labels([teacher(0)], high)
    assert len(chosen.ids) == 0
    remarks = list_remarks(average_records([chosen.record]), high.model_dump())[0]
    assert remarks.startswith("nothing passes")
    assert remarks.endswith(f"the surest has a probability of {teacher(0).proba.max():.3f}: lower threshold")


def test_teachers_that_never_agree_say_what_lets_labels_pass():
    first, second = np.eye(4)[np.arange(8) % 4], np.eye(4)[(np.arange(8) + 1) % 4]
    chosen = choose_pseudo_labels([predictions_of(first), predictions_of(second)], plan(agree=True))
    assert len(chosen.ids) == 0
    assert list_remarks(average_records([chosen.record]), plan().model_dump())[0].endswith("set agree = false")


def test_a_class_that_no_teacher_names_is_lifted_to_its_prior_and_named():
    proba = teacher(0).proba.copy()
    proba[:, 3] *= 0.01
    chosen = choose_pseudo_labels([predictions_of(proba)], plan())
    assert chosen.record["lifted"] == ["d"]
    assert chosen.record["per_class"]["d"] > 0
    assert "no teacher ever names d" in list_remarks(average_records([chosen.record]), plan().model_dump())[0]


def test_a_class_without_any_probability_stays_without_images():
    proba = teacher(0).proba.copy()
    proba[:, 3] = 0
    chosen = choose_pseudo_labels([predictions_of(proba)], plan())
    assert chosen.record["per_class"]["d"] == 0 and chosen.record["lifted"] == ["d"]


@pytest.mark.parametrize("keep_rate", [0.1, 0.5, 1.0])
def test_the_record_tells_what_was_kept(keep_rate):
    chosen = choose_pseudo_labels([teacher(0)], plan(keep_rate=keep_rate))
    assert chosen.record["n_chosen"] == len(chosen.ids) == sum(chosen.record["per_class"].values())
    assert chosen.record["keep_rate"] <= keep_rate + 0.02


def test_the_record_compares_with_the_last_round():
    predictions = teacher(0)
    before = choose_pseudo_labels([predictions], plan(keep_rate=0.2))
    same = choose_pseudo_labels(
        [predictions], plan(keep_rate=0.2), before=dict(zip(before.ids, before.codes, strict=True))
    )
    assert same.record["before"] == {"overlap": 1.0, "agreement": 1.0, "contradicted": 0.0}


def test_rounds_differ_by_overlap_agreement_and_contradiction():
    before, now = {"a": 0, "b": 1, "c": 1, "d": 0}, {"a": 0, "b": 0, "e": 1}
    today = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1}
    assert compare_rounds(now, before, today) == {"overlap": 0.5, "agreement": 0.5, "contradicted": 0.5}
    assert compare_rounds({}, {}, {}) == {"overlap": None, "agreement": None, "contradicted": None}


def test_balance_goes_from_one_class_alone_to_all_alike():
    assert describe_balance(np.array([5, 5, 5, 5])) == {"max_to_min": 1.0, "entropy": 1.0}
    assert describe_balance(np.array([9, 0, 0, 0])) == {"max_to_min": None, "entropy": 0.0}
    assert describe_balance(np.zeros(4)) == {"max_to_min": None, "entropy": None}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threshold": 0.9}, 'threshold is read by strategy = "threshold" alone'),
        ({"strategy": "top_k", "keep_rate": 0.3}, 'keep_rate is read by strategy = "balanced" alone'),
        ({"k": 4}, 'k is read by strategy = "top_k" alone'),
        ({"align_strength": 0.5}, "align_strength is read with align"),
        ({"weight": "sure"}, "weight"),
        ({"strategy": "best"}, "strategy"),
    ],
)
def test_options_that_nobody_reads_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        plan(**options)


def test_choosing_from_a_large_pool_is_fast_and_small():
    n_images, n_classes = 300_000, 48
    proba = np.random.default_rng(0).random((n_images, n_classes), dtype=np.float32)
    proba /= proba.sum(axis=1, keepdims=True)
    predictions = Predictions(
        [f"unlabeled/{i:06d}" for i in range(n_images)], [f"c{i}" for i in range(n_classes)], proba
    )
    started = time.process_time()
    choose_pseudo_labels([predictions], plan())
    assert time.process_time() - started < 2  # seconds of the processor: a busy machine must not fail it
    tracemalloc.start()
    choose_pseudo_labels([predictions], plan(align="uniform"))
    assert tracemalloc.get_traced_memory()[1] < 500 * 2**20
    tracemalloc.stop()
