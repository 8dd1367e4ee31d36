"""run.sh: from any directory, with spaces in its path, with little time added."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path):
    """Copy run.sh into a path with spaces, with a virtual environment that pip cannot reach the network from."""
    home = tmp_path / "my kit"
    home.mkdir()
    shutil.copy(HOME / "run.sh", home)
    (home / "requirements.txt").write_text("")
    (home / "kit").mkdir()
    (home / "kit" / "__init__.py").write_text("")
    (home / "kit" / "__main__.py").write_text("import sys; print('ran', sys.argv[1:])")
    return home


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(home / "run.sh"), *arguments], cwd="/", capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_it_sets_up_once_in_a_path_with_spaces_and_from_any_directory(clone):
    first = run(clone, "folds", "a b")
    assert first.returncode == 0 and "ran ['folds', 'a b']" in first.stdout and "setting up" in first.stderr
    started = time.perf_counter()
    again = run(clone, "folds")
    assert again.stdout.startswith("ran") and again.stderr == ""
    assert time.perf_counter() - started < 2  # not a benchmark: it would take longer to set up


def test_changed_requirements_are_installed(clone):
    run(clone)
    (clone / "requirements.txt").write_text("# changed\n")
    assert "setting up" in run(clone).stderr
    assert (clone / ".venv" / "requirements.installed").read_text() == "# changed\n"


def test_an_interrupted_set_up_is_done_again(clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    assert run(clone).stdout.startswith("ran")


def test_a_failed_install_leaves_no_stamp_and_fails(clone):
    (clone / "requirements.txt").write_text("no-such-package-at-all @ file:///nowhere\n")
    assert run(clone).returncode != 0
    assert not (clone / ".venv" / "requirements.installed").exists()


def test_without_python_311_it_says_so(clone, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cmp", "mkdir", "env"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("python3", "python"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    failed = run(clone, "all", PATH=str(tools))
    assert failed.returncode == 2 and "Python 3.11 or newer" in failed.stderr
