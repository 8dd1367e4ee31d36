"""The program's name: commands are printed as they must be typed where they are read."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

NAMES = Path(__file__).parents[2] / "kit" / "core" / "names.py"


@pytest.mark.parametrize(
    ("environment", "called"),
    [
        ({}, "./run.sh"),
        ({"KIT_PROGRAM": "../kit/run.sh"}, "../kit/run.sh"),
        ({"KIT_PROGRAM": "bash /input/kit/run.sh", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "!bash /input/kit/run.sh"),
        ({"KIT_PROGRAM": "./run.sh", "COLAB_RELEASE_TAG": "release"}, "!./run.sh"),
    ],
)
def test_a_checkout_is_called_as_it_was_typed(environment, called, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    names = runpy.run_path(str(NAMES))
    assert names["command_line"]("all", "my trash") == f"{called} all 'my trash'"


def test_a_kernel_elsewhere_is_told_the_path_of_run_sh(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(NAMES))["PROGRAM"] == f"!bash {NAMES.parents[2] / 'run.sh'}"


@pytest.mark.parametrize(("environment", "called"), [({}, "kit"), ({"JPY_PARENT_PID": "1"}, "!kit")])
def test_an_installed_kit_is_called_kit_and_works_where_the_user_stands(environment, called, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "site-packages" / "kit" / "core" / "names.py"
    installed.parent.mkdir(parents=True)
    installed.write_text(NAMES.read_text(encoding="utf-8"), encoding="utf-8")
    names = runpy.run_path(str(installed))
    assert names["PROGRAM"] == called and names["default_workspace"]() == tmp_path
