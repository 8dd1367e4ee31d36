"""Packages: old ones are refused in a sentence, absent ones are brought or named, and nothing that is there changes."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kit.core.errors import InputError
from kit.core.installed import Requirement, install_absent, list_requirements, refuse_old, spell_lack

HOME = Path(__file__).parents[2]
MISSING = Requirement("no-such-package-of-ours", ">=1", "extra")


def pretend(folder: Path, **versions: str) -> Path:
    """Lay out the metadata of packages, as pip leaves it."""
    for name, version in versions.items():
        place = folder / f"{name}-{version}.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder with the wheel of `tiny_thing`, all that pip reaches; what it installs goes to a folder on the path."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_thing.py", "")
        info = "tiny_thing-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.syspath_prepend(str(target))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "TARGET": str(target)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return folder


def test_old_numpy_and_open_clip_are_refused_in_one_sentence(tmp_path):
    old = pretend(tmp_path / "old", numpy="1.26.4", open_clip_torch="2.32.0")
    environment = {**os.environ, "PYTHONPATH": f"{old}{os.pathsep}{HOME}"}
    code = "from kit.core.installed import refuse_old; refuse_old()"
    call = subprocess.run([sys.executable, "-c", code], env=environment, cwd=HOME, capture_output=True, text=True)
    *_, last = call.stderr.splitlines()
    needed = {each.name: str(each) for each in list_requirements()}
    remedy = f"pip install '{needed['open_clip_torch']}' '{needed['numpy']}' brings what it needs"
    assert last.endswith(f"open_clip_torch 2.32.0, numpy 1.26.4: too old for the kit; {remedy}")


def test_what_is_installed_here_is_new_enough():
    refuse_old()
    assert len(list_requirements()) > 20 and {"numpy", "captum"} <= {each.name for each in list_requirements()}


@pytest.mark.parametrize(
    ("version", "is_old"), [("2.9.1", True), ("2.10.0+cu128", False), ("2.10", False), ("3", False)]
)
def test_versions_are_compared_by_their_numbers(version, is_old, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(pretend(tmp_path / "site", tiny_thing=version)))
    if is_old:
        with pytest.raises(
            InputError, match=r"^tiny-thing 2\.9\.1: too old for the kit; pip install 'tiny-thing>=2\.10"
        ):
            refuse_old([Requirement("tiny-thing", ">=2.10,<4")])
    else:
        refuse_old([Requirement("tiny-thing", ">=2.10.0,<4")])


def test_what_is_absent_is_installed_and_nothing_else_changes(wheels):
    before = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    told: list[str] = []
    install_absent(told.append, [Requirement("tiny-thing", ">=1")])
    after = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    assert after == before | {"tiny-thing": "1.0"}
    assert told == ["installing what is absent: tiny-thing; what is there keeps its version"]


def test_without_internet_what_may_be_absent_is_named_once(wheels):
    told: list[str] = []
    install_absent(told.append, [MISSING])
    install_absent(told.append, [MISSING])
    assert told[1:] == [
        "not installed: no-such-package-of-ours, as pip reaches no package index: there is no internet; "
        "what needs them is skipped and says so"
    ]


def test_what_nothing_works_without_is_refused_with_its_remedy(wheels):
    with pytest.raises(InputError, match=r"no internet; pip install 'no-such-package-of-ours>=1' brings them$"):
        install_absent(lambda text: None, [Requirement(MISSING.name, MISSING.range)])


def test_a_lack_is_told_with_all_that_its_extra_needs(monkeypatch):
    for module in ("captum", "skimage"):
        monkeypatch.setitem(sys.modules, module, None)
    assert spell_lack("captum") == "captum is not installed; pip install captum scikit-image"
