"""Tasks on a node that sees neither workspace nor weights: what they read is carried there, and the bytes are ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.apart import do_apart
from support.colours import lay_out, write_toml

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.engine import Task, elsewhere, run_tasks
from kit.core.files import Workspace
from kit.data import store
from kit.data.prepared import Prepared, prepare
from kit.features.cache import squashed
from kit.runs.fit import decoding, tasks
from kit.runs.store.find import run_key
from kit.runs.tuning.setting import _make_tasks, change

RUNS = """
[runs.named]
model = "linear_probe"
encoder = "open_clip:local-dir:../../../weights/tiny-clip"
"""
KINDS = ("trials", "folds", "stores", "encoding")


def make_tasks(kind: str, prepared: Prepared) -> list[Task]:
    """Return tasks of a kind: of a search, of a run, of ranges that are decoded or encoded."""
    named = prepared.competition.run("named")
    if kind == "trials":
        setting, folder = change(named, {"C": 3.0}), prepared.competition.workspace.runs("colours") / "tune"
        return _make_tasks(prepared, setting, prepared.scored[:1], folder)
    if kind == "folds":
        return tasks.fold_tasks(prepared, named, run_key(prepared, named), prepared.scored[:1])
    if kind == "stores":
        return decoding.decode_tasks(prepared, squashed(4))
    return tasks.encode_tasks(prepared, named.options["encoder"], {})


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """A folder with weights, for workspaces beside them; nodes work elsewhere."""
    (nodes := tmp_path / "nodes").mkdir()
    monkeypatch.setattr(elsewhere.tempfile, "gettempdir", lambda: str(nodes))
    monkeypatch.setattr(decoding, "RANGE", 16)
    monkeypatch.setattr(tasks, "RANGE", 16)
    monkeypatch.setattr(store, "BLOCK", 8)
    shutil.copytree(HOME / "digits" / "tiny-clip", tmp_path / "base" / "weights" / "tiny-clip")
    return tmp_path / "base"


def prepare_at(root: Path) -> Prepared:
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", RUNS)
    return prepare(read_competition("colours", Workspace(root)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_sees_nothing_leaves_the_files_made_here(kind, base):
    made: list[dict[str, bytes]] = []
    for name in ("here", "there"):
        prepared = prepare_at(base / name)
        asked = make_tasks(kind, prepared)
        if name == "here":
            list(run_tasks(asked, prepared))
        else:
            do_apart(asked, prepared, base)
        files = [file for task in asked for place in task.writes for file in elsewhere.list_files(place)]
        made.append({str(file.relative_to(prepared.root)): file.read_bytes() for file in files})
    assert made[0].keys() == made[1].keys() and made[0]
    assert all(made[0][name] == made[1][name] for name in made[0] if not name.endswith("json"))  # notes tell seconds
