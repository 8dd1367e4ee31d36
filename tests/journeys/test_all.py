"""The command line: real commands on real files, exit codes, JSON, two runs at once, kill -9."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from support.warm import COMMAND, Warm

from kit.cli.app import hoist

HOME = Path(__file__).parents[2]


@pytest.fixture
def kit(colours, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""
    competition = colours()

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_command(competition.workspace.root, *arguments)

    call.workspace = competition.workspace.root
    return call


def start(workspace: Path, *arguments: str) -> Warm:
    """Start a command in a process of its own."""
    return Warm(COMMAND, *arguments, "--workspace", str(workspace))


def submissions(workspace: Path) -> list[str]:
    folder = workspace / "submissions" / "colours"
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("0*.csv"))]


def test_all_ends_with_a_valid_submission_a_table_and_exit_0(kit):
    code, out, err = kit("all", "colours")
    assert code == 0 and "ensemble" in out and "best" in out
    sample = pd.read_csv(kit.workspace / "data/colours/sample_submission.csv", dtype=str)
    written = pd.read_csv(kit.workspace / "submissions/colours/001_ensemble.csv", dtype=str)
    assert list(written["id"]) == list(sample["id"]) and set(written["label"]) <= {"blue", "green", "red"}
    assert "checks held" in err


def test_a_second_all_makes_nothing_new(kit):
    kit("all", "colours")
    before = {path: path.stat().st_mtime_ns for path in kit.workspace.rglob("*.parquet")}
    code, _, _ = kit("all", "colours")
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in kit.workspace.rglob("*.parquet")} == before
    assert len(submissions(kit.workspace)) == 1


def test_stages_one_by_one_end_in_the_same_submission_as_all(kit):
    kit("all", "colours")
    first = submissions(kit.workspace)
    for path in sorted((kit.workspace / "runs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for command in ("check", "folds", "features", "train", "ensemble", "submission", "leaderboard", "verify"):
        code, _, err = kit(command, "colours")
        assert code == 0, err
    assert submissions(kit.workspace) == first


@pytest.mark.parametrize(
    "command", ["check", "folds", "features", "train", "ensemble", "submission", "leaderboard", "all"]
)
def test_json_is_one_document_and_nothing_else(kit, command):
    if command in ("ensemble", "submission", "leaderboard"):
        kit("train", "colours")
    code, out, _ = kit(command, "colours", "--json")
    assert code == 0 and json.loads(out) is not None


def test_the_solution_is_opened_by_the_leaderboard_alone(kit):
    code = (
        "import sys\n"
        "from kit.cli import main\n"
        "workspace = sys.argv[1]\n"
        "def watch(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('solution.csv'): raise PermissionError(13, 'no', args[0])\n"
        "sys.addaudithook(watch)\n"
        "for command in 'check folds features train ensemble submission verify leaderboard'.split():\n"
        "    sys.argv = ['kit', command, 'colours', '--workspace', workspace]\n"
        "    try: main()\n"
        "    except SystemExit as stop: print('CODE', command, stop.code, flush=True)"
    )
    stdout, stderr = Warm(code, str(kit.workspace)).communicate()
    codes = dict(line.split()[1:] for line in stdout.splitlines() if line.startswith("CODE"))
    assert codes.pop("leaderboard") == "2" and "solution.csv" in stderr
    assert set(codes.values()) == {"0"} and len(codes) == 7, stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "colour"], "no competition 'colour'; did you mean 'colours'"),
        (["train", "colours", "forrest"], "no run 'forrest'; did you mean 'forest'"),
        (["submission", "colours", "svm"], "run svm has not been trained; ./run.sh train colours svm"),
        (["leaderboard", "colours"], "no folds of colours yet, so no finished run; ./run.sh train colours"),
        (["history", "colours"], "no folds of colours yet"),
        (["all", "colours", "--set", "runs.svm.D=3"], "has no option 'D'"),
        (["all", "colours", "--set", "nonsense"], "write it as table.key=value"),
        (["all", "colours", "--time-limit", "soon"], "--time-limit 'soon'"),
        (["new", "birds", "--data", "nowhere"], "nowhere"),
        (
            ["all", "colours", "--set", "data.solution=solutions.csv"],
            "solution is not there; did you mean 'solution.csv'",
        ),
        (["all", "colours", "--set", 'ensemble.members=["svn"]'], "no run or import 'svn'; did you mean 'svm'"),
        (["ensemble", "colours", "--set", "runs.svm.D=3"], "has no option 'D'"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(kit, arguments, message):
    code, out, err = kit(*arguments)
    assert code == 2 and message in " ".join(err.split()) and "Traceback" not in err and out == ""
    assert (
        arguments[0] not in ("leaderboard", "history") or not (kit.workspace / "folds").exists()
    )  # a look writes none


def test_a_leak_is_exit_1(kit):
    kit("all", "colours")
    path = next(kit.workspace.glob("runs/colours/svm/*/fold_0/provenance.json"))
    ledger = json.loads(path.read_text())
    fold = pd.read_csv(kit.workspace / "folds/colours.csv", dtype=str)
    ledger["labeled"].append("labeled/" + fold[fold["fold"] == "0"]["id"].iloc[0])
    path.write_text(json.dumps(ledger))
    code, _, err = kit("verify", "colours")
    assert code == 1 and "svm fold 0" in err


def test_a_run_whose_weights_cannot_be_had_is_skipped_and_named(kit):
    missing = 'runs.probe={model="linear_probe", encoder="timm:resnet18@nowhere.safetensors"}'
    code, out, err = kit("all", "colours", "--set", missing)
    assert code == 0 and "skipped" in out and "nowhere.safetensors" in err
    code, _, err = kit("all", "colours", "--set", missing, "--strict")
    assert code == 2 and "nowhere.safetensors" in err
    code, _, _ = kit("train", "colours", "probe", "--set", missing)
    assert code == 2


def test_a_time_limit_ends_cleanly_and_the_next_call_goes_on(kit):
    for command in ("train", "all"):
        code, _, err = kit(command, "colours", "--time-limit", "0.0001s")
        assert code == 1 and "time limit" in err
    assert kit("all", "colours")[0] == 0


def test_global_options_stand_before_or_after_the_command():
    assert hoist(["all", "x", "--json", "--seed", "3"]) == ["--json", "--seed", "3", "all", "x"]
    assert hoist(["--set=a.b=1", "all"]) == ["--set=a.b=1", "all"]
    assert hoist(["submit", "-m", "a message"]) == ["submit", "-m", "a message"]


def test_a_workspace_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    refused = start(tmp_path / "file", "folds", "digits")
    _, err = refused.communicate()
    assert refused.returncode == 2 and "Traceback" not in err and "file" in err


def test_no_control_codes_in_a_pipe(kit):
    finished = subprocess.run(
        [sys.executable, "-m", "kit", "all", "colours", "--workspace", str(kit.workspace)],
        cwd=HOME, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0 and "checks held" in finished.stderr
    assert "\x1b" not in finished.stdout + finished.stderr


MOMENTS = ("runs/colours/forest/*/fold_1", "runs/colours/ensemble/*/oof.parquet", "submissions/colours/001_*.csv")


def test_killed_at_any_moment_all_finishes_with_the_same_submission(kit):
    kit("all", "colours")
    wanted = submissions(kit.workspace)
    for moment in MOMENTS:
        shutil.rmtree(kit.workspace / "runs")
        shutil.rmtree(kit.workspace / "submissions")
        running = start(kit.workspace, "all", "colours")
        while not list(kit.workspace.glob(moment)):
            assert running.poll() is None
            time.sleep(0.002)
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
        code, _, err = kit("all", "colours")
        assert code == 0, err
        assert submissions(kit.workspace) == wanted
        assert len(read_rows(kit.workspace / "submissions/colours/ledger.csv")) == 1


def read_rows(path: Path) -> list[str]:
    return path.read_text().splitlines()[1:]


def test_ctrl_c_says_that_the_next_call_goes_on(kit):
    running = start(kit.workspace, "all", "colours")
    while not list(kit.workspace.glob("runs/colours/forest/*/fold_0")):
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130 and "the next call goes on" in err and "Traceback" not in err
    assert kit("all", "colours")[0] == 0


def test_two_at_once_make_one_submission(kit):
    running = [start(kit.workspace, "all", "colours") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert len(submissions(kit.workspace)) == 1


def test_predictions_made_elsewhere_become_a_member(kit):
    kit("train", "colours")
    folder = next(kit.workspace.glob("runs/colours/svm/*"))
    for split in ("oof", "test"):
        table = pd.read_parquet(folder / f"{split}.parquet").iloc[::-1]
        table.columns = [name.removeprefix("class:") for name in table.columns]
        table = table[["id", "red", "blue", "green"]]  # another order of columns and rows
        table.to_csv(kit.workspace / f"{split}.csv", index=False)
    files = ("--oof", str(kit.workspace / "oof.csv"), "--test", str(kit.workspace / "test.csv"))
    code, _, err = kit("import", "colours", "friend", *files)
    assert code == 0, err
    assert "friend" in kit("leaderboard", "colours")[1]
    assert "friend" in kit("ensemble", "colours")[1]
    members = 'ensemble.members=["svm", "friend"]'
    assert "friend" in kit("ensemble", "colours", "--set", members)[1]
    assert kit("verify", "colours", "--set", members)[0] == 0
    (kit.workspace / "test.csv").write_text("id,red,green\n")
    code, _, err = kit("import", "colours", "friend", *files)
    assert code == 2 and "columns are not the classes: blue" in " ".join(err.split())


def test_clean_lists_and_then_removes_what_is_not_in_use(kit):
    kit("all", "colours")
    kit("train", "colours", "--set", "runs.svm.C=1.0")
    code, out, _ = kit("clean", "colours")
    assert code == 0 and "would remove" in out and str(kit.workspace / "runs/colours/svm") in out
    assert len(list(kit.workspace.glob("runs/colours/svm/*"))) == 2
    kit("clean", "colours", "--yes")
    assert len(list(kit.workspace.glob("runs/colours/svm/*"))) == 1
    assert kit("leaderboard", "colours")[0] == 0
