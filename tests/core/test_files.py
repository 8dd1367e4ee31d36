"""Files: atomic, resumable, locked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kit.core.files import key_of, read_json, write_atomic, write_folder, write_json


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


def test_of_two_who_write_a_folder_at_once_the_first_to_end_stays(tmp_path):
    with write_folder(tmp_path / "data") as late:
        with write_folder(tmp_path / "data") as early:
            (early / "by").write_text("early")
        (late / "by").write_text("late")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["data", "data/by"]
    assert (tmp_path / "data" / "by").read_text() == "early"


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), write_folder(tmp_path / "data") as part:
        (part / "half").touch()
        raise RuntimeError
    (tmp_path / "data").touch()
    with pytest.raises(NotADirectoryError), write_folder(tmp_path / "data"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]
