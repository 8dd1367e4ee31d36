"""Files: atomic, resumable, locked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.full_disk import no_file_above

from kit.core.files import hold, key_of, read_json, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), write_atomic(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_two_writers_of_one_process_number_do_not_share_a_file(tmp_path):
    path = tmp_path / "a.txt"
    with write_atomic(path, "w") as first, write_atomic(path, "w") as second:
        first.write("first")
        second.write("2")
    assert path.read_text() == "first"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pathlib import Path; from kit.core.files import write_atomic\n"
        "with write_atomic(Path(sys.argv[1])) as file: file.write(b'x' * 5000)"
    )
    failed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert failed.returncode != 0 and "OSError" in failed.stderr
    assert path.read_bytes() == b"old"


def test_keys_differ_by_value_and_not_by_the_order_of_a_table():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of(1) != key_of("1")


def test_a_second_run_waits_says_who_holds_and_goes_on_after_a_kill(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from kit.core.files import hold\n"
        "with hold(Path(sys.argv[1]), print, 'train colours'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline().strip() == "held"
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        os.kill(holder.pid, signal.SIGKILL)

    started = time.monotonic()
    with hold(tmp_path, say):
        assert time.monotonic() - started < 30
    assert "waiting for `train colours` (process" in said[0] and f"process {holder.pid}, since " in said[0]
    holder.wait()
    holder.stdout.close()


def test_a_folder_is_held_on_a_full_disk(tmp_path):
    with no_file_above(0), hold(tmp_path, print):
        assert (tmp_path / ".holder").read_text() == ""


def test_a_held_folder_says_who_holds_it_and_nothing_afterwards(tmp_path):
    for _ in range(2):
        with hold(tmp_path, print):
            assert json.loads((tmp_path / ".holder").read_text())["pid"] == os.getpid()
        assert not (tmp_path / ".holder").exists()
