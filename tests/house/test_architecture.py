"""The house: imports go one way, the command line starts fast, nothing lies about."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
ORDER = {  # of the wings, and of the rooms inside each: a file or folder imports only from what stands before it
    "core": "shapes pairs names errors installed process files activity notebook figures wheel columns terminal held "
    "arrays shards deadline stopwatch tensors precision rounding machine engine",
    "scoring": "task hierarchy metrics predictions rejection chances mixing shares roc thresholds",
    "config": "grid known strict toml data plans runs competition reader",
    "data": "digits decoding images table class_names folds audit sheet ahead store nvjpeg greys prepared",
    "features": "transclip weights device encoders measure forward encoding cache whitening joint prompts nearest "
    "neighbours altered",
    "models": "search trust model balance logistic training copies heads networks classic options",
    "runs": "store record ensemble noise pseudo seen fit naming pace decide alarm train tuning verify history clean "
    "share track",
    "kaggle": "client submission bundle remote",
    "curate": "look_alikes mining plan start triage words",
    "report": "board correlation explain page",
    "api": "place stages sending starting tables pictures fresh opened competition",
    "bench": "coverage explain pretrain semi kept noise recipes members sent size speed engines",
    "cli": "app completion call streams bundle correlation data decisions device everything explain history house "
    "kaggle leaderboard mine models plan prompts remote report share start status train triage tune",
}
WINGS = list(ORDER)
TOP_LEVEL = {"README.md", "requirements.txt", "run.sh", "kit", "folds", "submissions", "tests", "LICENSE"}
TOP_LEVEL |= {"CHANGELOG.md", "pyproject.toml"}
FACES = ("api", "cli")  # what a user calls: each reaches every wing, and is no part of what the others must know
MAX_PAIRS = 50  # of the other wings, where one imports the other
MAX_LINES = 400  # of a file


def imported(file: Path) -> set[tuple[str, ...]]:
    """Return the kit's modules that a file imports, below ``kit``, as parts of their names."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kit":
            names += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names += [name.name for name in node.names if name.name.startswith("kit.")]
    return {tuple(name.split(".")[1:]) for name in names}


def place_of(file: Path) -> tuple[str, str]:
    """Return the wing and the room that a file belongs to; of what stands outside the wings its own name."""
    parts = (*file.relative_to(HOME / "kit").with_suffix("").parts, "__init__")
    return parts[0], parts[1]


FILES = [file for file in sorted((HOME / "kit").rglob("*.py")) if place_of(file)[0] not in ("__init__", "__main__")]


def test_wings_import_one_way():
    for file in FILES:
        wing, _ = place_of(file)
        for other in imported(file):
            if other[0] != "__version__":
                assert WINGS.index(other[0]) <= WINGS.index(wing), f"{file} imports kit.{'.'.join(other)}, right of it"


def test_folds_alone_split_data():
    splitters = "sklearn.model_selection"
    assert {place_of(file) for file in FILES if splitters in file.read_text(encoding="utf-8")} == {("data", "folds")}


def test_models_know_nothing_of_competitions():
    for file in FILES:
        if place_of(file)[0] == "models":
            wings = {other[0] for other in imported(file)}
            assert wings <= {"core", "scoring", "data", "features", "models"}, file


def test_rooms_of_a_wing_import_one_way():
    for file in FILES:
        wing, room = place_of(file)
        rooms = [*ORDER[wing].split(), "__init__"]
        for other in imported(file):
            if other[0] == wing and other[1] in rooms:
                assert rooms.index(other[1]) <= rooms.index(room), f"{file} imports kit.{'.'.join(other)}, right of it"


def test_files_of_a_room_do_not_import_in_a_circle():
    for room in {file.parent for file in FILES}:
        parts = room.relative_to(HOME / "kit").parts
        graph: dict[str, set[str]] = {}
        for file in room.glob("*.py"):
            below = {other[len(parts)] for other in imported(file) if other[: len(parts)] == parts != other}
            beside = [name for name in below if not (room / name).is_dir()]
            graph[file.stem] = {name if (room / f"{name}.py").exists() else "__init__" for name in beside} - {file.stem}
        TopologicalSorter(graph).prepare()  # names the circle


def test_every_room_has_its_place_in_the_order():
    wings = {path.parent.name for path in (HOME / "kit").glob("*/__init__.py")}
    assert wings == set(WINGS)
    assert {path.name for path in (HOME / "kit").glob("*.py")} == {"__init__.py", "__main__.py"}
    for wing in WINGS:
        rooms = {place_of(file)[1] for file in FILES if place_of(file)[0] == wing} - {"__init__"}
        assert rooms == set(ORDER[wing].split()), wing


def test_a_newcomer_can_hold_the_imports_in_the_head():
    files = [file for file in FILES if place_of(file)[0] not in FACES]
    pairs = {(place_of(file)[0], other[0]) for file in files for other in imported(file) if other[0] in WINGS}
    assert len({(wing, other) for wing, other in pairs if wing != other}) <= MAX_PAIRS


def test_no_file_grows_too_large_to_read():
    files = [*(HOME / "kit").rglob("*.py"), *(HOME / "tests").rglob("*.py")]
    long = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: n_lines for name, n_lines in long.items() if n_lines > MAX_LINES} == {}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['kit', '--help']\n"
        "try:\n    from kit.cli import main; main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'sklearn', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"


def test_building_a_model_does_not_import_torch():
    code = "import sys, kit.models; print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"


def test_top_level_holds_only_what_it_shall():
    listed = subprocess.run(["git", "ls-files"], cwd=HOME, capture_output=True, text=True)
    if listed.returncode == 0:
        names = {line.split("/")[0] for line in listed.stdout.splitlines()}
        assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_every_requirement_is_pinned_and_has_a_reason():
    for line in (HOME / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement, hash_sign, reason = line.partition("  # ")
            assert "==" in requirement and hash_sign and len(reason) > 10, line


def test_nothing_of_the_kit_is_ignored_by_git():
    if not (HOME / ".git").exists():
        pytest.skip("not a checkout")
    files = [str(path.relative_to(HOME)) for path in (HOME / "kit").rglob("*.py")]
    finished = subprocess.run(["git", "check-ignore", "--no-index", *files], cwd=HOME, capture_output=True, text=True)
    assert finished.stdout == "" and finished.returncode == 1
