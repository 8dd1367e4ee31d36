"""Looking while a command runs: status, and the commands that read what is finished, wait for nobody."""

from __future__ import annotations

import json
import shutil
import time

import pandas as pd
import pytest
from support.warm import Warm

import kit as package
from kit.core import activity, arrays, terminal
from kit.core.arrays import BeingMade, fill_array, impatient
from kit.core.errors import InputError
from kit.core.files import write_json

WAITING = """
import sys, time, pathlib
from kit.cli import main
from kit.runs.fit import fold
fit = fold.fit_model
def slow(*given):
    print("fitting", flush=True)
    while not pathlib.Path(sys.argv[-1], "go").exists():
        time.sleep(0.05)
    return fit(*given)
fold.fit_model = slow
main()
"""


@pytest.fixture
def kit(colours, run_command):
    workspace = colours().workspace.root

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_command(workspace, *arguments)

    call.workspace = workspace
    return call


@pytest.fixture
def busy(kit):
    """Train the forest; then begin to train the SVM in another process, which waits for the file `go`."""
    assert kit("train", "colours", "forest")[0] == 0
    process = Warm(WAITING, "train", "colours", "svm", "--workspace", str(kit.workspace))
    file = kit.workspace / "runs" / "colours" / activity.FILE
    until = time.monotonic() + 60
    while '"run": "svm"' not in (file.read_text() if file.exists() else ""):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_commands_that_look_answer_beside_one_that_runs_and_status_shows_it(kit, busy):
    code, out, err = kit("status", "colours", "--json")
    told = json.loads(out)["competitions"]["colours"]
    assert code == 0 and told["running"] and told["facts"] == {"run": "svm", "fold": 0} and told["memory_gib"] > 0
    assert told["bars"][0]["label"] == "train svm" and told["bars"][0]["done"] == 0 and told["disk_free_gib"] > 0
    code, out, _ = kit("status")
    assert code == 0 and "train colours svm" in out and "run svm, fold 0" in out and "train svm 0/3" in out
    for command in (["leaderboard"], ["check"], ["submission", "colours", "forest"], ["report"]):
        code, out, err = kit(*command, *(["colours"] if len(command) == 1 else []))
        assert code == 0, err
        assert "beside 'train colours svm" in err and "waiting" not in err
    code, _, err = kit("submission", "colours", "svm")
    told = "run svm has not been trained; a command that runs now is at work; ./run.sh status colours"
    assert code == 2 and told in " ".join(err.split())
    with pytest.raises(InputError, match=r"yet: .*; \./run\.sh status colours.*: forest"):
        package.open("colours", workspace=kit.workspace).oof()
    assert not (kit.workspace / "runs" / "colours" / "ensemble").exists()
    home, aside = kit.workspace / "runs" / "colours", kit.workspace / "aside"
    aside.mkdir()
    for name in ("forest", "history.jsonl"):
        (home / name).rename(aside / name)
    for command in ("history", "report", "leaderboard"):
        code, _, err = kit(command, "colours")
        assert code == 2 and "a command that runs now is at work; ./run.sh status colours" in " ".join(err.split())
    for path in aside.iterdir():
        path.rename(home / path.name)
    assert busy.poll() is None
    (kit.workspace / "go").touch()
    busy.communicate()
    assert busy.poll() == 0
    code, out, _ = kit("status")
    assert code == 0 and "nothing runs; train colours svm" in out and "finished" in "".join(out.split())
    code, out, _ = kit("leaderboard", "colours", "--json")
    assert {row["run"] for row in json.loads(out)["runs"]} >= {"forest", "svm"}


def test_status_says_that_a_killed_process_gave_no_sign_of_life(kit, busy):
    busy.kill()
    busy.communicate()
    code, out, _ = kit("status", "colours")
    assert code == 0 and "nosignoflife" in "".join(out.split())  # lines are folded
    assert json.loads(kit("status", "--json")[1])["competitions"]["colours"]["state"] == activity.KILLED
    assert kit("leaderboard", "colours")[0] == 0  # and nobody waits for it


def test_status_watches_until_the_end(kit, busy, monkeypatch):
    from kit.cli import status

    monkeypatch.setattr(status, "WATCH_SECONDS", 0.05)
    (kit.workspace / "go").touch()
    code, out, err = kit("status", "colours", "--watch")
    assert code == 0 and "nothing runs" in out and "train colours svm" in err


def test_status_tells_of_a_failure_and_of_another_machine(kit, tmp_path):
    with pytest.raises(ValueError, match="too large"), activity.shown(tmp_path, "train big"):
        raise ValueError("too large")
    assert activity.read_activity(tmp_path).state == "failed: too large"
    told = json.loads((tmp_path / activity.FILE).read_text()) | {"state": activity.RUNNING, "host": "elsewhere"}
    write_json(tmp_path / activity.FILE, told)
    assert activity.read_activity(tmp_path).is_running
    write_json(tmp_path / activity.FILE, told | {"updated": time.time() - 2 * activity.LOST_SECONDS})
    assert activity.read_activity(tmp_path).state == activity.KILLED


def test_status_of_an_empty_workspace_is_one_sentence(kit):
    code, _, err = kit("status")
    assert code == 2 and "nothing has run in" in err


def test_who_looks_does_not_wait_for_an_array_that_is_being_made(tmp_path):
    from kit.core.held import hold_lock

    path = tmp_path / "features.npy"
    held = hold_lock(path.with_suffix(".lock"), path.with_suffix(".holder"), path, None, "train colours")
    with held, impatient(), pytest.raises(BeingMade, match=r"made now by `train colours` \(process"):
        fill_array(path, (2, 2), "float32", lambda rows, start, stop: None)
    assert arrays._patience.get()


def test_who_looks_beside_a_first_audit_hears_who_reads_the_images_and_reads_none(tmp_path):
    from kit.core.held import hold_lock
    from kit.data.audit.facts import FILE, audit_files

    table, cache = pd.DataFrame({"path": [tmp_path / "gone.png"], "split": "test", "label": None}), tmp_path / "cache"
    with impatient(), pytest.raises(BeingMade, match="not read yet: a command that runs now begins with it"):
        audit_files(table, cache)
    cache.mkdir()
    lock = (cache / FILE).with_suffix(".lock")
    held = hold_lock(lock, lock.with_suffix(".holder"), cache / FILE, None, "all colours")
    shown = activity.shown(tmp_path, "all colours")
    with held, shown, impatient(), pytest.raises(BeingMade, match=r"read now by `all colours` \(process"):
        audit_files(table, cache)
    assert not (cache / FILE).exists()


def test_a_command_that_has_told_nothing_yet_is_known_by_its_lock(kit):
    from kit.core.held import hold

    home = kit.workspace / "runs" / "colours"
    shutil.rmtree(home, ignore_errors=True)
    (kit.workspace / "folds" / "colours.csv").unlink(missing_ok=True)
    with hold(home, None, "all colours"):
        for command in (["status"], ["status", "colours"]):
            code, out, err = kit(*command)
            assert code == 0 and "all colours: runs for" in " ".join(out.split()), err
        code, _, err = kit("leaderboard", "colours")
        assert code == 2 and "being made by `all colours` (process" in " ".join(err.split())


def test_a_pipe_hears_every_half_minute_how_far_the_work_is(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "SILENT_SECONDS", 0.1)
    with terminal.Progress("epochs", 4) as outer, terminal.Progress("features", 10) as inner:
        outer.advance(detail="loss 0.250")
        inner.advance(5)
        time.sleep(0.4)
    err = capsys.readouterr().err
    assert "epochs 1/4 (loss 0.250, " in err and " · features 5/10 (" in err and "left)" in err


def test_a_quiet_pipe_stays_quiet(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(terminal.err, "quiet", True)
    with terminal.Progress("epochs", 4):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_durations_are_told_as_people_say_them():
    spelled = [terminal.spell_seconds(seconds) for seconds in (0.4, 75, 100, 6000)]
    assert spelled == ["0 s", "75 s", "2 min", "1 h 40 min"]
