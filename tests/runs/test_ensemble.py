"""Ensemble: degenerate cases, optimality, nesting, and the uniform fallback."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.kaggle.submission.fill import fill_sample
from kit.runs.decide.decisions import decided_test
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import oof_rows
from kit.runs.verify import verify


@pytest.mark.parametrize("method", ["weights", "greedy"])
@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_an_ensemble_of_one_or_of_equal_members_is_that_one(colours, method, n_members):
    prepared = prepare(colours(changes=(f"ensemble.method={method}",)))
    one = crossval(prepared, "forest")  # whose certain zeros no logarithm may touch
    combined = ensemble(prepared, [replace(one, name=f"forest_{i}") for i in range(n_members)])
    assert combined.record.cv == one.record.cv and set(combined.record.temperatures.values()) == {1.0}
    for split in ("oof", "test"):
        theirs = one.predictions(split)
        assert np.array_equal(combined.predictions(split).at(theirs.ids).proba, theirs.proba)


def test_the_weights_of_a_fold_do_not_depend_on_its_labels(colours):
    prepared = prepare(colours())
    runs = [crossval(prepared, name) for name in ("forest", "svm")]
    before = ensemble(prepared, runs).predictions("oof")
    is_in_fold = prepared.folds == 0
    prepared.labels[is_in_fold] = (prepared.labels[is_in_fold] + 1) % 3
    after = ensemble(prepared, runs).predictions("oof")
    ids = prepared.pool.ids[prepared.labeled[is_in_fold]]
    assert (before.at(ids).proba == after.at(ids).proba).all()
    others = prepared.pool.ids[prepared.labeled[~is_in_fold]]
    assert (before.at(others).proba != after.at(others).proba).any()


def test_a_single_small_hold_out_is_combined(colours):
    prepared = prepare(colours(changes=("folds.use=[0]", "folds.n=5")))
    combined = ensemble(prepared, [crossval(prepared, name) for name in ("forest", "svm")])
    assert len(combined.predictions("oof")) == (prepared.folds == 0).sum()


def test_the_same_members_are_combined_once(colours):
    prepared = prepare(colours())
    runs = [crossval(prepared, "svm")]
    first, again = ensemble(prepared, runs), ensemble(prepared, runs)
    assert first.folder == again.folder and first.record.made == again.record.made


def test_no_member_is_refused(colours):
    with pytest.raises(InputError, match="no finished member"):
        ensemble(prepare(colours()), [])


def test_the_ensemble_of_several_labels_is_no_worse_than_its_members(forests):
    prepared, members = forests
    combined = ensemble(prepared, members)
    assert combined.predictions("test").task == "multilabel" and sum(combined.record.weights.values()) > 0.999
    assert verify(prepared, [combined])

    def loss(result):
        labels, proba = oof_rows(prepared, result.predictions("oof"))
        return -np.log(np.clip(np.where(labels == 1, proba, 1 - proba), 1e-7, 1)).mean()

    assert loss(combined) < min(map(loss, members)) + 0.01


@pytest.mark.parametrize("n_members", [1, 2])
def test_an_ensemble_of_one_member_or_of_equal_ones_says_and_sends_what_that_one_does(forests, n_members):
    prepared, (forest, _) = forests
    combined = ensemble(prepared, [replace(forest, name=f"forest_{i}") for i in range(n_members)])
    for split in ("oof", "test"):
        theirs = forest.predictions(split)
        assert np.array_equal(combined.predictions(split).at(theirs.ids).proba, theirs.proba)
    assert combined.record.thresholds == forest.record.thresholds and combined.record.cv == forest.record.cv
    ours, theirs = (fill_sample(prepared, decided_test(prepared, result)) for result in (combined, forest))
    assert ours.equals(theirs)
