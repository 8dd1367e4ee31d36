"""README.md and CONTRIBUTING.md do what they say: every command and every block is run, or at least read."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from support.clips import TINY_CLIP
from support.colours import lay_out, write_toml
from support.kaggle_site import point_at, read_solution

from kit.cli import main
from kit.cli.app import app, hoist
from kit.config import data as data_tables
from kit.config import plans
from kit.config import runs as run_tables
from kit.config.competition import COMPETITION_FILE, HOME, Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.models import MODELS
from kit.report.page import sections
from kit.report.page.evidence import Evidence
from kit.runs.fit.crossval import check_run
from kit.runs.train import find_finished

REPOSITORY = Path(__file__).parents[2]
ORDER = runpy.run_path(str(Path(__file__).with_name("test_architecture.py")))["ORDER"]
README, CONTRIBUTING = REPOSITORY / "README.md", REPOSITORY / ".github" / "CONTRIBUTING.md"
NOTEBOOK = CONTRIBUTING.with_name("NOTEBOOK.md")
PAGES = [README, CONTRIBUTING, NOTEBOOK, *sorted((REPOSITORY / "kit").rglob("README.md"))]
OURS = ("./run.sh", "kit")
SET_UP = ("git", "pip", ".venv/bin/pyright", ".venv/bin/ruff")  # the words with which other commands begin
PARSED = ("download", "submit", "submissions", "test")  # what meets the network, and the tests themselves
MEANT = {"COMP": "trash", "SLUG": "trash", "RUN": "svm", "NAME": "linear_probe", "DIR": "elsewhere", "FILE": "rows.csv"}
DIGITS = """
[competition]
title = "digits, cut down"

[data]
root = "data/digits"
embedded = "digits"
labeled = { csv = "train.csv", images = "train", id = "id", label = "label" }
test = "test"
sample_submission = "sample_submission.csv"

[folds]
n = 2

[runs.forest]
model = "forest"
n_trees = 5
pixels = 4
"""


def blocks_of(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for name, block in fences if name == language]


def without_blocks(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """Give the words of each command line: those of a block, with the prompt of a transcript taken off."""
    for line in "".join(blocks_of(page, "") + blocks_of(page, "bash")).splitlines():
        line = re.sub(r"^(bash )?[\w/]*/run\.sh ", "./run.sh ", line.removeprefix("$ ").removeprefix("!"))
        if line.startswith((*OURS, *SET_UP, "kaggle ")) and not line.startswith("kit/"):
            for command in re.split(r"\s&&\s", line):
                yield shlex.split(command, comments=True)


def spans_of(page: Path) -> Iterator[list[str]]:
    """Give the words of each command inside a sentence."""
    for span in re.findall(r"`(\./run\.sh [^`]+)`", without_blocks(page.read_text(encoding="utf-8"))):
        yield shlex.split(span)


def parse(words: list[str]) -> str:
    """Read a command as the command line does, and do nothing; return its name."""
    given = hoist([MEANT.get(word, word) for word in words])
    group = typer.main.get_command(app)
    context = group.make_context("kit", given)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)
    return name


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Path, Path]:
    """A user's home with a folder of photos, and a workspace whose digits are cut down."""
    home, workspace = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("workspace")
    lay_out(home / "trash")
    digits = workspace / "competitions" / "digits"
    shutil.copytree(HOME / "digits" / "tiny-clip", digits / "tiny-clip")
    (digits / COMPETITION_FILE).write_text(DIGITS, encoding="utf-8")
    return home, workspace


@pytest.fixture
def run(places, monkeypatch, capsys):
    """Return a function that runs one command of a page in the shared workspace."""
    home, workspace = places
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(workspace)

    def call(words: list[str]) -> None:
        given = [MEANT.get(word, word) for word in words]
        if "--workspace" in given:
            given[given.index("--workspace") + 1] = str(workspace)
        else:
            given += ["--workspace", str(workspace)]
        monkeypatch.setattr(sys, "argv", ["kit", *given])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, (given, capsys.readouterr().err)
        if words[0] == "new":
            cut_down(workspace / "competitions" / words[1] / COMPETITION_FILE)

    return call


def cut_down(file: Path) -> None:
    """Give a new competition small forests, and a CLIP that is here, as the hub would offer one."""
    text = file.read_text(encoding="utf-8").replace('model = "forest"', 'model = "forest"\nn_trees = 5')
    probe = f'\n[runs.words]\nmodel = "linear_probe"\nencoder = "{TINY_CLIP}"\nprompts = "first"\n'
    file.write_text(text + probe, encoding="utf-8")


def load(source: str, path: Path):
    """Import a block as the file that it is meant to be."""
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nearest_mean(tmp_path, monkeypatch):
    """The model of CONTRIBUTING.md, as if it were in MODELS."""
    monkeypatch.delitem(sys.modules, "nearest_mean", raising=False)
    module = load(blocks_of(CONTRIBUTING, "python")[0], tmp_path / "nearest_mean.py")
    monkeypatch.setitem(MODELS, "nearest_mean", module.NearestMean)


def test_every_command_of_the_readme_and_of_contributing_works(run, nearest_mean):
    pytest.importorskip("open_clip")
    done = set()
    for page in (README, CONTRIBUTING):
        for program, *words in commands_of(page):
            if program in OURS and words[0] not in PARSED and (key := tuple(words)) not in done:
                done.add(key)
                run(words)
    assert {words[0] for words in done} >= {"all", "new", "train", "models", "prompts"}


def test_every_command_of_every_page_is_understood_by_the_command_line():
    parsed = []
    for page in PAGES:
        for program, *words in [*commands_of(page), *spans_of(page)]:
            if program in OURS and words[0] not in ("test", "COMMAND") and not words[0].startswith("--"):
                assert parse(words) == words[0], f"{page}: {words}"
                parsed.append(words[0])
    assert set(PARSED) - {"test"} <= set(parsed) and len(parsed) > 40


def test_what_is_said_beside_our_commands_is_there():
    for page in (README, CONTRIBUTING):
        for words in commands_of(page):
            if words[:2] == ["./run.sh", "test"]:
                paths = [REPOSITORY / word for word in words if word.startswith("tests/")]
                assert all(path.exists() for path in paths), words
            elif words[0] == "pip" and words[2].startswith("."):
                project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
                assert set(re.findall(r"[a-z]+", words[2])) <= set(project["optional-dependencies"])
            elif words[0].startswith(".venv/"):
                assert "/pyright" in words[0] or "/ruff" in words[0]
            else:
                assert words[0] in (*OURS, "kaggle", "git", "cd", "pip", "pre-commit"), words


def test_kaggles_client_sends_the_file_as_the_readme_says(kaggle, kaggle_home, monkeypatch, tmp_path):
    lay_out(tmp_path / "data")
    kaggle.begin(read_solution(tmp_path / "data"))
    point_at(kaggle, monkeypatch, kaggle_home)
    (words,) = [words for words in commands_of(README) if words[0] == "kaggle"]
    file = tmp_path / words[words.index("-f") + 1]
    file.parent.mkdir(parents=True)
    file.write_text("id,label\n" + "".join(f"{name},{label}\n" for name, label in kaggle.solution.items()))
    words = [kaggle.slug if word == "SLUG" else word for word in words[1:]]
    loopback = REPOSITORY / "tests" / "support" / "loopback"
    monkeypatch.setenv("PYTHONPATH", str(loopback))
    command = [sys.executable, "-c", "from kaggle.cli import main; main()", *words]
    sent = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert sent.returncode == 0 and "Successfully submitted" in sent.stdout, sent.stdout + sent.stderr
    assert [row["fileName"] for row in kaggle.submissions] == [file.name]


def test_the_test_of_the_new_model_passes(nearest_mean, colours, tmp_path):
    module = load(blocks_of(CONTRIBUTING, "python")[1], tmp_path / "test_nearest_mean.py")
    module.test_nearest_mean_tells_colours_apart(colours)


def test_the_metric_scores_a_competition(colours):
    competition = colours()
    (competition.folder / "scoring.py").write_text(blocks_of(CONTRIBUTING, "python")[2], encoding="utf-8")
    changed = read_competition("colours", competition.workspace, ("competition.metric=scoring.cost",))
    assert changed.metric.name == "scoring.cost" and not changed.metric.greater_is_better


def test_the_section_can_be_built_and_drawn(colours, tmp_path):
    module = load(blocks_of(CONTRIBUTING, "python")[3], tmp_path / "counts.py")
    prepared = prepare(colours())
    section = module.build(Evidence(prepared, find_finished(prepared)))
    assert section.parts[0].rows == [["labeled", 18], ["unlabeled", 12], ["test", 9]]
    assert len(blocks_of(CONTRIBUTING, "python")) == 4 and not blocks_of(README, "python")
    assert sections.SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_run_of_a_page_is_accepted(page, tmp_path):
    for block in blocks_of(page, "toml"):
        tables = tomllib.loads(block)
        if "runs" in tables:
            lay_out(tmp_path / "data" / "colours", n_labeled=2, n_unlabeled=3, n_test=1)
            folder = tmp_path / "competitions" / "colours"
            names = ("probe", "wise_ft")
            others = "".join(f'[runs.{name}]\nmodel = "svm"\n' for name in names if name not in tables["runs"])
            write_toml(folder, block.replace("open_clip:ViT-B-32/openai", TINY_CLIP) + others)
            for name in ("first", "crafted"):
                (folder / "prompts").mkdir(exist_ok=True)
                words = "[words]\nblue = ['sky']\ngreen = ['grass']\nred = ['blood']\n"
                (folder / "prompts" / f"{name}.toml").write_text(words)
            prepared = prepare(read_competition("colours", Workspace(tmp_path)))
            for name in tables["runs"]:
                check_run(prepared, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{page}: {target}"
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page}: {target}"
    assert not re.search(r"/(work|tmp|root|home)/", text), "a path of one machine"


def test_the_readme_is_short_and_its_picture_small():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
    assert (REPOSITORY / ".github" / "report.png").stat().st_size < 200_000


def test_every_room_has_its_line_in_the_house():
    text = (REPOSITORY / "kit" / "README.md").read_text(encoding="utf-8")
    named = {
        wing: set(re.findall(r"`(\w+)`", "".join(re.findall(r"^- ((?:`\w+`(?:, )?)+)", lines, re.MULTILINE))))
        for wing, lines in re.findall(r"^\*\*(\w+)\*\*\n((?:- .*\n)+)", text, re.MULTILINE)
    }
    assert named == {wing: set(rooms.split()) for wing, rooms in ORDER.items()}


def test_every_key_of_a_competition_is_told():
    text = (REPOSITORY / "kit" / "config" / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", without_blocks(text)))))
    tables = [data_tables.Facts, data_tables.Data, data_tables.Listing, data_tables.Tree, run_tables.PseudoPlan]
    tables += [run_tables.Cores, plans.Folds, plans.Mining, plans.EnsemblePlan, plans.DecisionPlan]
    keys = {key for table in tables for key in table.model_fields}
    keys |= set(run_tables.Run.model_fields) - {"name", "options"}
    assert keys <= told, keys - told
    assert {"facts", "data", "folds", "mining", "ensemble", "decision"} <= set(Competition.model_fields)


def test_every_model_and_metric_is_told():
    models = (REPOSITORY / "kit" / "models" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in models for name in MODELS)


def test_pre_commit_and_the_workflow_call_what_is_there():
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert hooks.count("language: system") == hooks.count("- id:") == 3 and "http" not in hooks
    assert "run: ./run.sh test" in (REPOSITORY / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
