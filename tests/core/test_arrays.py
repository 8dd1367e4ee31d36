"""Arrays on the disk: filled block by block, once, by whoever lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.core.arrays import fill_array
from kit.core.files import read_json

SLOW_FILL = """
import os, sys, time
from pathlib import Path
import numpy as np
from kit.core.arrays import fill_array

def fill(rows, start, stop):
    print(start, flush=True)
    time.sleep(0.05)
    rows[:] = np.arange(start, stop)[:, None]

values = fill_array(Path(sys.argv[1]), (80, 3), "int32", fill, block=2)
assert (values == np.arange(80)[:, None]).all()
"""


def count_up(rows: np.ndarray, start: int, stop: int) -> None:
    """Fill rows with their own numbers."""
    rows[:] = np.arange(start, stop)[:, None]


def fill_slowly(path: Path) -> subprocess.Popen[str]:
    """Start a process that fills the array at `path` and prints where each block starts."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", SLOW_FILL, str(path)], stdout=pipe, stderr=pipe, text=True)


def test_a_full_disk_is_refused_before_an_array_is_mapped(tmp_path):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pathlib import Path; from kit.core.arrays import fill_array\n"
        "fill_array(Path(sys.argv[1]), (1000, 10), 'float32', lambda rows, start, stop: None)"
    )
    failed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.npy")], capture_output=True, text=True)
    assert failed.returncode == 1 and "OSError" in failed.stderr  # not killed by SIGBUS
    assert not (tmp_path / "a.part").exists()


def test_without_the_means_to_reserve_zeros_are_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr("kit.core.arrays.ZEROS_BYTES", 1000)
    values = fill_array(tmp_path / "a.npy", (900, 5), "int16", count_up, block=100)
    assert (values == np.arange(900)[:, None]).all()
    code = (
        "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); del os.posix_fallocate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pathlib import Path; from kit.core.arrays import fill_array\n"
        "fill_array(Path(sys.argv[1]), (1000, 10), 'float32', lambda rows, start, stop: None)"
    )
    failed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.npy")], capture_output=True, text=True)
    assert failed.returncode == 1 and "OSError" in failed.stderr
    assert not (tmp_path / "b.part").exists()


def test_a_killed_fill_goes_on_at_the_next_block(tmp_path):
    path = tmp_path / "a.npy"
    seen = []

    def fill(rows: np.ndarray, start: int, stop: int) -> None:
        if start == 4 and not seen.count("failed"):
            seen.append("failed")
            raise KeyboardInterrupt
        seen.append(start)
        rows[:] = np.arange(start, stop)[:, None]

    with pytest.raises(KeyboardInterrupt):
        fill_array(path, (10, 3), "int32", fill, block=2)
    assert not path.exists()
    values = fill_array(path, (10, 3), "int32", fill, block=2)
    assert seen == [0, 2, "failed", 4, 6, 8]
    assert (values == np.arange(10)[:, None]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_fill_can_be_stopped_between_blocks_and_goes_on(tmp_path):
    path = tmp_path / "a.npy"

    def stop_now() -> None:
        raise TimeoutError

    for done in (4, 8):
        with pytest.raises(TimeoutError):
            fill_array(path, (10, 3), "int32", count_up, block=4, after_block=stop_now)
        assert read_json(tmp_path / "a.rows") == done
    assert (fill_array(path, (10, 3), "int32", count_up, 4, stop_now) == np.arange(10)[:, None]).all()


def test_two_processes_that_want_the_same_array_fill_it_once(tmp_path):
    processes = [fill_slowly(tmp_path / "a.npy") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(int(start) for out, _ in outputs for start in out.split()) == list(range(0, 80, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_process_that_waits_goes_on_where_a_killed_one_stopped(tmp_path):
    killed = fill_slowly(tmp_path / "a.npy")
    assert killed.stdout.readline() == "0\n"
    waiting = fill_slowly(tmp_path / "a.npy")
    assert [killed.stdout.readline() for _ in range(14)][-1] == "28\n"
    killed.kill()
    killed.communicate()
    out, errors = waiting.communicate(timeout=60)
    starts = [int(start) for start in out.split()]
    assert waiting.returncode == 0, errors
    assert starts == list(range(starts[0], 80, 2)) and starts[0] >= 28


def test_an_array_of_no_rows_is_an_array(tmp_path):
    assert fill_array(tmp_path / "a.npy", (0, 3), "uint8", lambda *_: None).shape == (0, 3)
