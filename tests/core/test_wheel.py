"""The kit's wheel in a bundle: the same bytes from a checkout and from where pip has installed the kit."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import kit
from kit.core.wheel import write_wheel

CODE = "import sys; from pathlib import Path; from kit.core.wheel import write_wheel; write_wheel(Path('out'))"


def test_an_installed_kit_packs_the_same_wheel_without_its_competitions(tmp_path):
    ours = write_wheel(tmp_path / "here")
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(kit.__path__[0]), tmp_path / "site-packages" / "kit", ignore=left_out)
    (tmp_path / "site-packages" / "other").mkdir()
    environment = {"PYTHONPATH": str(tmp_path / "site-packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out" / ours.name).read_bytes() == ours.read_bytes()
    names = zipfile.ZipFile(ours).namelist()
    assert {"kit/py.typed", "kit/__main__.py", "kit/kaggle/bundle/script.py"} <= set(names)
    assert not [name for name in names if name.startswith("kit/competitions/")]
