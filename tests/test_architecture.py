"""The house: imports go one way, the command line starts fast, nothing lies about."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
ORDER = (
    "errors terminal files arrays deadline metrics predictions hierarchy grid search competition competition_file "
    "kaggle_api table images sheet check new digits folds prepare store weights device encoders features "
    "alike transduction mining prompts balance recipe training models model_options bagging pseudo decision exclusion "
    "runs rounds searched sweep fitting crossval correlation prompt_report importing mixing ensemble "
    "strangers decided submission submitting leaderboard verify tuning clean pipeline stopwatch triage "
    "explain report bundle bench pretrain cli __main__"
).split()
TOP_LEVEL = {"README.md", "requirements.txt", "run.sh", "kit", "folds", "submissions", "tests", "LICENSE"}
TOP_LEVEL |= {"CHANGELOG.md", "pyproject.toml"}


def imported(file: Path) -> set[str]:
    """Return the kit's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kit."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("kit.")}
    return found


def test_imports_go_one_way():
    for file in sorted((HOME / "kit").rglob("*.py")):
        module = file.relative_to(HOME / "kit").parts[0].removesuffix(".py")
        if module == "__init__":
            continue
        for other in imported(file):
            assert ORDER.index(other) <= ORDER.index(module), f"{file.name} imports kit.{other}, which is right of it"


def test_every_module_has_its_place_in_the_order():
    modules = {path.stem for path in (HOME / "kit").glob("*.py")}
    modules |= {path.parent.name for path in (HOME / "kit").glob("*/__init__.py")}
    assert modules - {"__init__"} == set(ORDER)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['kit', '--help']\n"
        "try:\n    from kit.cli import main; main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'sklearn', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"


def test_building_a_model_does_not_import_torch():
    code = "import sys, kit.models; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


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
    said = subprocess.run(["git", "check-ignore", "--no-index", *files], cwd=HOME, capture_output=True, text=True)
    assert said.stdout == "" and said.returncode == 1
