"""From `new` to a submission, nothing edited: every kind of layout that competitions have, with the right answers."""

from __future__ import annotations

import csv
import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from support.layouts import LAYOUTS, Page

from kit.scoring.metrics import METRICS

pytestmark = pytest.mark.usefixtures("quick_looks")

FAST = ("--set", "runs.forest.n_trees=40", "--set", "folds.n=2")


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


def share_right(page: Page, header: list[str], rows: list[list[str]]) -> float:
    """Return how many rows of a submission are right, whatever its form."""
    truth = [page.truth[row[0]] for row in rows]
    if len(header) > 2:
        said = [header[1:][max(range(len(row) - 1), key=lambda i: float(row[1 + i]))] for row in rows]
    elif METRICS[page.metric].needs == "proba" if page.metric in METRICS else False:
        positive = page.positive or page.classes[-1]
        assert len({row[1] for row in rows}) > 2, "labels where probabilities are wanted"
        cut = sorted(float(row[1]) for row in rows)[len(rows) // 2]
        said = [positive if float(row[1]) >= cut else next(c for c in page.classes if c != positive) for row in rows]
    elif page.metric.startswith("map@"):
        said = [row[1].split()[0] for row in rows]
    else:
        said = [row[1] for row in rows]
        truth = [" ".join(sorted(label.split("|"))) for label in truth]
        said = [" ".join(sorted(label.replace("|", " ").split())) for label in said]
    return sum(one == other for one, other in zip(said, truth, strict=True)) / len(truth)


@pytest.mark.parametrize("lay_out", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_competition_goes_from_new_to_a_submission_without_editing(tmp_path, run_command, lay_out):
    data, work = tmp_path / "data", tmp_path / "workspace"
    page = lay_out(data)
    told = ["--metric", page.metric, *(["--positive", page.positive] if page.positive else [])]
    code, out, err = run_command(work, "new", "tried", "--data", str(data), *told, "--json")
    assert code == 0, err
    folder = Path(json.loads(out)["file"]).parent
    tables = tomllib.loads((folder / "competition.toml").read_text("utf-8"))
    assert (tables["competition"]["task"], tables["competition"]["metric"]) == (page.task, page.metric)
    assert tables["folds"].get("group") == page.group
    if page.words:
        words = tomllib.loads((folder / "prompts" / "first.toml").read_text("utf-8"))["words"]
        assert [name for of_class in words.values() for name in of_class] == list(page.words)
    code, out, err = run_command(work, "check", "tried", "--json")
    assert code == 0, err
    audit = json.loads(out)
    assert sorted(audit["classes"]) == sorted(page.classes)
    assert (audit["splits"]["labeled"], audit["splits"]["test"]) == (page.n_labeled, len(page.truth))
    for command in ("train", "submission"):
        code, _, err = run_command(work, command, "tried", "forest", *FAST)
        assert code == 0, err
    header, *rows = rows_of(next((work / "submissions" / "tried").glob("*_forest.csv")))
    sample = rows_of(data / page.sample) if page.sample else [list(page.header), *([name] for name in page.truth)]
    assert header == sample[0]
    if page.sample:
        assert [row[0] for row in rows] == [row[0] for row in sample[1:]]
    most = Counter(page.truth.values()).most_common(1)[0][1] / len(page.truth)
    assert share_right(page, header, rows) > max(most, 0.6)
