"""run.sh: from any directory, with spaces in its path, with little time added."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    ran = "import os, sys; print('ran', sys.argv[1:], sys.prefix, os.environ['KIT_PROGRAM'])"
    (home / "kit" / "__main__.py").write_text(ran)
    return home


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    known = {name: value for name, value in os.environ.items() if name != "PYTHON"}  # it names one
    return subprocess.run(
        [str(home / "run.sh"), *arguments], cwd="/", capture_output=True, text=True, env={**known, **environment}
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


HOSTED = [{"KIT_PYTHON": "here"}, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {"COLAB_RELEASE_TAG": "release"}]


@pytest.mark.parametrize("environment", HOSTED)
def test_on_the_python_that_is_there_no_environment_is_made(clone, environment):
    done = run(clone, "folds", PYTHON=sys.executable, **environment)
    assert done.stdout.startswith(f"ran ['folds'] {sys.prefix} ") and done.stderr == ""
    assert not (clone / ".venv").exists()


def test_a_file_without_its_mark_as_a_program_is_called_by_bash(clone):
    (clone / "run.sh").chmod(0o644)  # as a data set on Kaggle holds it
    command = ["bash", str(clone / "run.sh"), "folds"]
    environment = {**os.environ, "PYTHON": sys.executable, "KIT_PYTHON": "here"}
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env=environment)
    assert done.stdout.strip().endswith(f"bash {str(clone / 'run.sh').replace(' ', chr(92) + ' ')}")


def test_a_file_that_was_named_without_its_folder_is_called_by_bash(clone):
    environment = {**os.environ, "PYTHON": sys.executable, "KIT_PYTHON": "here"}
    done = subprocess.run(["bash", "run.sh", "folds"], cwd=clone, capture_output=True, text=True, env=environment)
    assert done.stdout.strip().endswith("bash run.sh")


def test_a_folder_that_cannot_be_written_holds_no_environment(clone):
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$1/run.sh" folds'
    command = ["unshare", "-m", "bash", "-c", mount, "bash", str(clone)]
    if not shutil.which("unshare") or subprocess.run([*command[:4], "mount --bind /tmp /tmp"]).returncode:
        pytest.skip("needs root, and Linux, to mount a folder that cannot be written")
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.startswith(f"ran ['folds'] {sys.prefix} "), done.stderr


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
