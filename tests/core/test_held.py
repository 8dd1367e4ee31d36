"""A folder that one process holds: who waits hears for whom, how long already and how far that one is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.full_disk import no_file_above

from kit.core import held
from kit.core.held import Held, hold
from kit.core.terminal import spell_facts

HOLDING = """
import sys, time
from pathlib import Path
from kit.core import activity, terminal
from kit.core.held import hold
folder = Path(sys.argv[1])
with hold(folder, print, "train colours"), terminal.Progress("epochs", 4) as bar:
    bar.advance()
    with activity.shown(folder, "train colours"):
        activity.tell(run="svm", place="3 of 7", fold=1)
        activity._write(folder, "train colours", time.time(), activity.RUNNING)
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Return another process that holds the folder and is at epoch 1 of 4."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_waits_is_told_of_whom_and_how_far_again_and_again_and_goes_on_after_a_kill(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(held, "AGAIN_SECONDS", 0.1)
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        if len(told) == 3:
            os.kill(holder.pid, signal.SIGKILL)

    started = time.monotonic()
    with hold(tmp_path, say):
        assert time.monotonic() - started < 30
    assert f"waiting for `train colours` (process {holder.pid}, for " in told[0]
    assert "which is at run 3 of 7: svm, fold 1 · epochs 1/4 (" in told[0] and len(told) >= 3


def test_who_does_not_wait_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(Held, match=f"process {holder.pid}, for .* run 3 of 7"), hold(tmp_path, None):
        pass


def test_a_run_among_others_is_told_by_its_place():
    assert spell_facts({"run": "svm", "fold": 0, "loss": 0.5}) == "run svm, fold 0, loss 0.5"
    assert spell_facts({"place": "2 of 3", "fold": 0}) == "run 2 of 3, fold 0"
    assert spell_facts({}) == ""


def test_a_folder_is_held_on_a_full_disk(tmp_path):
    with no_file_above(0), hold(tmp_path, print):
        assert (tmp_path / ".holder").read_text() == ""


def test_a_held_folder_says_who_holds_it_and_nothing_afterwards(tmp_path):
    for _ in range(2):
        with hold(tmp_path, print):
            assert json.loads((tmp_path / ".holder").read_text())["pid"] == os.getpid()
        assert not (tmp_path / ".holder").exists()
