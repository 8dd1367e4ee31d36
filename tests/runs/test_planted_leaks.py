"""Leaks and forgeries that were planted: each is named, by verify, by a refit, or by the alarm that needs no label."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.clips import TINY_CLIP

import kit.features.device
import kit.runs.store.score
from kit.core.errors import LeakFound
from kit.core.files import hash_file, read_json, write_json
from kit.data.prepared import Prepared, prepare
from kit.features.cache import encode_images, features_seal
from kit.runs.alarm import find_doubts
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result, fold_folder
from kit.runs.store.result import read_result
from kit.runs.store.score import describe_run
from kit.runs.verify import verify
from kit.runs.verify.refit import refit_folds
from kit.scoring.predictions import (
    Predictions,
    concatenate,
    mean_predictions,
    read_predictions,
    write_predictions,
)

SVMS = '[runs.svm]\nmodel = "svm"\npixels = 4\n[runs.fine]\nmodel = "svm"\npixels = 8\n'
GIVEN = 'encoder = "given"\n'


def run_of(model: str, name: str = "cheat", **options: object) -> str:
    """Return the table of a run."""
    lines = "".join(f"{key} = {value!r}\n".replace("'", '"') for key, value in options.items())
    return f'[runs.{name}]\nmodel = "{model}"\n{lines}'


def again(result: Result) -> Result | None:
    """Return a run as its files are now."""
    return read_result(result.name, result.folder)


@pytest.mark.parametrize("where", ["class", "module"])
def test_nothing_that_a_class_or_its_module_keeps_survives_a_fold(colours, toys, where):
    prepared = prepare(colours(run_of("stubborn", where=where)))
    assert crossval(prepared, "cheat").record.cv == pytest.approx(1 / 3, abs=0.01)


def test_a_memory_in_a_foreign_module_is_found_by_a_refit(colours, toys):
    prepared = prepare(colours(SVMS + run_of("stubborn", where="foreign")))
    honest, cheat = crossval(prepared, "svm"), crossval(prepared, "cheat")
    assert cheat.record.cv > 0.6 and verify(prepared, [cheat])
    assert refit_folds(prepared, [honest], 2) == [
        "svm: 2 folds fitted again with the fold's labels hidden; the oof is the same"
    ]
    with pytest.raises(LeakFound, match=r"cheat fold 1: fitted again .* remembered other folds or found its way"):
        refit_folds(prepared, [cheat], 2)


def test_a_model_that_reads_the_class_folder_is_found_by_a_refit(colours, toys):
    prepared = prepare(colours(run_of("peeping")))
    cheat = crossval(prepared, "cheat")
    assert cheat.record.cv == 1 and verify(prepared, [cheat])
    with pytest.raises(LeakFound, match=r"cheat fold 0: fitted again .*labels hidden"):
        refit_folds(prepared, [cheat], 1)


def test_a_cheat_is_sure_of_the_scored_images_alone_and_an_honest_run_is_not(colours, toys):
    prepared = prepare(colours(SVMS + run_of("peeping")))
    results = [crossval(prepared, name) for name in ("svm", "fine", "cheat")]
    doubts = {doubt.run: str(doubt) for doubt in find_doubts(prepared, results)}
    assert list(doubts) == ["cheat"]
    assert "sure of the scored images (1.00) and not the test ones (0.33" in doubts["cheat"]
    assert "labels leaked" in doubts["cheat"] and "duplicates" in doubts["cheat"]


def test_a_runs_folder_copied_over_another_is_named(colours):
    prepared = prepare(colours(SVMS))
    weak, strong = crossval(prepared, "svm"), crossval(prepared, "fine")
    shutil.rmtree(weak.folder)
    shutil.copytree(strong.folder, weak.folder)
    with pytest.raises(LeakFound, match=rf"svm: .*run.json is of key {strong.record.key}, not of {weak.record.key}"):
        verify(prepared, [again(weak)])
    write_json(weak.folder / "run.json", again(weak).record.document | {"key": weak.record.key})
    with pytest.raises(LeakFound, match=r"svm: .*run.json is of the run fine"):
        verify(prepared, [again(weak)])
    write_json(weak.folder / "run.json", again(weak).record.document | {"name": "svm"})
    with pytest.raises(LeakFound, match=r"svm: .*says options = .*8.*but a run of this key has .*4"):
        verify(prepared, [again(weak)])


def test_test_images_denied_in_run_json_are_named(colours):
    prepared = prepare(colours(run_of("label_spreading", "spread", pixels=4) + "use_test_images = true\n"))
    result = crossval(prepared, "spread")
    write_json(result.folder / "run.json", result.record.document | {"use_test_images": False})
    with pytest.raises(LeakFound, match=r"spread: .*says use_test_images = False, but a run of this key has True"):
        verify(prepared, [again(result)])


@pytest.mark.parametrize("change", ["short", "double"])
def test_a_ledger_that_is_not_the_training_set_is_named(colours, change):
    prepared = prepare(colours(SVMS))
    result = crossval(prepared, "svm")
    file = fold_folder(result.folder, 2) / "provenance.json"
    ledger = read_json(file)
    names = ledger["labeled"][1:] if change == "short" else [*ledger["labeled"], ledger["labeled"][0]]
    write_json(file, ledger | {"labeled": names})
    expected = (
        "its ledger was cut short: 1 of 12" if change == "short" else "its ledger has 13 images for 12: some twice"
    )
    with pytest.raises(LeakFound, match=f"svm fold 2: {expected}"):
        verify(prepared, [result])


@pytest.mark.parametrize("split", ["oof", "test", "unlabeled"])
def test_predictions_that_kept_weights_do_not_give_are_named_though_resealed(embedded, split):
    prepared = prepare(embedded(run_of("linear_probe", "probe") + GIVEN))
    result = crossval(prepared, "probe")
    home = fold_folder(result.folder, 1)
    forge(home / f"{split}.parquet")
    if split == "oof":
        np.save(home / "sweep.npy", np.roll(np.load(home / "sweep.npy"), 1, axis=2))
    reseal(home, f"{split}.parquet", "sweep.npy")
    gather(prepared, result, split)
    with pytest.raises(LeakFound, match=rf"probe fold 1: ({split}.parquet|sweep.npy) is not what its kept weights"):
        verify(prepared, [again(result)])


def test_a_student_of_a_foreign_teacher_is_found_though_all_is_resealed(embedded):
    taught = run_of("linear_probe", "student") + GIVEN + 'pseudo = { teachers = ["probe"] }\n'
    prepared = prepare(embedded(run_of("linear_probe", "probe") + GIVEN + taught))
    teacher = crossval(prepared, "probe")
    for fold in prepared.scored:
        home = fold_folder(teacher.folder, fold)
        forge(home / "unlabeled.parquet")
        reseal(home, "unlabeled.parquet")
    gather(prepared, teacher, "unlabeled")
    student = crossval(prepared, "student")
    with pytest.raises(
        LeakFound, match=r"(probe|student.0) fold \d: unlabeled.parquet is not what its kept weights predict"
    ):
        verify(prepared, [student])


def test_features_that_were_exchanged_in_the_cache_are_named(colours):
    prepared = prepare(colours(run_of("linear_probe", "probe", encoder=TINY_CLIP)))
    result = crossval(prepared, "probe")
    assert list(result.record.features) == [TINY_CLIP] and verify(prepared, [result])
    (file,) = (prepared.pool.cache / "features").glob("*.npy")
    values = np.load(file)
    np.save(file, values[:, ::-1])
    with pytest.raises(LeakFound, match=r"probe: the cached features of .*tiny-clip are not those that it read"):
        verify(prepared, [result])
    note = read_json(file.with_suffix(".json"))
    write_json(file.with_suffix(".json"), {name: value for name, value in note.items() if name != "sha256"})
    assert features_seal(prepared.pool, TINY_CLIP) is None
    encode_images(prepared.held_out(0), TINY_CLIP)  # seals what lies there
    with pytest.raises(LeakFound, match=r"probe: the cached features of .*tiny-clip are not those that it read"):
        verify(prepared, [result])


def test_features_that_another_machine_rounds_otherwise_are_no_leak(colours, monkeypatch):
    prepared = prepare(colours(run_of("linear_probe", "probe", encoder=TINY_CLIP)))
    monkeypatch.setattr(kit.features.device, "choose_precision", lambda *_: "bfloat16")  # as on a GPU
    monkeypatch.setattr(kit.runs.store.score, "describe_machine", lambda: "colab, 1 GPU")
    result = crossval(prepared, "probe")
    assert ", derived again" in verify(prepared, [result])[1]  # the very features are there
    monkeypatch.undo()
    assert ", not derived again: another machine" in verify(prepared, [result])[1]
    encode_images(prepared.held_out(0), TINY_CLIP)
    assert ", not derived again: another machine" in verify(prepared, [result])[1]


def forge(file: Path) -> None:
    """Give every class the probability of the one before it."""
    told = read_predictions(file)
    write_predictions(file, Predictions(told.ids, told.classes, np.roll(told.proba, 1, axis=1)))


def reseal(home: Path, *names: str) -> None:
    """Note the hashes of a fold's files as they are now."""
    fitted = read_json(home / "fitted.json")
    seals = {name: hash_file(home / name) for name in names if name in fitted["sha256"]}
    write_json(home / "fitted.json", fitted | {"sha256": fitted["sha256"] | seals})


def gather(prepared: Prepared, result: Result, split: str) -> None:
    """Put the run's own file together of its folds' once more, and its CV."""
    parts = [result.fold_predictions(fold, split) for fold in prepared.scored]
    whole = concatenate(parts) if split == "oof" else mean_predictions(parts)
    write_predictions(result.folder / f"{split}.parquet", whole)
    if split == "oof":
        write_json(result.folder / "run.json", result.record.document | describe_run(prepared, result.name, whole))
