"""Remote, the way back: output is taken whole or not at all, what goes on is kept, what cannot be taken is given up."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import zipfile
from pathlib import Path

import pandas as pd
import torch
from support.command import flat
from support.remote_site import NAME, NOTEBOOK, folder_of

from kit.core.process import count_threads
from kit.core.rounding import find_openblas, list_kernels
from kit.kaggle.client import session
from kit.kaggle.remote import script
from kit.kaggle.remote import session as remote_session
from kit.models.training.checkpoint import aside, read_progress


def seal(working: Path, name: str) -> None:
    """Let output.json name a file as it is now."""
    told, data = json.loads((working / "output.json").read_text()), (working / name).read_bytes()
    told["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (working / "output.json").write_text(json.dumps(told))


def test_a_download_that_breaks_goes_on_where_it_stopped(far, tmp_path):
    far.push("svm")
    (tmp_path / "left").mkdir()
    data = random.Random(0).randbytes(500_000)
    (far.end_session().folder / "working" / "runs.zip").write_bytes(data)
    far.server.fail("GetOutput", "half", "half")
    with session.Kaggle("") as kaggle:
        kaggle.read("fetch_output", notebook=NOTEBOOK, folder=str(tmp_path / "left"), names=["runs.zip"])
    assert (tmp_path / "left" / "runs.zip").read_bytes() == data and len(set(far.server.ranges)) == 2


def test_a_pack_never_touches_the_one_before_so_that_a_kill_leaves_one_that_is_whole(far):
    far.push("svm")
    working = far.train_session(packs_again=True)
    assert {path.name for path in working.iterdir()} == {"output.json", "next_runs.zip"}
    (working / "runs.zip").write_bytes(b"of a third pack that was killed before it wrote output.json")
    code, out, err = far.remote("pull")
    assert code == 0 and "taken, and counts" in out, err
    assert not list(far.workspace.glob(f"runs/{NAME}/remote/*/*.zip"))


def test_a_run_that_ends_while_it_is_packed_is_in_the_pack(far, monkeypatch):
    far("train", NAME, "svm")
    whole = folder_of(far.workspace, "svm")
    written = (whole / "run.json").read_bytes()
    (whole / "run.json").unlink()
    (whole / "fold_1" / "fitted.json").unlink()
    far.push("svm")
    list_results = remote_session._list_results

    def list_and_end(prepared, name):
        results = list_results(prepared, name)
        (folder_of(prepared.competition.workspace.root, name) / "run.json").write_bytes(written)
        return results

    monkeypatch.setattr(remote_session, "_list_results", list_and_end)
    working = far.train_session(1e-6)
    with zipfile.ZipFile(working / "unfinished.zip") as packed:
        assert {name.rpartition("/")[2] for name in packed.namelist()} >= {"fitted.json"}
    assert not (working / "runs.zip").exists()


def test_a_download_that_breaks_for_good_is_taken_up_by_the_next_pull(far):
    far.push("svm")
    far.train_session()
    far.server.fail("GetOutput", None, *["half"] * 4)
    code, _, err = far.remote("pull")
    assert code == 1 and "the connection was cut" in err
    assert far.remote("pull")[0] == 0 and (folder_of(far.workspace, "svm") / "run.json").is_file()


def test_output_that_is_not_as_the_session_wrote_it_is_fetched_anew_and_then_refused(far):
    far.push("svm")
    left = far.train_session() / "runs.zip"
    whole = left.read_bytes()
    left.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = far.remote("pull")
    assert code == 1 and "came damaged twice" in err and not list(far.workspace.glob(f"runs/{NAME}/svm/*"))
    left.write_bytes(whole)
    assert far.remote("pull")[0] == 0


def test_a_session_that_failed_shows_its_last_lines_and_can_be_pushed_again(far):
    far.push("svm")
    far.end_session("ERROR", "begun\nMemoryError: 40 GB\n", "Your notebook tried to allocate more memory than is there")
    code, out, err = far.remote("pull")
    assert code == 1 and "MemoryError: 40 GB" in err and "tried to allocate more" in err and "it failed" in out
    assert far.push("svm")["notebook_version"] == 2


def test_a_session_that_kaggle_ended_leaves_what_was_here_and_says_so(far):
    far.push("svm")
    far.end_session("CANCEL_ACKNOWLEDGED", "begun\n")
    code, _, err = far.remote("pull")
    assert code == 1 and "says 'cancel_acknowledged', it ended before it had packed anything" in err
    assert far.push("svm", "--time-limit", "5h")["seconds"] == 5 * 3600


def test_what_there_is_is_packed_now_and_then_and_taken_of_a_session_that_kaggle_ended(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.session.PACK_SECONDS", 0.05)
    monkeypatch.setattr("kit.models.training.loop.CHECKPOINT_SECONDS", 0.0)
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    toml.write_text(toml.read_text() + '[runs.net]\nmodel = "small_cnn"\nimage_size = 8\nepochs = 100000\n')
    far.push("net")
    far.train_session(1.0, "CANCEL_ACKNOWLEDGED")
    assert far.capsys.readouterr().err.count("packed") > 1
    code, out, err = far.remote("pull")
    assert code == 0 and "net: not finished" in out and f"remote push {NAME} net" in flat(err)
    assert read_progress(folder_of(far.workspace, "net") / "fold_0" / "checkpoint.pt")


def test_runs_that_fail_the_checks_of_verify_are_not_taken(far):
    far.push("svm")
    working = far.train_session()
    with zipfile.ZipFile(working / "runs.zip") as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    name = next(name for name in files if name.endswith("/oof.parquet"))
    oof = pd.read_parquet(io.BytesIO(files[name]))
    oof[oof.columns[1:]] = oof[oof.columns[1:]].to_numpy()[:, ::-1]
    files[name] = oof.to_parquet()
    manifest = json.loads(files["manifest.json"])
    manifest["files"][name] |= {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(working / "runs.zip", "w") as packing:
        for name, data in files.items():
            packing.writestr(name, data)
    seal(working, "runs.zip")
    code, _, err = far.remote("pull")
    assert code == 1 and "refused: svm" in err and "nothing was taken" in err and "--discard" in err
    assert not list(far.workspace.rglob("run.json"))


def test_a_run_that_the_time_cut_goes_on_with_the_next_push(far):
    far("train", NAME, "svm")
    whole = folder_of(far.workspace, "svm")
    oof = (whole / "oof.parquet").read_bytes()
    (whole / "run.json").unlink()
    (whole / "fold_1" / "fitted.json").unlink()
    before = (whole / "fold_0" / "fitted.json").read_bytes()
    far.push("svm")
    far.train_session(seconds=1e-6)
    (whole / "fold_0" / "fitted.json").unlink()  # lost here, and kept there
    code, out, err = far.remote("pull")
    assert code == 0 and "svm: not finished" in out and f"remote push {NAME} svm" in flat(err)
    assert (whole / "fold_0" / "fitted.json").read_bytes() == before
    far.push("svm")
    far.train_session()
    assert far.remote("pull")[0] == 0 and (whole / "oof.parquet").read_bytes() == oof
    assert (whole / "fold_0" / "fitted.json").read_bytes() == before, "fitted once"


def test_a_file_that_is_no_runs_is_not_unpacked(far):
    far.push("svm")
    working = far.train_session(seconds=1e-6)
    with zipfile.ZipFile(working / "unfinished.zip", "w") as packing:
        packing.writestr("../../evil.py", "print()")
    seal(working, "unfinished.zip")
    code, _, err = far.remote("pull")
    assert code == 2 and "is no file of a run" in err and not list(far.workspace.rglob("evil.py"))


def test_files_that_a_session_names_beside_its_own_are_not_touched(far):
    far.push("svm")
    working, kept = far.train_session(), far.workspace / "kept.txt"
    kept.write_text("mine")
    told = json.loads((working / "output.json").read_text())
    told["files"][f"../../../../{kept.name}"] = {"size": 4, "sha256": ""}
    (working / "output.json").write_text(json.dumps(told))
    assert far.remote("pull")[0] == 0 and kept.read_text() == "mine"


def test_a_push_that_can_no_longer_be_taken_is_given_up(far):
    far.push("svm")
    working = far.train_session()
    with zipfile.ZipFile(working / "runs.zip", "w") as packing:
        packing.writestr("manifest.json", "{}")
    seal(working, "runs.zip")
    for what in (("pull",), ("push", "svm", "--yes")):
        code, _, err = far.remote(*what)
        assert code == 2 and f"remote pull {NAME} --discard" in flat(err)
    code, out, err = far.remote("pull", "--discard")
    assert code == 0 and "given up" in out and len(list(far.workspace.glob(f"runs/{NAME}/remote/*/log.txt"))) == 1
    assert far.push("svm")["notebook_version"] == 2
    code, _, err = far.remote("pull", "--discard")
    assert code == 2 and "is queued, so it was not given up" in err


def test_odd_files_beside_a_run_are_not_sent_and_do_not_keep_it_from_coming_back(far):
    far("train", NAME, "svm")
    whole = folder_of(far.workspace, "svm")
    (whole / "run.json").unlink()
    (whole / "fold_1" / "fitted.json").unlink()
    (whole / "fold_0" / "Thumbs.db").write_text("odd")
    far.push("svm")
    assert not any(name.endswith("Thumbs.db") for name in far.open_pack().namelist())
    far.train_session(seconds=1e-6)
    assert far.remote("pull")[0] == 0


def test_of_two_checkpoints_the_one_after_more_epochs_is_kept_whichever_was_written_later(far):
    far("train", NAME, "svm")
    whole = folder_of(far.workspace, "svm")
    (whole / "run.json").unlink()
    (whole / "fold_1" / "fitted.json").unlink()
    behind, ahead, damaged, other = (whole / "fold_1" / f"checkpoint_{i}.pt" for i in range(4))
    for file in (behind, ahead, damaged, other):
        torch.save({"key": "gpu", "epoch": 5, "network": torch.ones(2)}, file)
    far.push("svm")
    far.train_session(seconds=1e-6)
    torch.save({"key": "gpu", "epoch": 2}, behind)
    torch.save({"key": "gpu", "epoch": 7}, ahead)
    torch.save({"key": "cpu", "epoch": 2}, other)
    damaged.write_text("damaged")
    code, out, err = far.remote("pull")
    assert code == 0 and [read_progress(file) for file in (behind, ahead, damaged)] == [("gpu", n) for n in (5, 7, 5)]
    assert read_progress(other) == ("cpu", 2) and read_progress(aside(other, "gpu")) == ("gpu", 5)
    assert flat(err).count("what lies here is after epoch 7, the session's after epoch 5") == 1
    assert "svm: not finished; 3 files" in out


def test_what_decides_the_last_digits_is_named_where_the_session_had_another(far):
    far.push("svm")
    file = far.train_session() / "output.json"
    told = json.loads(file.read_text())
    told["place"] |= {"threads": "4", "blas kernels": "openblas Zen9", "torch kernels": "AVX9"}
    file.write_text(json.dumps(told))
    code, out, err = far.remote("pull", "--json")
    assert code == 0 and set(json.loads(out)["place"]) == {"threads", "blas kernels", "torch kernels"}
    assert "threads 4 (here 1)" in flat(err) and "blas kernels openblas Zen9 (here " in flat(err)
    ledger = json.loads((folder_of(far.workspace, "svm") / "fold_0" / "provenance.json").read_text())
    assert ledger["threads"] == 1 and ledger["kernels"] == list_kernels()


def test_a_session_computes_with_the_threads_and_kernels_of_whoever_pushed_where_it_has_them(far, monkeypatch):
    far.push("svm")
    sent = far.server.kernels[0]["text"]
    assert f"'threads': {count_threads()}, 'core': '{find_openblas()}'" in sent
    processor = Path("/proc/cpuinfo")
    has_avx2 = processor.exists() and "avx2" in processor.read_text().split()
    for core, is_set in (("Haswell", has_avx2), ("Unheard", False), ("", False)):
        monkeypatch.setattr(script, "PUSH", {"threads": 10**6, "core": core})
        given = script.round_as_there()
        assert given["OMP_NUM_THREADS"] == str(os.cpu_count())
        assert given.get("OPENBLAS_CORETYPE") == (core if is_set else None)


def test_pulling_twice_changes_nothing(far):
    far.push("svm")
    far.train_session()
    assert far.remote("pull")[0] == 0
    code, out, _ = far.remote("pull")
    assert code == 0 and "here already" in out


def test_a_pull_before_the_end_and_before_a_push_says_what_is_missing(far):
    code, _, err = far.remote("pull")
    assert code == 2 and "was pushed yet" in err
    far.push("svm")
    code, _, err = far.remote("pull")
    assert code == 2 and "is queued at Kaggle" in err and "remote status" in err
