"""Write the kit as a wheel, by the standard library: no network, no build folder, the same bytes every time.

Reads the files of the kit that runs, be it a checkout or installed. The competitions that come with it are left out: a
bundle carries what its runs need.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.resources import files
from pathlib import Path

from kit import __version__

KIT_HOME = Path(str(files("kit")))
LEFT_OUT = ("__pycache__", "competitions")
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest of a zip file
WHEEL = "Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = f"Metadata-Version: 2.1\nName: kit\nVersion: {__version__}\nRequires-Python: >=3.11\n"


def write_wheel(folder: Path) -> Path:
    """Write the kit's wheel, ``kit-VERSION-py3-none-any.whl``, into a folder; return it.

    Its form is the binary distribution format of the Python Packaging User Guide (PEP 427).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, notes = folder / f"kit-{__version__}-py3-none-any.whl", f"kit-{__version__}.dist-info"
    content = {f"kit/{file.relative_to(KIT_HOME).as_posix()}": file.read_bytes() for file in _list_files()}
    content |= {f"{notes}/METADATA": METADATA.encode(), f"{notes}/WHEEL": WHEEL.encode()}
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in content.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in {**content, f"{notes}/RECORD": f"{record}{notes}/RECORD,,\n".encode()}.items():
            wheel.writestr(zipfile.ZipInfo(name, DATE), data, zipfile.ZIP_DEFLATED)
    return path


def _list_files() -> list[Path]:
    """Return the kit's files, its data among them, sorted."""
    visible = (file for file in sorted(KIT_HOME.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return [file for file in visible if not set(LEFT_OUT) & set(file.relative_to(KIT_HOME).parts)]


def _digest(data: bytes) -> str:
    """Return a SHA-256 as RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
