"""Shared runs: taken whole by a teammate on the same folds, refused by name otherwise."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.colours import FOREST_AND_SVM

from kit.config.reader import read_competition
from kit.core.errors import InputError, LeakFound
from kit.core.files import Workspace, hash_file
from kit.data.prepared import Prepared, prepare
from kit.runs.fit.crossval import crossval, is_finished
from kit.runs.history import list_entries
from kit.runs.share import merge_runs, share_runs
from kit.runs.share.same import is_same
from kit.runs.store import Result, find_result
from kit.runs.store.ledger import read_ledger
from kit.runs.store.result import read_result
from kit.runs.verify import verify
from kit.scoring.predictions import Predictions, read_predictions, write_predictions

TAUGHT = FOREST_AND_SVM + '[runs.taught]\nmodel = "svm"\npixels = 4\npseudo = { teachers = ["forest"], rounds = 1 }\n'


def find(prepared: Prepared, name: str) -> Result:
    """Return a run that must be there."""
    result = find_result(prepared, name)
    assert result is not None
    return result


def read(name: str, folder: Path) -> Result:
    """Return the run of a folder, which must be whole."""
    result = read_result(name, folder)
    assert result is not None
    return result


def clone(prepared: Prepared, folder: Path, *changes: str) -> Prepared:
    """Return the competition in another workspace, with the same images and folds, as a teammate has it."""
    root = prepared.competition.workspace.root
    for name in ("data", "competitions", "folds"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("*.log"))  # of looks in one workspace
    return prepare(read_competition("colours", Workspace(folder), changes))


@pytest.fixture
def ours(colours) -> Prepared:
    prepared = prepare(colours(TAUGHT))
    for name in ("forest", "svm", "taught"):
        crossval(prepared, name)
    return prepared


@pytest.fixture
def packed(ours, tmp_path) -> Path:
    share_runs(ours, [find(ours, name) for name in ("svm", "taught")], tmp_path / "ours.zip")
    return tmp_path / "ours.zip"


def change(packed: Path, target: Path, edit) -> Path:
    """Write the zip anew with what `edit` makes of its files, the hashes in the manifest made to fit."""
    with zipfile.ZipFile(packed) as source:
        files = {name: source.read(name) for name in source.namelist()}
    edit(files)
    with zipfile.ZipFile(target, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return target


def shift(file: Path, most: float) -> None:
    """Change predictions by up to `most`, so that each row still sums to 1."""
    old = read_predictions(file)
    proba = old.proba + np.float32(most) * (np.roll(old.proba, 1, axis=1) - old.proba)
    write_predictions(file, Predictions(old.ids, old.classes, proba))


def edit_json(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_manifest(**changes):
    def edit(files: dict[str, bytes]) -> None:
        files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | changes).encode()

    return edit


def test_shared_runs_are_reused_by_a_teammate_with_their_teachers(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    merged, checks = merge_runs(theirs, packed)
    assert [(run.name, run.is_new, run.counts, run.remark) for run in merged] == [
        ("svm", True, True, ""),
        ("taught", True, True, ""),
    ]
    assert is_finished(theirs, "taught") and any(check.startswith("forest: ") for check in checks)
    for name in ("svm", "taught"):
        our_proba, their_proba = (find(each, name).predictions("test").proba for each in (ours, theirs))
        assert np.array_equal(our_proba, their_proba)
    assert verify(theirs, [find(theirs, "taught")])
    assert {entry.name: entry.line["from"] for entry in list_entries(theirs)}["svm"] == "ours.zip"
    assert [run.remark for run in merge_runs(theirs, packed)[0]] == ["here already", "here already"]


def test_runs_with_models_of_pairs_of_folds_are_shared_with_them(embedded, tmp_path):
    ours = prepare(embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nC = "nested"\n'))
    probe = crossval(ours, "probe")
    share_runs(ours, [probe], tmp_path / "probe.zip")
    theirs = clone(ours, tmp_path / "ann")
    merged, _ = merge_runs(theirs, tmp_path / "probe.zip")
    assert probe.record.pairs and [run.counts for run in merged] == [True]
    assert verify(theirs, [find(theirs, "probe")])


def test_runs_copied_from_another_clone_are_reused_as_they_are(ours, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    home, there = (each.competition.workspace.runs("colours") for each in (ours, theirs))
    shutil.copytree(home / "svm", there / "svm")
    assert is_finished(theirs, "svm") and not is_finished(theirs, "forest")


def test_a_run_copied_by_hand_makes_way_for_the_one_that_merge_has_checked(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    home, there = (each.competition.workspace.runs("colours") for each in (ours, theirs))
    shutil.copytree(home / "svm", there / "svm")
    assert "copied from elsewhere: svm" in verify(theirs, [find(theirs, "svm")])[-1]
    assert merge_runs(theirs, packed)[0][0].counts
    assert "copied from elsewhere" not in verify(theirs, [find(theirs, "svm")])[-1]


def test_a_run_made_here_whose_line_of_the_log_is_lost_stays_with_all_that_it_has(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    home, there = (each.competition.workspace.runs("colours") for each in (ours, theirs))
    shutil.copytree(home / "svm", there / "svm")
    svm = find(theirs, "svm")
    shift(svm.folder / "oof.parquet", 1e-6)
    for file in svm.folder.rglob("provenance.json"):
        edit_json(file, threads=4, kernels={"blas": "openblas Zen"})
    (svm.folder / "pairs").mkdir()
    before = (svm.folder / "oof.parquet").read_bytes()
    assert merge_runs(theirs, packed)[0][0].counts
    assert (svm.folder / "pairs").is_dir() and (svm.folder / "oof.parquet").read_bytes() == before
    assert ("svm", svm.record.key) in read_ledger(there).runs


def test_a_run_is_another_one_where_scores_predictions_or_what_it_was_fitted_on_differ(ours, tmp_path):
    checked = find(ours, "taught")
    fold = f"fold_{ours.scored[0]}"
    edits = {
        "nothing": lambda folder: None,
        "where it was made": lambda folder: edit_json(folder / "run.json", machine="other", made="2020", log="0" * 64),
        "its rounding": lambda folder: edit_json(folder / "run.json", cv=checked.record.cv + 1e-6),
        "its CV": lambda folder: edit_json(folder / "run.json", cv=0.123),
        "what is expected of it": lambda folder: edit_json(folder / "run.json", sent={"value": 0.9}),
        "its teachers": lambda folder: edit_json(folder / "run.json", teachers={}),
        "the pool": lambda folder: shift(folder / "unlabeled.parquet", 1e-3),
        "the pool in a fold": lambda folder: shift(folder / fold / "unlabeled.parquet", 1e-3),
        "its training": lambda folder: edit_json(folder / fold / "provenance.json", labeled=[]),
        "a file": lambda folder: (folder / "test.parquet").unlink(),
        "a damaged file": lambda folder: (folder / "test.parquet").write_bytes(b"?"),
    }
    alike = []
    for number, (what, edit) in enumerate(edits.items()):
        folder = tmp_path / str(number) / checked.folder.name
        shutil.copytree(checked.folder, folder)
        edit(folder)
        alike += [what] if is_same(read("taught", folder), checked) else []
    assert alike == ["nothing", "where it was made", "its rounding"]


def test_a_copied_or_edited_run_that_is_another_is_replaced_and_nothing_is_left_of_it(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    home, there = (each.competition.workspace.runs("colours") for each in (ours, theirs))
    shutil.copytree(home / "svm", there / "svm")
    svm, checked = find(theirs, "svm"), find(ours, "svm")
    shift(svm.folder / "unlabeled.parquet", 1e-3)
    merge_runs(theirs, packed)
    again = find(theirs, "svm")
    assert np.array_equal(again.predictions("unlabeled").proba, checked.predictions("unlabeled").proba)
    edit_json(again.folder / "run.json", cv=0.123)  # known by now, but not so
    assert [run.remark for run in merge_runs(theirs, packed)[0]] == ["", "here already"]
    assert find(theirs, "svm").record.cv == checked.record.cv
    assert [path.name for path in (there / "svm").iterdir()] == [svm.folder.name]


def test_a_kill_amid_a_merge_leaves_no_unchecked_run_that_counts_as_known(ours, packed, tmp_path, monkeypatch):
    theirs = clone(ours, tmp_path / "ann")
    home, there = (each.competition.workspace.runs("colours") for each in (ours, theirs))
    shutil.copytree(home / "svm", there / "svm")
    shift(find(theirs, "svm").folder / "oof.parquet", 1e-3)
    replace = os.replace

    def die_at_a_folder(source: Path, target: Path) -> None:
        if Path(source).is_dir():
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as dying:
        dying.setattr(os, "replace", die_at_a_folder)
        with pytest.raises(KeyboardInterrupt):
            merge_runs(theirs, packed)
    assert find_result(theirs, "svm") is None
    assert merge_runs(theirs, packed)[0][0].is_new
    assert verify(theirs, [find(theirs, "svm")]) and len(list((there / "svm").iterdir())) == 1


def test_the_zip_holds_nothing_that_could_be_executed_and_no_path(ours, packed):
    with zipfile.ZipFile(packed) as files:
        assert {name.rpartition(".")[2] for name in files.namelist()} <= {
            "json",
            "csv",
            "parquet",
            "npy",
            "safetensors",
        }
        assert str(ours.competition.workspace.root).encode() not in b"".join(map(files.read, files.namelist()))


def test_runs_of_other_settings_are_kept_in_the_history_and_do_not_count(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann", "runs.svm.C=0.5")
    svm, _ = merge_runs(theirs, packed)[0]
    assert not svm.counts and "[runs.svm] has other settings here: " in svm.remark
    assert "in place of ours, untrained; " in svm.remark and "--as svm_theirs" in svm.remark
    assert not is_finished(theirs, "svm") and svm.key in {entry.key for entry in list_entries(theirs)}


def test_other_folds_classes_and_images_are_refused_and_named(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")
    folds = theirs.competition.workspace.folds("colours")
    as_it_was = folds.read_text()
    lines = as_it_was.splitlines()
    lines[1], lines[2] = (line[:-1] + str((int(line[-1]) + 1) % 3) for line in lines[1:3])
    folds.write_text("\n".join(lines) + "\n")
    moved = prepare(theirs.competition)
    with pytest.raises(
        InputError, match=r"ours\.zip: was made on other folds or labels: 2 images differ: 00001, 00002"
    ):
        merge_runs(moved, packed)
    folds.write_text(as_it_was)
    turned = change(packed, tmp_path / "turned.zip", edit_manifest(classes=["red", "green", "blue"]))
    with pytest.raises(InputError, match="another order of classes: red, green, blue"):
        merge_runs(theirs, turned)
    sorted((theirs.competition.root / "test").iterdir())[0].write_bytes(
        sorted((theirs.competition.root / "test").iterdir())[1].read_bytes()
    )
    with pytest.raises(InputError, match="made of other images: 1 images differ"):
        merge_runs(clone(theirs, tmp_path / "bob"), packed)
    assert not list((tmp_path / "ann" / "runs").glob("colours/svm/*"))


@pytest.mark.parametrize(
    "place",
    [
        "../evil.json",
        "/evil.json",
        "runs/../../evil.json",
        "runs\\svm\\evil.json",
        "runs/svm/0123456789abcdef/evil.py",
        "runs/svm/0123456789abcdef/../evil.json",
        "runs/other/0123456789abcdef/run.json",
    ],
)
def test_what_leads_outside_a_run_is_refused(ours, packed, tmp_path, place):
    def add(files: dict[str, bytes]) -> None:
        files[place] = b"{}"
        manifest = json.loads(files["manifest.json"])
        manifest["files"][place] = {"size": 2, "sha256": "0" * 64}
        files["manifest.json"] = json.dumps(manifest).encode()

    theirs = clone(ours, tmp_path / "ann")
    with pytest.raises(InputError, match=r"is no file of a run; nothing was taken|does not hold what"):
        merge_runs(theirs, change(packed, tmp_path / "evil.zip", add))
    assert not list(tmp_path.rglob("evil.json")) and not list((tmp_path / "ann" / "runs").rglob("run.json"))


@pytest.mark.parametrize(("name", "folder"), [("../../../svm", ""), ("other", ""), ("svm", "../../../svm")])
def test_a_run_that_the_zip_does_not_hold_is_refused(ours, packed, tmp_path, name, folder):
    svm = find(ours, "svm")  # a run that lies here already must not be moved away
    run = {"name": name, "key": svm.record.key, "folder": folder or svm.record.key, "is_asked_for": True}

    def add(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        manifest["runs"].append(run)
        files["manifest.json"] = json.dumps(manifest).encode()

    with pytest.raises(InputError, match=r"is not in it, or is no file of a run; nothing was taken"):
        merge_runs(ours, change(packed, tmp_path / "evil.zip", add))
    assert find_result(ours, "svm") is not None


def test_links_repeated_names_and_changed_contents_are_refused(ours, packed, tmp_path):
    theirs = clone(ours, tmp_path / "ann")

    def spoil(files: dict[str, bytes]) -> None:
        place = next(name for name in files if name.endswith("oof.parquet"))
        files[place] = files[place][:-1] + b"?"

    with pytest.raises(InputError, match=r"oof\.parquet was changed since it was packed \(SHA-256\)"):
        merge_runs(theirs, change(packed, tmp_path / "spoiled.zip", spoil))
    with zipfile.ZipFile(packed) as source:
        names = source.namelist()
        with zipfile.ZipFile(tmp_path / "link.zip", "w") as written:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name.endswith("run.json") else 0
                written.writestr(info, source.read(name))
    with pytest.raises(InputError, match=r"run\.json' is no file of a run"):
        merge_runs(theirs, tmp_path / "link.zip")
    (tmp_path / "cut.zip").write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut\.zip: cannot be read as shared runs"):
        merge_runs(theirs, tmp_path / "cut.zip")
    with pytest.raises(InputError, match="no such file"):
        merge_runs(theirs, tmp_path / "none.zip")
    assert not list((tmp_path / "ann" / "runs").rglob("run.json"))


def test_a_run_whose_score_is_not_its_own_is_refused_whole(ours, tmp_path):
    svm, forest = (find(ours, name) for name in ("svm", "forest"))
    oof = read_predictions(svm.folder / "oof.parquet")
    write_predictions(svm.folder / "oof.parquet", Predictions(oof.ids, oof.classes, oof.proba[:, [1, 2, 0]]))
    share_runs(ours, [forest, svm], tmp_path / "false.zip")
    theirs = clone(ours, tmp_path / "ann")
    with pytest.raises(LeakFound, match=r"false\.zip: refused: svm"):
        merge_runs(theirs, tmp_path / "false.zip")
    assert not list((tmp_path / "ann" / "runs").rglob("run.json"))


def test_the_commands_share_and_merge(ours, tmp_path, run_command):
    clone(ours, tmp_path / "ann")
    file = tmp_path / "sent.zip"
    code, out, _ = run_command(ours.competition.workspace.root, "share", "colours", "svm", "forest", str(file))
    assert code == 0 and "sent.zip" in out
    digest = hash_file(file)
    code, out, _ = run_command(tmp_path / "ann", "merge", "colours", str(file))
    assert code == 0 and out.count("taken, and counts") == 2 and hash_file(file) == digest
    code, _, err = run_command(ours.competition.workspace.root, "share", "colours", "svm")
    assert code == 2 and "ends in .zip" in err
