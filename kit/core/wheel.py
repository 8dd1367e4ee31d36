"""Write the kit as a wheel, by the standard library: no network, no build folder, the same bytes every time.

Reads the files of the kit that runs, be it a checkout or installed. A bundle carries it without the competitions; pip
calls `build_wheel` and `build_editable` here, as pyproject.toml says, for whoever installs a checkout: it need not be
writable, and nothing is fetched to build it.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from kit import __version__
from kit.core.names import CHECKOUT

KIT_HOME = Path(str(files("kit")))
COMPETITIONS = "competitions"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest of a zip file
NAME, NOTES = f"kit-{__version__}-py3-none-any.whl", f"kit-{__version__}.dist-info"
WHEEL = "Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = f"Metadata-Version: 2.4\nName: kit\nVersion: {__version__}\nRequires-Python: >=3.11\n"


def write_wheel(folder: Path) -> Path:
    """Write the kit's wheel, ``kit-VERSION-py3-none-any.whl``, without its competitions into a folder; return it."""
    return _write(folder, dict(_read_files(COMPETITIONS)), {"METADATA": METADATA})


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Write the wheel that pip installs, the competitions in it; return its name (PEP 517)."""
    return _write(Path(wheel_directory), dict(_read_files()), _describe()).name


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Write a wheel that leads to the checkout, for ``pip install --editable``; return its name (PEP 660)."""
    return _write(Path(wheel_directory), {"kit.pth": f"{KIT_HOME.parent}\n".encode()}, _describe()).name


def _write(folder: Path, content: dict[str, bytes], notes: dict[str, str]) -> Path:
    """Write files as a wheel, in the form of the Python Packaging User Guide (PEP 427)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = content | {f"{NOTES}/{name}": text.encode() for name, text in {**notes, "WHEEL": WHEEL}.items()}
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in content.items())
    with zipfile.ZipFile(folder / NAME, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in {**content, f"{NOTES}/RECORD": f"{record}{NOTES}/RECORD,,\n".encode()}.items():
            wheel.writestr(zipfile.ZipInfo(name, DATE), data, zipfile.ZIP_DEFLATED)
    return folder / NAME


def _read_files(*left_out: str) -> Iterator[tuple[str, bytes]]:
    """Yield the kit's files, its data among them, sorted: the name in the wheel, and the bytes."""
    for file in sorted(KIT_HOME.rglob("*")):
        place = file.relative_to(KIT_HOME)
        if file.is_file() and not file.name.startswith(".") and not {"__pycache__", *left_out} & set(place.parts):
            yield f"kit/{place.as_posix()}", file.read_bytes()


def _describe() -> dict[str, str]:
    """Return what pyproject.toml says, as an installed package holds it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [f"Summary: {project['description']}", f"License-Expression: {project['license']}"]
    lines += [f"License-File: {name}" for name in project["license-files"]]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    lines += ["Description-Content-Type: text/markdown", "", (CHECKOUT / project["readme"]).read_text(encoding="utf-8")]
    scripts = "".join(f"{name} = {place}\n" for name, place in project["scripts"].items())
    licenses = {f"licenses/{name}": (CHECKOUT / name).read_text(encoding="utf-8") for name in project["license-files"]}
    return {"METADATA": METADATA + "\n".join(lines), "entry_points.txt": f"[console_scripts]\n{scripts}", **licenses}


def _digest(data: bytes) -> str:
    """Return a SHA-256 as RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
