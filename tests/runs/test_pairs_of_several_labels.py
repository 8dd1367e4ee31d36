"""Thresholds per class of heads: what chooses them for a fold saw none of its labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.folders import write

from kit.bench.noise import _as_chosen, _compare, _fix, _mean
from kit.config.reader import read_competition
from kit.core.errors import LeakFound
from kit.core.files import Workspace
from kit.data.images import Pool
from kit.data.prepared import Prepared
from kit.report.board import leaderboard
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.history.compare import compare
from kit.runs.history.entries import find_entry, kept_oof, list_entries
from kit.runs.store.result import Result, Thresholds
from kit.runs.store.score import apart_of
from kit.runs.verify import verify

N_LABELED, N_TEST = 120, 12
TOML = """
[competition]
title = "t"
task = "multilabel"
metric = "macro_f1"
[data]
root = "data"
labeled = "train"
test = "test"
[runs.plain]
model = "linear_probe"
encoder = "given"
[runs.strict]
model = "linear_probe"
encoder = "given"
C = 0.3
[runs.swept]
model = "linear_probe"
encoder = "given"
C = "nested"
[runs.forest]
model = "forest"
encoder = "given"
n_trees = 5
"""


@pytest.fixture
def heads(tmp_path):
    """Return a competition of rare labels that embeddings hint at: one half is too high a threshold for them."""
    draws, n = np.random.default_rng(0), N_LABELED + N_TEST
    labels = (draws.random((n, 3)) < (0.3, 0.2, 0.15)).astype(np.int8)
    values = draws.normal(size=(n, 8))
    values[:, :3] += 1.5 * labels
    write(tmp_path / "c/competition.toml", TOML)
    names = np.array([f"{i:03d}" for i in range(n)], dtype=object)
    splits = np.repeat(np.array(["labeled", "test"], dtype=object), [N_LABELED, N_TEST])
    pool = Pool(
        names, splits, names, names, np.arange(n), ("a", "b", "c"), tmp_path / "cache", tmp_path,
        embeddings=values, task="multilabel",
    )  # fmt: skip
    competition = read_competition(str(tmp_path / "c"), Workspace(tmp_path))
    folds = np.arange(N_LABELED) % 3
    return Prepared(competition, pool, np.arange(N_LABELED), labels[:N_LABELED], folds, (0, 1, 2))


def thresholds_of(result: Result) -> Thresholds:
    """Return the thresholds of a run, which must have some."""
    assert result.record.thresholds is not None
    return result.record.thresholds


def make_all(prepared):
    """Return two heads and the ensemble of them."""
    results = [crossval(prepared, name) for name in ("plain", "strict")]
    return [*results, ensemble(prepared, results)]


def test_the_thresholds_of_a_fold_do_not_change_with_its_labels(heads):
    here = (heads.folds == 0)[:, None]
    ours, theirs = (
        make_all(prepared) for prepared in (heads, dataclasses.replace(heads, labels=np.where(here, 1, heads.labels)))
    )
    for before, after in zip(ours, theirs, strict=True):
        first, second = thresholds_of(before), thresholds_of(after)
        assert first.nested == second.nested == "pairs" and min(first.per_fold["0"]) < 0.5
        assert first.per_fold["0"] == second.per_fold["0"] and first.values != second.values


def test_thresholds_are_derived_again_and_edited_ones_named(heads):
    results = make_all(heads)
    verify(heads, results)
    for result in (results[0], results[-1]):
        noted = thresholds_of(result).model_dump()
        edited = result.with_record(thresholds=noted | {"per_fold": noted["per_fold"] | {"0": [0.9] * 3}})
        with pytest.raises(LeakFound, match=f"{result.name}: run.json says other thresholds"):
            verify(heads, [*(each for each in results[:2] if each is not result), edited])


def test_two_runs_are_compared_by_the_thresholds_of_their_cvs(heads):
    plain, strict, combined = make_all(heads)
    for ours, theirs in ((plain, strict), (combined, plain)):
        found = compare(heads, *(find_entry(heads, list_entries(heads), each.record.key) for each in (ours, theirs)))
        assert found.difference == pytest.approx(ours.record.cv - theirs.record.cv) and not found.why_not
    home = heads.competition.workspace.runs(heads.competition.name)
    place = kept_oof(home, "strict", strict.record.key)
    place.parent.mkdir()
    (strict.folder / "oof.parquet").rename(place)  # as `clean` does
    (strict.folder / "run.json").unlink()
    found = compare(heads, *(find_entry(heads, list_entries(heads), each.record.key) for each in (plain, strict)))
    assert f"the thresholds of strict {strict.record.key[:8]} are chosen by its oof" in found.why_not


def test_what_bench_noise_holds_fixed_has_thresholds_chosen_as_the_runs_are(heads):
    plain, strict, combined = make_all(heads)
    assert _compare(heads, plain, _as_chosen(heads, plain), 0)[0] == 0
    even = _mean([_as_chosen(heads, each) for each in (plain, strict)], combined.predictions("oof"))
    assert even.apart is not None
    swept = crossval(heads, "swept")
    fixed = _fix(heads, swept)
    options = {name: value for name, value in swept.record.chosen["default"].items() if value is not None}
    run = heads.competition.run("plain").model_copy(update={"options": {"encoder": "given"} | options})
    competition = heads.competition.model_copy(update={"runs": heads.competition.runs | {"plain": run}})
    same = apart_of(heads, crossval(dataclasses.replace(heads, competition=competition), "plain"))
    assert fixed is not None and fixed.apart is not None and same is not None
    assert np.allclose(fixed.apart(0), same(0), atol=1e-4)


def test_a_model_without_pairs_and_an_ensemble_with_it_choose_thresholds_by_oof(heads):
    results = [crossval(heads, name) for name in ("plain", "forest")]
    results.append(ensemble(heads, results))
    assert [thresholds_of(result).nested for result in results] == ["pairs", "folds", "folds"]
    assert {row.run: row.nested for row in leaderboard(heads, results, {})} == {
        "plain": "pairs", "forest": "folds", "ensemble": "folds"
    }  # fmt: skip
    verify(heads, results)


def test_thresholds_of_another_day_are_chosen_anew_alike(heads):
    results = make_all(heads)
    for result in results:
        record = result.record.document | {"decision": "another"}
        (result.folder / "run.json").write_text(
            type(result.record).model_validate(record).model_dump_json(by_alias=True)
        )
    again = make_all(heads)
    assert [each.record.thresholds for each in again] == [each.record.thresholds for each in results]
