"""Damaged and foreign files: caches are made again, everything else is named with what to delete."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.clips import TINY_CLIP
from support.clouds import clouds
from support.folders import competition_of
from support.toys import DIAL

from kit.core import terminal
from kit.core.arrays import fill_array, read_array
from kit.core.errors import DamagedFile, InputError, LeakFound
from kit.core.files import read_json, read_object, write_json
from kit.core.stopwatch import Stopwatch, read_times
from kit.data.audit.facts import FILE, PARTS
from kit.data.prepared import prepare
from kit.data.store import Geometry, read_store
from kit.features.cache import encode_images
from kit.features.neighbours import read_neighbours
from kit.features.prompts.text import read_text_weights
from kit.kaggle.bundle.writing import write_bundle
from kit.kaggle.submission.ledger import read_ledger, write_ledger
from kit.report.correlation import Correlation
from kit.report.page import write_report
from kit.runs.ensemble import ensemble, find_ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.pseudo.rounds import average_choice
from kit.runs.seen import note_untuned
from kit.runs.store import find_result, fold_folder, result_at
from kit.runs.store.find import runs_of_other_folds
from kit.runs.tuning import read_space, study_folder, tune
from kit.runs.tuning.setting import change, score_folds
from kit.runs.verify import verify

SVM = '[runs.svm]\nmodel = "svm"\npixels = 4\n'
DAMAGES = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[:-7],
    "cut in its header": lambda raw: raw[:50],
    "zeros": lambda raw: bytes(len(raw)),
    "text": lambda raw: b"not found\n",
}
FOREIGN = ("[1]", '{"x": 1}', '{"cv": 1.0}', "null", "7", "{")
LIKE = Geometry(8, 8)


@pytest.fixture
def heard(monkeypatch):
    """Collect what is said on stderr, as one text."""
    messages = []
    monkeypatch.setattr(terminal.err, "print", lambda *parts, **_: messages.append(" ".join(map(str, parts))))
    return messages


def damage(file: Path, kind: str) -> None:
    file.write_bytes(DAMAGES[kind](file.read_bytes()))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_image_store_is_named_and_made_again(colours, heard, kind):
    pool = prepare(colours()).pool
    before = np.array(read_store(pool, LIKE))
    (file,) = (pool.cache / "store").glob("*.npy")
    damage(file, kind)
    assert np.array_equal(read_store(pool, LIKE), before)
    assert any(f"{file}: damaged, and made again" in line for line in heard)
    heard.clear()
    assert np.array_equal(read_store(pool, LIKE), before) and not heard


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_features_and_words_of_an_encoder_are_named_and_made_again(colours, heard, kind):
    pool = prepare(colours()).pool
    images = pool.select(np.arange(len(pool)))

    def see() -> list[np.ndarray]:
        return [encode_images(images, TINY_CLIP).values, read_text_weights(pool, TINY_CLIP, {}, "names").values]

    before = see()
    (features,) = (pool.cache / "features").glob("*.npy")
    (words,) = (pool.cache / "text").glob("*.npz")
    damage(features, kind)
    damage(words, kind)
    assert all(map(np.array_equal, see(), before))
    for file in (features, words):
        assert any(f"{file}: damaged, and made again" in line for line in heard)


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_neighbours_are_searched_again(tmp_path, kind):
    pool, _ = clouds(tmp_path)
    before = np.array(read_neighbours(pool, "given", {}, 5, with_test=True))
    (file,) = (pool.cache / "neighbours").glob("*.npy")
    damage(file, kind)
    assert np.array_equal(read_neighbours(pool, "given", {}, 5, with_test=True), before)


@pytest.mark.parametrize("other", [np.zeros((3, 3), "float32"), np.zeros((4, 2), "float32"), np.zeros((3, 2), "int64")])
def test_an_array_of_another_shape_or_kind_is_not_taken(tmp_path, other):
    np.save(tmp_path / "a.npy", other)
    assert read_array(tmp_path / "a.npy", (3, 2), "float32") is None and not (tmp_path / "a.npy").exists()


def test_an_array_of_a_length_that_is_not_known_beforehand_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 2), "float16"))
    assert read_array(tmp_path / "a.npy", (3, None), "float16").shape == (3, 2)
    assert read_array(tmp_path / "b.npy", (3, None), "float16") is None


def test_a_half_made_array_that_was_cut_begins_anew(tmp_path):
    def stop() -> None:
        raise TimeoutError

    def fill(rows: np.ndarray, start: int, stop: int) -> None:
        rows[:] = np.arange(start, stop)[:, None] + 1

    path = tmp_path / "a.npy"
    with pytest.raises(TimeoutError):
        fill_array(path, (6, 2), "int64", fill, 3, stop)
    damage(path.with_suffix(".part"), "cut")
    assert fill_array(path, (6, 2), "int64", fill, 3)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_an_audit_that_was_killed_before_its_last_step_is_gone_on_with(colours):
    cache = prepare(colours()).pool.cache
    (cache / FILE).rename(cache / PARTS.replace("*", "00001"))
    prepare(colours())
    assert (cache / FILE).exists() and not list(cache.glob(PARTS))


def test_a_rate_of_nothing_is_spelled():
    assert terminal.Progress("audit", 0).summary("files read") == "0 files read at 0.0/s"


def test_read_object_wants_an_object_with_its_keys(tmp_path):
    file = tmp_path / "a.json"
    for text in FOREIGN:
        file.write_text(text)
        assert read_object(file, "key") is None
    write_json(file, {"key": 1})
    assert read_object(file, "key") == {"key": 1} and read_object(file, "key", "cv") is None


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_run_json_is_a_run_that_is_not_finished(colours, text):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    (made.folder / "run.json").write_text(text)
    assert find_result(prepared, "svm") is None and runs_of_other_folds(prepared) == []
    with pytest.raises(InputError, match="not there or not finished"):
        result_at(prepared, "svm", made.record.key)
    assert crossval(prepared, "svm").record.cv == made.record.cv


def test_a_foreign_run_json_of_the_ensemble_is_made_again(colours):
    prepared = prepare(colours())
    members = [crossval(prepared, name) for name in ("svm", "forest")]
    made = ensemble(prepared, members)
    facts = {name: value for name, value in made.record.document.items() if name != "members"}
    for foreign in (facts, [1], {"x": 1}):
        write_json(made.folder / "run.json", foreign)
        assert find_ensemble(prepared, members) is None
    assert ensemble(prepared, members).record.members == made.record.members


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_ledger_of_a_fold_is_named(colours, text):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    (fold_folder(made.folder, 0) / "provenance.json").write_text(text)
    with pytest.raises(LeakFound, match=r"provenance.json is not as it was written; what it saw is unknown"):
        verify(prepared, [made])
    with pytest.raises(DamagedFile, match=rf"delete {made.folder}/fold_0 and {made.folder}/run.json"):
        average_choice(prepared, made.folder)


@pytest.mark.parametrize("text", FOREIGN)
def test_a_fold_whose_fitted_json_is_foreign_is_fitted_again(colours, text):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    (made.folder / "run.json").unlink()
    file = fold_folder(made.folder, 0) / "fitted.json"
    file.write_text(text)
    crossval(prepared, "svm")
    assert set(read_json(file)) == {"files", "sha256", "seconds"}


@pytest.mark.parametrize("text", [*FOREIGN, '{"train": "long", "check": [1]}'])
def test_times_of_another_form_are_forgotten(tmp_path, text):
    (tmp_path / "times.json").write_text(text)
    assert not [times for times in read_times(tmp_path).values() if not isinstance(times, int | float)]
    watch = Stopwatch()
    with watch.measure("folds"):
        pass
    watch.write(tmp_path)
    assert read_times(tmp_path)["folds"] == 0.0


@pytest.mark.parametrize(("file", "section"), [("correlation.json", "correlation"), ("fold_0/training.json", "curves")])
def test_the_report_names_a_foreign_file_and_leaves_its_section_out(colours, heard, file, section):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    for text in FOREIGN:
        (made.folder / file).write_text(text)
        heard.clear()
        page = write_report(prepared, [made], {})
        assert page.exists() and any(f"report: {section} is left out: {made.folder / file}" in line for line in heard)


def test_the_report_draws_a_correlation_as_it_was_written(colours, heard):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    apart = 1 - np.eye(3)
    measured = Correlation(prepared.classes, {0: 1.0}, apart, 2 * apart)
    write_json(made.folder / "correlation.json", {"run": "svm"} | measured.as_dict())
    assert "Class correlation" in write_report(prepared, [made], {}).read_text()
    assert not any("left out" in line for line in heard)


def test_a_ledger_that_excel_saved_is_read_where_it_is_utf8_and_named_where_it_is_not(tmp_path):
    competition = competition_of(tmp_path, 'labeled = "train"')
    write_ledger(competition, [{"file": "001_é.csv", "run": "é"}])
    path = competition.workspace.submissions(competition.name) / "ledger.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8-sig")
    assert read_ledger(competition)[0]["file"] == "001_é.csv"
    for encoding in ("cp1252", "utf-16"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(InputError, match=r"ledger.csv: not UTF-8; save it as UTF-8"):
            read_ledger(competition)
    path.write_text(text.replace(",", ";"), encoding="utf-8")
    with pytest.raises(InputError, match=r"ledger.csv: the first line names no column 'file'"):
        read_ledger(competition)


def test_a_bundle_names_the_runs_own_damaged_weights(colours):
    net = '[runs.net]\nmodel = "small_cnn"\nimage_size = 16\nchannels = [8]\nepochs = 1\n'
    prepared = prepare(colours(net))
    made = crossval(prepared, "net")
    file = fold_folder(made.folder, 1) / "model.safetensors"
    damage(file, "cut")
    with pytest.raises(DamagedFile, match=rf"^{file}: cannot be read as weights .*; delete {file.parent} and "):
        write_bundle(prepared, [made], "somebody")


def test_what_is_said_of_a_damaged_fold_of_a_finished_run_mends_it(colours):
    prepared = prepare(colours(SVM))
    made = crossval(prepared, "svm")
    file, other = (fold_folder(made.folder, fold) / "oof.parquet" for fold in (1, 2))
    written = other.stat().st_mtime_ns
    damage(file, "cut")
    with pytest.raises(DamagedFile) as caught:
        made.fold_predictions(1, "oof")
    match = re.search(r"; delete (\S+) and (\S+) and run again$", str(caught.value))
    shutil.rmtree(match[1])
    Path(match[2]).unlink()
    again = crossval(prepared, "svm")
    assert again.record.cv == made.record.cv and verify(prepared, [again])
    assert other.stat().st_mtime_ns == written


@pytest.fixture
def dialled(colours, toys):
    """Prepare a competition with a run of one searched value, and the folder of its search."""
    prepared = prepare(colours(DIAL, ('competition.metric="log_loss"',)))
    run = prepared.competition.run("dialled")
    return prepared, study_folder(prepared, run, read_space(prepared.competition, run))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_fold_of_a_trial_is_fitted_again(dialled, kind):
    prepared, folder = dialled
    setting = change(prepared.competition.run("dialled"), {"dial": 0.7})
    scores = score_folds(prepared, setting, folder)
    first = next(scores)
    (file,) = folder.glob("*/fold_0.npy")
    damage(file, kind)
    assert next(score_folds(prepared, setting, folder)) == first


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_scores_of_a_setting_are_made_again(dialled, text):
    prepared, folder = dialled
    setting = change(prepared.competition.run("dialled"), {"dial": 0.7})
    scores = list(score_folds(prepared, setting, folder))
    (file,) = folder.glob("*/scored.json")
    file.write_text(text)
    assert list(score_folds(prepared, setting, folder)) == scores == read_json(file)
    (folder / "own.json").write_text(text)
    note_untuned(folder, "another")
    assert "another" in read_json(folder / "own.json")


@pytest.mark.parametrize("change_of", ["cut to its first page", "empty", "text", "zeros", "no tables"])
def test_a_damaged_search_is_named_with_what_to_delete(dialled, change_of):
    prepared, folder = dialled
    tune(prepared, "dialled", 1)
    file = folder / "study.db"
    raw = file.read_bytes()
    if change_of == "cut to its first page":
        file.write_bytes(raw[:3000])
    elif change_of == "no tables":
        file.write_bytes(raw[:4096])
    else:
        damage(file, change_of)
    with pytest.raises(
        InputError, match=rf"^{file}: cannot be read as a search \(.*\); delete {folder} and call again$"
    ):
        tune(prepared, "dialled", 2)
    shutil.rmtree(folder)
    tune(prepared, "dialled", 1)


def test_a_trial_whose_teacher_is_damaged_is_not_refused_for_ever(colours):
    student = (
        '[runs.student]\nmodel = "svm"\npixels = 4\npseudo = { teachers = ["svm"] }\nsearch = { C = [1.0, 2.0] }\n'
    )
    prepared = prepare(colours(SVM + student))
    teacher = crossval(prepared, "svm")
    file = fold_folder(teacher.folder, 0) / "unlabeled.parquet"
    raw = file.read_bytes()
    damage(file, "cut")
    with pytest.raises(DamagedFile, match=r"unlabeled.parquet: cannot be read as predictions"):
        tune(prepared, "student", 1)
    file.write_bytes(raw)
    assert [trial.state for trial in tune(prepared, "student", 2).trials] == ["complete", "complete"]
