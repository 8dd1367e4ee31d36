"""Pairs of folds: what chooses for a fold saw none of its labels."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.noise import N_DRAWS, NearestColumn, noisy_rows, optimism

from kit.core.errors import DamagedFile
from kit.data.images import names_of
from kit.data.prepared import prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store.build import build_model
from kit.runs.store.pairs import Pairs, list_pairs, pair_folder, read_pairs, wants_pairs
from kit.runs.verify import verify

PROBES = """
[runs.probe]
model = "linear_probe"
encoder = "given"
C = "nested"
[runs.flowing]
model = "linear_probe"
encoder = "given"
smooth = 0.5
[runs.forest]
model = "forest"
pixels = 4
n_trees = 5
"""


@pytest.fixture
def given(embedded):
    return prepare(embedded(PROBES))


def relabel(prepared, fold):
    """Return a competition in which every label of a fold is another."""
    labels = np.where(prepared.folds == fold, (prepared.labels + 1) % 3, prepared.labels)
    return dataclasses.replace(prepared, labels=labels)


def test_a_pairs_model_learned_from_the_images_of_neither_fold(given):
    result = crossval(given, "probe")
    for pair in list_pairs(given):
        ledger = json.loads((pair_folder(result.folder, *pair) / "provenance.json").read_text())
        outside = given.pool.select(given.labeled[~np.isin(given.folds, pair)])
        assert ledger["labeled"] == list(names_of(outside))


def test_what_chooses_for_a_fold_does_not_change_with_its_labels(given):
    fold = given.scored[0]
    ours, theirs = crossval(given, "probe"), crossval(relabel(given, fold), "probe")
    for other in given.scored[1:]:
        first, second = (Pairs(given, result.folder).sweep(other, fold) for result in (ours, theirs))
        assert np.array_equal(first, second)
    assert ours.record.chosen["per_fold"][str(fold)] == theirs.record.chosen["per_fold"][str(fold)]
    assert ours.record.nested == theirs.record.nested == "pairs"


def test_a_killed_run_goes_on_at_the_next_pair(given):
    result = crossval(given, "probe")
    first, second, *_ = [pair_folder(result.folder, *pair) for pair in list_pairs(given)]
    (result.folder / "run.json").unlink()
    shutil.rmtree(second)
    kept = (first / "fitted.json").stat().st_mtime_ns
    assert crossval(given, "probe").record.chosen == result.record.chosen
    assert (first / "fitted.json").stat().st_mtime_ns == kept and (second / "fitted.json").exists()


def test_a_cut_sweep_of_a_pair_is_named(given):
    result = crossval(given, "probe")
    path = pair_folder(result.folder, *list_pairs(given)[0]) / "sweep.npy"
    np.save(path, np.load(path)[:, 1:])
    with pytest.raises(DamagedFile, match=r"sweep\.npy: has shape"):
        Pairs(given, result.folder).sweep(*list_pairs(given)[0])


def test_an_ensemble_of_heads_learns_its_weights_apart_and_one_with_a_forest_does_not(given):
    heads = [crossval(given, name) for name in ("probe", "flowing")]
    assert ensemble(given, heads).record.nested == "pairs"
    assert ensemble(given, [*heads, crossval(given, "forest")]).record.nested == "folds"


def test_the_weights_of_a_fold_do_not_change_with_its_labels(given):
    fold = given.scored[0]
    mixed = []
    for prepared in (given, relabel(given, fold)):
        members = [crossval(prepared, name) for name in ("probe", "flowing")]
        mixed.append(ensemble(prepared, members).predictions("oof"))
    ids = given.pool.ids[given.labeled[given.folds == fold]]
    assert np.array_equal(*(oof.at(ids).proba for oof in mixed))


def test_a_refit_that_heads_teach_weighs_them_on_all_oof(embedded):
    taught = 'refit = true\npseudo = { teachers = ["probe", "flowing"], keep_rate = 1.0 }'
    given = prepare(embedded(f'{PROBES}[runs.taught]\nmodel = "linear_probe"\nencoder = "given"\n{taught}'))
    results = [crossval(given, name) for name in ("probe", "flowing", "taught")]
    assert (results[-1].folder / "refit" / "test.parquet").exists()
    verify(given, results)


def test_pairs_are_left_out_where_they_would_take_too_long(given):
    probe, flowing, forest = (given.competition.run(name) for name in ("probe", "flowing", "forest"))
    models = [build_model(given.competition, run) for run in (probe, flowing, forest)]
    assert [wants_pairs(given, run, model) for run, model in zip((probe, flowing, forest), models, strict=True)] == [
        True, True, False
    ]  # fmt: skip
    many = np.repeat(np.flatnonzero(given.pool.splits == "unlabeled"), 10_000)
    pool = dataclasses.replace(
        given.pool,
        **{
            name: np.concatenate([getattr(given.pool, name), getattr(given.pool, name)[many]])
            for name in ("ids", "splits", "paths", "digests", "groups")
        },
        embeddings=None,
    )
    crowded = dataclasses.replace(given, pool=pool)
    assert not wants_pairs(crowded, flowing, models[1]) and wants_pairs(crowded, probe, models[0])


def test_a_run_without_all_pairs_has_none(given):
    result = crossval(given, "probe")
    assert read_pairs(given, result.folder) is not None
    (pair_folder(result.folder, *list_pairs(given)[0]) / "fitted.json").unlink()
    assert read_pairs(given, result.folder) is None


def test_on_noise_pairs_choose_without_optimism_and_oof_does_not(given):
    gains = np.array([optimism(noisy_rows(given, draw), NearestColumn) for draw in range(N_DRAWS)])
    by_folds, by_pairs = gains.mean(axis=0) / (gains.std(axis=0, ddof=1) / np.sqrt(N_DRAWS))  # in standard errors
    assert by_folds > 3 and abs(by_pairs) <= 2
