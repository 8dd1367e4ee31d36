"""The package: what the wheel holds, what its extras bring, and what happens where one is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from kit import __version__
from kit.cli import main
from kit.core.installed import OPTIONAL

HOME = Path(__file__).parents[2]
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in requirements} - {"kit"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, as pip builds it: nothing is fetched for it, and nothing of it lies in the checkout afterwards."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--wheel-dir", str(folder)]
    built = subprocess.run([*pip, str(HOME)], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_says_what_pyproject_says(wheel):
    packaging = pytest.importorskip("packaging.requirements")
    lines = wheel.read(f"kit-{__version__}.dist-info/METADATA").decode().partition("\n\n")[0].splitlines()
    told = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    needed = [packaging.Requirement(each) for each in told]
    assert {str(each) for each in needed if each.marker is None} == {
        str(packaging.Requirement(each)) for each in PROJECT["dependencies"]
    }
    assert {each.name for each in needed if each.marker and each.marker.evaluate({"extra": "explain"})} == {
        packaging.Requirement(each).name for each in PROJECT["optional-dependencies"]["explain"]
    }
    assert not [name for name in HOME.glob("*") if name.name in ("build", "kit.egg-info")]


def test_a_checkout_can_be_installed_to_be_edited(tmp_path):
    code = "import sys; from kit.core.wheel import build_editable; print(build_editable(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=HOME, capture_output=True, text=True)
    assert zipfile.ZipFile(tmp_path / done.stdout.strip()).read("kit.pth").decode() == f"{HOME}\n"


def test_the_wheel_holds_every_file_of_the_kit_and_no_test(wheel):
    assert Path(str(wheel.filename)).name == f"kit-{__version__}-py3-none-any.whl"
    listed = subprocess.run(["git", "ls-files", "kit"], cwd=HOME, capture_output=True, text=True)
    files = (
        {file for file in listed.stdout.splitlines() if (HOME / file).exists()}
        if listed.returncode == 0
        else {"kit/py.typed"}
    )
    assert files <= set(wheel.namelist())
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"kit", f"kit-{__version__}.dist-info"}


def test_the_wheel_holds_what_digits_and_the_report_need(wheel):
    digits = "kit/competitions/digits"
    assert {
        "kit/py.typed",
        "kit/report/page/template/page.html.j2",
        "kit/bench/recipes/competition.toml",
        "kit/competitions/food11/README.md",
        f"{digits}/competition.toml",
        f"{digits}/prompts/crafted.toml",
        f"{digits}/tiny-clip/open_clip_model.safetensors",
        f"{digits}/tiny-efficientnetv2.safetensors",
    } <= set(wheel.namelist())
    entry = wheel.read(f"kit-{__version__}.dist-info/entry_points.txt").decode()
    assert "kit = kit.__main__:main" in entry


def test_what_is_required_is_what_the_tests_are_pinned_to():
    lines = (HOME / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = names_of([line for line in lines if not line.startswith("#")])
    extras = PROJECT["optional-dependencies"]
    required = names_of(PROJECT["dependencies"]).union(*(names_of(extra) for extra in extras.values()))
    assert required == pinned
    assert set(extras) == {"explain", "triage", "report", "kaggle", "tune", "track", "formats", "scale", "ray", "dev"}


def test_the_pinned_versions_lie_in_the_ranges():
    packaging = pytest.importorskip("packaging.requirements")
    lines = (HOME / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.match(r"([\w-]+)(?:\[\w+\])?==(\S+)", line).groups() for line in lines if "==" in line)
    for extra in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(packaging.Requirement, extra):
            assert requirement.name == "kit" or pins[requirement.name] in requirement.specifier, requirement


@pytest.fixture
def without_extras(monkeypatch):
    """Let no package of an extra be imported; jinja2 comes with torch."""
    for package in {*OPTIONAL, "kaggle", "kagglesdk", "six"} - {"jinja2", "open_clip"}:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["kit", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0), capsys.readouterr().err


def test_without_extras_all_works_and_a_command_names_the_extra_it_lacks(colours, without_extras, monkeypatch, capsys):
    workspace = ["--workspace", str(colours().workspace.root)]
    code, err = call(monkeypatch, capsys, "all", "colours", *workspace)
    assert code == 0 and "no report: plotly is not installed; pip install plotly brings it" in err
    for command, package in (("report", "plotly"), ("triage", "cleanlab"), ("tune", "optuna")):
        run = ["svm"] if command == "tune" else []
        code, err = call(monkeypatch, capsys, command, "colours", *run, *workspace)
        assert code == 2 and f"{package} is not installed; pip install {package}" in err, err


def test_an_installed_kit_works_where_the_user_stands_and_calls_itself_kit(wheel, tmp_path):
    wheel.extractall(tmp_path / "installed")
    here = tmp_path / "here"
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    command = [sys.executable, "-P", "-m", "kit", "check", "digits"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "kit all digits" in done.stderr and "./run.sh" not in done.stderr, done.stderr
    assert {path.name for path in here.iterdir()} == {"data", "runs"}
