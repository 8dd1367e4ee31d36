"""Rounds of pseudo labels: each a run of its own, dropped, skipped, compared, never leaking; refits are marked."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from support.clips import TINY_CLIP

import kit.runs.fit.fold
import kit.runs.pseudo.cores
import kit.runs.store.score
from kit.core.errors import LeakFound
from kit.core.files import read_json, write_json
from kit.data.prepared import Prepared, prepare
from kit.report.board import leaderboard, render_board
from kit.runs.fit.crossval import crossval
from kit.runs.pseudo.rounds import choose_for_fold, describe_end, finished_rounds
from kit.runs.seen import count_looks
from kit.runs.store import find_result, fold_folder
from kit.runs.store.find import rounds_of, teachers_of
from kit.runs.store.rounds import choose_rounds
from kit.runs.verify import verify
from kit.scoring.predictions import Predictions, read_predictions, write_predictions

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
MEMORISER = """
[runs.memoriser]
model = "memoriser"

[runs.student]
model = "memoriser"
use_test_images = true
pseudo = { teachers = ["memoriser"], keep_rate = 1.0 }
"""


pytestmark = pytest.mark.usefixtures("no_worse_is_kept")


def taught(pseudo: str = "", rest: str = "") -> str:
    return f'{SVM}\n[runs.taught]\nmodel = "svm"\npixels = 4\n{rest}\npseudo = {{ teachers = ["svm"]{pseudo} }}\n'


def train(competition) -> tuple[Prepared, list]:
    prepared = prepare(competition)
    return prepared, [crossval(prepared, name) for name in prepared.competition.runs]


def make_worse(result) -> None:
    oof = read_predictions(result.folder / "oof.parquet")
    write_predictions(result.folder / "oof.parquet", Predictions(oof.ids, oof.classes, oof.proba[:, [1, 2, 0]]))


def test_each_round_has_a_record_that_compares_it_with_the_last_one(colours):
    prepared, (_, whole) = train(colours(taught(", rounds = 2")))
    assert whole.name == "taught" and whole.record.rounds["kept"] == 2
    last = finished_rounds(prepared, "taught")[2]
    choice = last.record.pseudo_choice
    assert choice["before"]["contradicted"] == 0.0 and 0 < choice["before"]["agreement"] <= 1
    assert choice["n_chosen"] == pytest.approx(sum(choice["per_class"].values()))
    first = read_json(fold_folder(last.folder.parents[1] / "taught.1" / _key(last), 0) / "provenance.json")
    assert first["diary"]["before"] is None


def _key(last) -> str:
    return last.record.teachers["taught.1"]


def test_a_dropped_round_says_by_how_much(colours):
    prepared, (_, whole) = train(colours(taught(", rounds = 2")))
    assert describe_end(whole) == "all 2 rounds kept, +0.000 ± 0.000 against no pseudo labels"
    make_worse(finished_rounds(prepared, "taught")[2])
    shutil.rmtree(whole.folder)
    again = crossval(prepared, "taught")
    assert again.record.rounds["kept"] == 1
    assert "; round 2 dropped: -1.000 ± 0.000 against no pseudo labels" in describe_end(again)


def test_round_0_is_the_same_model_without_pseudo_labels_and_is_not_trained_twice(colours, capsys):
    prepared, (svm, _) = train(colours(taught(", rounds = 1")))
    base, first = finished_rounds(prepared, "taught")
    assert base.name == "taught.0" and base.record.pseudo is None and base.record.key == svm.record.key
    assert count_looks(prepared, 2).retired == 0  # rounds are parts of a run, none of other settings
    assert np.array_equal(base.predictions("oof").proba, svm.predictions("oof").proba)
    assert first.record.pseudo_choice["teachers"] == {"svm": 1.0}
    assert "taught.0: the settings of svm, whose predictions it has" in " ".join(capsys.readouterr().err.split())
    assert "copied from elsewhere" not in verify(prepared, [find_result(prepared, "taught")])[-1]  # it is in the log


def test_a_round_that_is_worse_than_its_base_is_not_kept_though_the_next_is_no_worse_than_it(colours):
    prepared, (_, whole) = train(colours(taught(", rounds = 2")))
    for result in finished_rounds(prepared, "taught")[1:]:
        make_worse(result)
    shutil.rmtree(whole.folder)
    again = crossval(prepared, "taught")
    assert again.record.rounds["kept"] == 0 and again.record.rounds["end"] == "dropped"
    assert describe_end(again).startswith("0 rounds kept; round 1 dropped: -1.000")
    base = finished_rounds(prepared, "taught")[0]
    for split in ("oof", "test", "unlabeled"):
        assert again.predictions(split).at(base.predictions(split).ids).proba == pytest.approx(
            base.predictions(split).proba
        )
    row = leaderboard(prepared, [again], {})[0]
    assert (row.round, row.over_base) == (0, None)


def test_how_many_rounds_a_fold_keeps_does_not_depend_on_its_labels(colours, monkeypatch):
    prepared, _ = train(colours(taught(", rounds = 1")))
    made = finished_rounds(prepared, "taught")
    teachers = teachers_of(prepared, list(rounds_of(prepared.competition.run("taught")))[1])
    monkeypatch.setattr("kit.runs.store.rounds.SURE", 0.75)
    draws = np.random.default_rng(0)
    for seed in range(20):
        oof = made[1].predictions("oof")
        noisy = draws.dirichlet(np.ones(3) * 0.5, len(oof.ids))
        write_predictions(made[1].folder / "oof.parquet", Predictions(oof.ids, oof.classes, noisy))
        before = choose_rounds(prepared, made, teachers)
        for fold in prepared.scored:
            labels = prepared.labels.copy()
            labels[prepared.folds == fold] = draws.integers(0, 3, (prepared.folds == fold).sum())
            after = choose_rounds(dataclasses.replace(prepared, labels=labels), made, teachers)
            assert after.per_fold[fold] == before.per_fold[fold], seed


def test_a_hopeless_teacher_has_no_say(colours, toys):
    runs = f'{SVM}\n[runs.chance]\nmodel = "memoriser"\n\n[runs.taught]\nmodel = "svm"\npixels = 4\n'
    both = 'pseudo = { teachers = ["svm", "chance"], strategy = "top_k", k = 2 }\n'
    prepared, _ = train(colours(runs + both))
    _, first = finished_rounds(prepared, "taught")
    assert first.record.pseudo_choice["teachers"] == {"svm": 1.0, "chance": 0.0}
    assert first.record.pseudo_choice["n_chosen"] > 0
    verify(prepared, [find_result(prepared, "taught")])


def test_a_forged_number_of_rounds_is_named(colours):
    prepared, (svm, whole) = train(colours(taught(", rounds = 1")))
    rounds = whole.record.rounds | {"kept": 0}
    write_json(whole.folder / "run.json", whole.record.document | {"rounds": rounds})
    with pytest.raises(LeakFound, match=r"taught: run\.json says that 0 rounds are kept"):
        verify(prepared, [svm, find_result(prepared, "taught")])


def test_a_first_round_that_keeps_nothing_is_the_run_on_labels_alone(colours, capsys):
    prepared, (svm, results) = train(colours(taught(', strategy = "threshold", threshold = 1.0, rounds = 3')))
    assert results.record.rounds == {
        "kept": 0,
        "per_fold": {"0": 0, "1": 0, "2": 0},
        "against_base": [],
        "chances": [],
        "end": "empty",
    }
    assert results.predictions("oof").proba == pytest.approx(svm.predictions("oof").proba)
    assert "nothing passes" in capsys.readouterr().err
    assert describe_end(results) == "0 rounds kept; round 1 skipped: nothing passes"
    assert [result.name for result in finished_rounds(prepared, "taught")] == ["taught.0"]
    verify(prepared, [svm, results])


def test_an_empty_pool_leaves_the_labels_alone_and_says_so(colours, capsys):
    competition = colours(taught())
    data = competition.data.model_copy(update={"unlabeled": None})
    _, (svm, results) = train(competition.model_copy(update={"data": data}))
    assert results.predictions("oof").proba == pytest.approx(svm.predictions("oof").proba)
    assert "the pool of unlabelled images is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ', strategy = "top_k", k = 2',
        ', strategy = "threshold", threshold = 0.4, weight = "confidence"',
        ', strategy = "adaptive", align = "labeled", align_strength = 0.5, total_weight = 1.0',
    ],
)
def test_every_strategy_is_derived_again_by_verify(colours, options):
    prepared, results = train(colours(taught(options)))
    assert "pseudo labels from the same folds' models" in verify(prepared, results)[2]


def test_cores_vouch_for_what_lies_near_a_centre_of_the_same_class(colours, clip_given):
    prepared, results = train(
        clip_given(', keep_rate = 1.0, cores = { encoder = "given", per_class = 1, share = 0.5 }')
    )
    verify(prepared, results)
    choice = results[1].record.pseudo_choice
    assert 0 < choice["n_chosen"] <= 0.75 * choice["n_pool"]


def test_cores_of_another_machine_are_not_derived_again_but_the_classes_that_were_taught_are(colours, monkeypatch):
    options = f', keep_rate = 1.0, cores = {{ encoder = "{TINY_CLIP}", per_class = 1, share = 0.5 }}'
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(kit.runs.store.score, "describe_machine", lambda: "colab, 1 GPU")
        prepared, results = train(colours(taught(options)))
    for file in (prepared.pool.cache / "features").iterdir():
        file.unlink()  # as on a machine that encodes anew
    monkeypatch.setattr(kit.runs.pseudo.cores, "_nearest", lambda clusters, *_: np.arange(len(clusters)) % 2 == 0)
    told = next(line for line in verify(prepared, results) if line.startswith("taught.1:"))
    assert "their classes alone: another machine" in told
    file = fold_folder(finished_rounds(prepared, "taught")[1].folder, 0) / "provenance.json"
    ledger = read_json(file)
    ledger["pseudo"]["codes"][0] = (ledger["pseudo"]["codes"][0] + 1) % 3
    write_json(file, ledger)
    with pytest.raises(LeakFound, match="1 pseudo labels are not of the classes that the teachers"):
        verify(prepared, results)


@pytest.fixture
def clip_given(colours, tmp_path):
    """Return a function that gives `colours` embeddings, of which one class is one cloud."""

    def make(options: str):
        competition = colours(taught(options))
        draws, table = np.random.default_rng(0), prepare(competition).pool
        colour = [sorted({"blue": 0, "green": 1, "red": 2}).index(_colour(path)) for path in table.paths]
        given = np.eye(3)[colour] + draws.normal(0, 0.1, (len(colour), 3))
        np.save(competition.root / "embeddings.npy", given.astype(np.float32))
        return colours(taught(options), data='embeddings = "embeddings.npy"')

    return make


def _colour(path: str) -> str:
    from PIL import Image

    return ["red", "green", "blue"][int(np.asarray(Image.open(path)).reshape(-1, 3).mean(axis=0).argmax())]


def test_teachers_that_saw_the_fold_inflate_a_students_score_and_verify_names_them(colours, toys, monkeypatch):
    honest = train(colours(MEMORISER))[1][1]
    assert honest.record.cv == pytest.approx(1 / 3, abs=0.2)
    prepared = prepare(colours(MEMORISER, ("runs.memoriser.bias=1.0",)))
    with monkeypatch.context() as leak:
        everything = prepared.pool.select(prepared.labeled, prepared.labels)
        leak.setattr(Prepared, "training", lambda self, fold: everything)
        crossval(prepared, "memoriser")
    leaking = crossval(prepared, "student")
    assert leaking.record.cv == 1.0
    with pytest.raises(LeakFound, match="memoriser fold 0: fitted on 6 images of its own fold"):
        verify(prepared, [leaking])


def test_pseudo_labels_from_another_folds_models_are_named(colours, monkeypatch):
    def leaking(prepared, name, plan, use_test_images, teachers, fold):
        return choose_for_fold(prepared, name, plan, use_test_images, teachers, (fold + 1) % 3)

    monkeypatch.setattr(kit.runs.fit.fold, "choose_for_fold", leaking)
    prepared, results = train(colours(taught(', strategy = "top_k", k = 2')))
    monkeypatch.undo()
    with pytest.raises(LeakFound, match="pseudo labels are not what the teachers' models of this fold give"):
        verify(prepared, results)


def test_the_leaderboard_says_why_rounds_ended_and_how_many_labels_are_right(colours):
    prepared, results = train(colours(taught(", keep_rate = 1.0, rounds = 2", "use_test_images = true")))
    row = {row.run: row for row in leaderboard(prepared, results, {})}["taught"]
    assert row.remarks == ("all 2 rounds kept, +0.000 ± 0.000 against no pseudo labels",)
    assert (row.round, row.over_base, row.over_base_se) == (2, 0.0, 0.0)
    assert 0 < row.pseudo_precision <= 1
    assert "taught: all 2 rounds kept" in render_board(prepared, [row], 200).caption


def test_a_refit_sends_one_model_and_is_marked(colours):
    prepared, (svm, results) = train(colours(taught("", "refit = true")))
    assert results.record.refit and not svm.record.refit
    mean = np.mean([results.fold_predictions(fold, "test").proba for fold in prepared.scored], axis=0)
    assert np.abs(results.predictions("test").proba - mean).max() > 1e-5
    ledger = read_json(results.folder / "refit" / "provenance.json")
    assert len(ledger["labeled"]) == len(prepared.labeled) and ledger["pseudo"]["ids"]
    assert "whose CV is not measured" in verify(prepared, [svm, results])[2]
    assert "CV not measured" in render_board(prepared, leaderboard(prepared, [svm, results], {}), 200).caption


def test_a_refit_leaves_the_folds_as_they_are(colours):
    oof = [train(colours(taught("", rest)))[1][1].predictions("oof").proba for rest in ("", "refit = true")]
    assert np.array_equal(*oof)


def test_a_forged_refit_is_named(colours):
    prepared, (svm, results) = train(colours(taught("", "refit = true")))
    test = results.predictions("test")
    write_predictions(results.folder / "test.parquet", Predictions(test.ids, test.classes, test.proba[::-1]))
    with pytest.raises(LeakFound, match="not what the model that was fitted on everything says"):
        verify(prepared, [svm, results])
