"""Tuning: the space is checked first, no trial is lost, and what it is worth is measured on other folds."""

from __future__ import annotations

import json
import shutil
import signal
import tomllib
import typing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ConfigDict, TypeAdapter
from support.toys import DIAL, Dialled
from support.warm import Warm

from kit.config.reader import read_competition
from kit.core.deadline import set_deadline
from kit.core.errors import InputError, NodeLost, TeacherMissing, TimeIsUp
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.models import MODELS
from kit.models.search import Between, OneOf
from kit.runs.clean import list_removable
from kit.runs.fit.crossval import crossval
from kit.runs.store.find import run_key
from kit.runs.tuning import read_space, render, study, study_folder, tune
from kit.runs.tuning.honest import choose_apart, fresh_folds
from kit.runs.tuning.report import write_run
from kit.runs.tuning.setting import change, read_oof, score_folds
from kit.runs.tuning.space import ends
from kit.scoring.predictions import Predictions, write_predictions

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
LOG_LOSS = ('competition.metric="log_loss"',)
pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def dialled(colours):
    """Prepare a competition whose log-loss falls as the one searched value, of a run without luck, rises."""
    return prepare(colours(DIAL, LOG_LOSS))


def space_of(colours, search: str, run: str = SVM):
    competition = colours(f"{run}search = {search}\n" if search else run)
    (only,) = competition.runs.values()
    return read_space(competition, only)


def parts(hint):
    yield hint
    for part in typing.get_args(hint):
        yield from parts(part)


def folder_of(prepared, name: str) -> Path:
    run = prepared.competition.run(name)
    return study_folder(prepared, run, read_space(prepared.competition, run))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_a_model_declares_lies_within_its_own_limits(name):
    hints = typing.get_type_hints(MODELS[name], include_extras=True)
    declared = {
        field.name: part
        for field in fields(MODELS[name])
        for part in parts(hints[field.name])
        if isinstance(part, Between | OneOf)
    }
    assert declared
    for field, dimension in declared.items():
        for value in ends(dimension):
            TypeAdapter(hints[field], config=ConfigDict(strict=True)).validate_python(value)
        assert dimension.needs is None or dimension.needs in hints


def test_the_trials_that_a_cluster_begins_ahead_are_those_that_follow(dialled, monkeypatch):
    begun, waiting = [], []
    monkeypatch.setattr(study, "is_remote", lambda: True)
    monkeypatch.setattr(study, "begin_setting", lambda prepared, run, home: begun.append(run.options["dial"]))
    monkeypatch.setattr(study, "cancel_setting", lambda prepared, run, home: waiting.append(run.options["dial"]))
    run = dialled.competition.run("dialled")
    space = read_space(dialled.competition, run)
    trials = study.search(dialled, run, space, folder_of(dialled, "dialled"), 12)
    assert [trial.options["dial"] for trial in trials][: study.N_RANDOM] == begun == waiting
    again = study.search(dialled, run, space, folder_of(dialled, "dialled"), 13)
    assert len(again) == 13 and len(begun) == study.N_RANDOM  # scores decide all that follow


def test_without_a_search_table_the_declared_space_is_searched(colours):
    assert space_of(colours, "") == {
        "kernel": OneOf(("rbf", "linear")),
        "C": Between(1e-2, 1e3, log=True),
    }


def test_a_search_table_takes_the_place_of_what_is_declared(colours):
    space = space_of(colours, "{ C = { low = 1, high = 10.0 }, pixels = [4, 8] }")
    assert space == {"C": Between(1, 10.0), "pixels": OneOf((4, 8))}


def test_what_is_chosen_nested_or_not_read_is_not_searched(colours):
    probe = '[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'
    assert list(space_of(colours, "", probe)) == ["C"]  # pull and prior are those of words, smooth is off
    assert list(space_of(colours, "", probe + 'prompts = "names"\nprior = 0.5\n')) == ["prior", "C", "pull"]
    whitened = probe + 'whiten = 0.5\nprompts = "names"\nprior = 0.5\n'
    assert list(space_of(colours, "", whitened)) == ["prior", "power", "whiten", "C"]  # pull reads features as they are
    with pytest.raises(InputError, match=r"nothing to search .* name fields and what to try"):
        space_of(colours, "", probe + 'C = "nested"\n')


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ("{ C = { low = -1.0, high = 3.0 } }", r"-1.0 lies outside the limits of C \(.* greater than 0"),
        (
            "{ pixels = { low = 4, high = 999 } }",
            r"999 lies outside the limits of pixels \(.* equal to 256",
        ),
        (
            '{ kernel = ["rbf", "poly"] }',
            r"'poly' lies outside the limits of kernel \(.*'rbf' or 'linear'",
        ),
        ("{ Cs = [1.0, 2.0] }", "model 'svm' has no field 'Cs' to search; did you mean 'C'"),
        ("{ seed = [1, 2] }", "no field 'seed' to search"),
        ("{ C = { low = 3.0, high = 1.0 } }", "low must be below high"),
        ("{ C = { low = 0.0, high = 1.0, log = true } }", "raise low, or drop log"),
        ("{ C = { low = 1.0, hihg = 3.0 } }", "write { low = 1e-6, high = 1e-3, log = true }, or a list"),
        ("{ C = { low = 1.0, high = inf } }", "finite numbers"),
        ("{ C = [1.0] }", "two or more different values"),
        ("{ pixels = { low = 4.5, high = 8 } }", "takes whole numbers"),
        ("{ C = 3.0 }", "or a list of values"),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_table_field_and_remedy(colours, search, complaint):
    with pytest.raises(InputError, match=rf"\[runs\.svm\.search\].*{complaint}"):
        space_of(colours, search)


def test_the_first_trial_is_the_run_itself_and_scores_what_train_prints(colours):
    prepared = prepare(colours(SVM))
    tuned = tune(prepared, "svm", 1)
    assert tuned.trials[0].options == {"kernel": "rbf", "C": 10.0}
    assert tuned.trials[0].score == crossval(prepared, "svm").record.cv


def test_with_several_labels_per_image_thresholds_are_nested_as_train_does(tmp_path):
    draws, rows = np.random.default_rng(0), []
    for i in range(16):
        is_red, is_bright = i % 2, i // 2 % 2
        pixels = draws.integers(0, 60, (24, 24, 3)) + 80 * is_bright + np.array([90, 0, 0]) * is_red
        (tmp_path / "data/images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"data/images/{i:02d}.png")
        rows.append(f"{i:02d}," + ";".join(["red"] * is_red + ["bright"] * is_bright))
    (tmp_path / "data/train.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    (tmp_path / "comp").mkdir()
    (tmp_path / "comp/competition.toml").write_text(
        '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[data]\nroot = "data"\n'
        'labeled = { csv = "train.csv", images = "images" }\n[folds]\nn = 2\n'
        '[runs.forest]\nmodel = "forest"\nn_trees = 5\nmax_depth = 2\nsearch = { max_depth = [2, 8] }\n'
    )
    prepared = prepare(read_competition(str(tmp_path / "comp"), Workspace(tmp_path)))
    tuned = tune(prepared, "forest", 2)
    assert tuned.trials[0].score == pytest.approx(crossval(prepared, "forest").record.cv)
    assert tuned.comparison.seed is not None and tuned.metric == "macro_f1"


def test_a_swept_setting_scores_what_train_prints(colours):
    """Of the last score; before, fewer folds choose the swept value."""
    prepared = prepare(colours('[runs.dialled]\nmodel = "dialled"\n', LOG_LOSS))
    *_, last = score_folds(prepared, prepared.competition.run("dialled"), prepared.pool.cache / "fits")
    assert last == pytest.approx(crossval(prepared, "dialled").record.cv, rel=1e-6)


def test_the_search_finds_the_better_values_and_gives_hopeless_ones_up(dialled):
    tuned = tune(dialled, "dialled", 20)
    assert len(tuned.trials) == 20 and {trial.state for trial in tuned.trials} == {"complete", "pruned"}
    assert tuned.options["dial"] > 0.8 and tuned.verdict == "tuning helped"
    assert tuned.best[0] == min(trial.score or 0.0 for trial in tuned.trials if trial.state == "complete")
    assert tuned.comparison.difference > 0 and tuned.comparison.is_distinguishable


def test_more_trials_go_on_where_fewer_ended(dialled, tmp_path):
    tune(dialled, "dialled", 4)
    assert tune(dialled, "dialled", 2).trials == tune(dialled, "dialled", 4).trials  # nothing is taken back
    together = tune(dialled, "dialled", 7).trials
    shutil.rmtree(tmp_path / "runs" / "colours" / "tune")
    assert tune(dialled, "dialled", 7).trials == together


def test_a_killed_search_goes_on_without_losing_a_trial(colours, tmp_path):
    competition = colours(SVM)
    prepare(competition)
    shutil.copytree(tmp_path, tmp_path.with_name("undisturbed"))
    code = (
        "import os, signal, sys\n"
        "seen = set()\n"
        "def watch(event, args):\n"  # in the fourth setting's second fold
        "    if event == 'open' and '.fold_1.npy.' in str(args[0]) and args[0] not in seen:\n"
        "        seen.add(str(args[0])) or len(seen) == 4 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(watch); from kit.cli import main; main()"
    )
    child = Warm(code, "tune", "colours", "svm", "--trials", "6", "--workspace", str(tmp_path))
    _, stderr = child.communicate()
    assert child.returncode == -signal.SIGKILL, stderr
    (killed,) = running(tmp_path)
    resumed = tune(prepare(competition), "svm", 6)
    undisturbed = read_competition("colours", Workspace(tmp_path.with_name("undisturbed")))
    assert resumed.trials == tune(prepare(undisturbed), "svm", 6).trials
    near = pytest.approx(killed["C"], rel=1e-2)
    assert len(resumed.trials) == 6 and near in [trial.options["C"] for trial in resumed.trials]
    assert running(tmp_path) == []


def running(workspace: Path) -> list[dict]:
    import optuna

    (file,) = workspace.glob("runs/colours/tune/svm/*/study.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    trials = optuna.load_study(study_name="tune", storage=storage).get_trials(states=[optuna.trial.TrialState.RUNNING])
    storage.engine.dispose()
    return [trial.params for trial in trials]


def test_trials_of_other_folds_data_spaces_or_seeds_do_not_mix(colours):
    prepared = prepare(colours(DIAL))
    other = [prepare(colours(DIAL, (change,))) for change in (*LOG_LOSS, "runs.dialled.seed=1")]
    other.append(prepare(colours(DIAL.replace("0.9", "0.8"))))
    other.append(fresh_folds(prepared)[1])
    assert len({folder_of(state, "dialled") for state in (prepared, *other)}) == 5


def test_pasting_what_was_found_does_not_begin_anew(colours):
    assert folder_of(prepare(colours(DIAL)), "dialled") == folder_of(
        prepare(colours(DIAL, ("runs.dialled.dial=0.7",))), "dialled"
    )


def test_what_is_printed_is_the_run_that_was_scored(colours):
    competition = colours(SVM + "bags = 2\nuse_test_images = true\n")
    run = competition.run("svm")
    table = tomllib.loads(write_run(run, {"C": 1e-05, "kernel": "linear"}))["runs"]["svm_tuned"]
    assert table == {
        "model": "svm", "pixels": 4, "C": 1e-05, "kernel": "linear", "use_test_images": True, "bags": 2,
    }  # fmt: skip
    pasted = colours(SVM + "\n" + write_run(run, {"C": 1e-05, "kernel": "linear"})).run("svm_tuned")
    prepared = prepare(competition)
    assert run_key(prepared, pasted) == run_key(prepared, change(run, {"C": 1e-05, "kernel": "linear"}))


def test_a_run_with_teachers_is_printed_with_its_pseudo_labels(colours):
    pseudo = 'pseudo = { teachers = ["svm"], cores = { encoder = "given" } }\n'
    run = colours(SVM + SVM.replace("svm]", "student]") + pseudo).run("student")
    table = tomllib.loads(write_run(run, {}))["runs"]["student_tuned"]
    assert table["pseudo"] == {"teachers": ["svm"], "cores": {"encoder": "given"}}


def test_a_run_with_teachers_needs_them_trained_and_is_compared_on_their_folds(colours):
    student = '[runs.student]\nmodel = "svm"\npixels = 4\npseudo = { teachers = ["svm"], rounds = 2 }\n'
    prepared = prepare(colours(SVM + student))
    with pytest.raises(TeacherMissing, match=r"train colours svm"):
        tune(prepared, "student", 2)
    crossval(prepared, "svm")
    tuned = tune(prepared, "student", 2)
    assert tuned.comparison.seed is None and "the same folds, chosen nested" in render(tuned)


def test_fresh_folds_are_others_and_keep_groups_whole(colours):
    prepared = prepare(colours(SVM))
    groups = prepared.pool.groups.copy()
    groups[prepared.labeled[:2]] = groups[prepared.labeled[0]]
    grouped = replace(prepared, pool=replace(prepared.pool, groups=groups))
    seed, fresh = fresh_folds(grouped)
    assert seed != prepared.competition.folds.seed and fresh.fold_key != prepared.fold_key
    assert fresh.folds[0] == fresh.folds[1]
    assert sorted(fresh.scored) == sorted(prepared.scored)


def test_no_row_chooses_the_setting_that_it_is_scored_with(dialled):
    home = dialled.pool.cache / "fits"
    run = dialled.competition.run("dialled")
    candidates = [change(run, {"dial": dial}) for dial in (0.5, 0.6)]
    worse, _ = (read_oof(dialled, candidate, home) for candidate in candidates)
    fresh = fresh_folds(dialled)[1]
    chosen = choose_apart(dialled, fresh, candidates, home)
    assert set(chosen.values()) == {1}
    fold, ids = fresh.scored[0], dialled.pool.ids[dialled.labeled]
    in_fold = (fresh.folds == fold)[:, None]
    perfect = np.where(in_fold, np.eye(3)[dialled.labels], worse.at(ids).proba)
    write_predictions(home / run_key(dialled, candidates[0]) / "oof.parquet", Predictions(ids, worse.classes, perfect))
    again = choose_apart(dialled, fresh, candidates, home)
    assert again[fold] == 1 and all(again[other] == 0 for other in fresh.scored if other != fold)


def test_what_memory_gains_on_its_own_folds_is_not_called_a_gain(colours):
    """A memoriser's every value is as good: the run keeps its own, and nothing is distinguishable."""
    memoriser = '[runs.memoriser]\nmodel = "memoriser"\nsearch = { bias = { low = 0.0, high = 1.0 } }\n'
    tuned = tune(prepare(colours(memoriser)), "memoriser", 6)
    assert tuned.is_own and tuned.comparison.difference == 0 and "keep it" in render(tuned)


def test_a_refused_trial_is_named_and_the_search_goes_on(colours, monkeypatch, capsys):
    class Diverging(Dialled):
        def fit(self, labeled, unlabeled):
            if (self.dial or 0.0) > 0.6:
                raise InputError("training diverged; lower dial")
            return self

    monkeypatch.setitem(MODELS, "dialled", Diverging)
    tuned = tune(prepare(colours(DIAL, LOG_LOSS)), "dialled", 8)
    states = [trial.state for trial in tuned.trials]
    assert states.count("refused") and len(states) == 8 and tuned.options["dial"] <= 0.6
    assert "is refused: training diverged" in capsys.readouterr().err


def test_a_trial_whose_node_is_lost_is_not_refused_and_is_tried_again(dialled, monkeypatch):
    def lose(*_):
        raise NodeLost("dialled, fold 0: lost 4 times with its node")
        yield

    with monkeypatch.context() as lost, pytest.raises(NodeLost):
        lost.setattr("kit.runs.tuning.study.score_folds", lose)
        tune(dialled, "dialled", 3)
    assert [trial.state for trial in tune(dialled, "dialled", 3).trials].count("refused") == 0


def test_time_that_is_up_before_a_trial_is_said_and_the_next_call_goes_on(dialled):
    with pytest.raises(TimeIsUp, match="goes on"):
        tune(dialled, "dialled", 5, seconds=1e-9)
    set_deadline(None)
    assert len(tune(dialled, "dialled", 3).trials) == 3


def test_clean_keeps_the_present_search_and_lists_those_of_other_spaces(colours):
    old, now = prepare(colours(DIAL)), prepare(colours(DIAL.replace("0.9", "0.8")))
    tune(old, "dialled", 1), tune(now, "dialled", 1)
    home = now.competition.workspace.runs("colours")
    listed = {folder for folder, _ in list_removable(now.competition, now)}
    assert listed == {home / "cache", folder_of(old, "dialled")}
    assert folder_of(now, "dialled") in {folder for folder, _ in list_removable(now.competition, None)}


@pytest.fixture
def kit(colours, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(run: str, *arguments: str) -> tuple[int, str, str]:
        root = colours(run).workspace.root
        return run_command(root, *arguments)

    return call


def test_the_command_prints_one_json_document(kit):
    code, out, _ = kit(DIAL, "tune", "colours", "dialled", "--trials", "3", "--json")
    document = json.loads(out)
    assert code == 0 and len(document["trials"]) == 3 and document["best"]["optimistic"]
    assert tomllib.loads(document["toml"])["runs"]["dialled_tuned"]["dial"] == document["best"]["options"]["dial"]
    assert document["fresh_folds"]["seed"] is not None


def test_a_space_outside_the_limits_ends_the_command_with_2_before_any_work(kit, tmp_path):
    run = '[runs.svm]\nmodel = "svm"\nsearch = { C = { low = -1.0, high = 1.0 } }\n'
    code, out, err = kit(run, "tune", "colours", "svm")
    assert code == 2 and out == "" and "lies outside the limits of C" in " ".join(err.split())
    assert not (tmp_path / "runs").exists()


def test_bad_times_and_unknown_runs_are_refused(kit):
    assert kit(DIAL, "tune", "colours", "dialled", "--timeout", "soon")[0] == 2
    code, _, err = kit(DIAL, "tune", "colours", "dialed")
    assert code == 2 and "did you mean 'dialled'" in err


def test_a_run_cannot_be_called_like_the_folder_of_the_searches(colours):
    with pytest.raises(InputError, match=r"\[runs.tune\] is not a run name"):
        colours('[runs.tune]\nmodel = "svm"\n')
