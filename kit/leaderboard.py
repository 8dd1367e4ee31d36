"""Leaderboard: every run with CV +- SE, the paired test against the best, and local or Kaggle scores.

Reads run.json and the predictions of finished runs, the ledger, and - this module alone - a practice competition's
solution file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from kit.competition import ENSEMBLE, Competition
from kit.errors import InputError, some
from kit.metrics import METRICS, distinguishable, paired_difference, score_with_error
from kit.predictions import Predictions
from kit.prepare import Prepared
from kit.runs import Result, oof_rows
from kit.submission import read_ledger
from kit.table.scan import read_csv
from kit.terminal import escape

SAME = "not distinguishable"


@dataclass(frozen=True)
class Row:
    """Hold one line of the leaderboard; None where a thing is not known."""

    run: str
    model: str
    encoder: str | None
    round: int | None
    test_images_used: bool
    cv: float | None
    se: float | None
    difference: float | None
    difference_se: float | None
    verdict: str
    local: float | None
    local_se: float | None
    public: str | None
    private: str | None
    seconds: float | None


def leaderboard(prepared: Prepared, results: Sequence[Result], skipped: dict[str, str]) -> list[Row]:
    """Return the leaderboard's rows, best CV first.

    Parameters
    ----------
    prepared
        The competition made ready.
    results
        Finished runs, the ensemble among them.
    skipped
        Runs that could not be made, and why.
    """
    metric = METRICS[prepared.competition.facts.metric]
    ordered = sorted(results, key=lambda result: -metric.sign * result.facts["cv"])
    solution = read_solution(prepared)
    sent = {row["run"]: row for row in read_ledger(prepared.competition)}
    rows = [_row(prepared, result, ordered[0], solution, sent.get(result.name, {})) for result in ordered]
    empty = dict.fromkeys(Row.__dataclass_fields__)
    for name, reason in skipped.items():
        run = prepared.competition.runs[name]
        text = {"run": name, "model": run.model, "encoder": run.options.get("encoder"), "verdict": f"skipped: {reason}"}
        rows.append(Row(**empty | text | {"test_images_used": run.use_test_images}))
    return rows


def read_solution(prepared: Prepared) -> dict[str, int] | None:
    """Return the hidden labels of a practice competition, id -> class code.

    Raises
    ------
    InputError
        When it names other ids than the test's, or unknown classes.
    """
    competition = prepared.competition
    if competition.data.solution is None:
        return None
    path = competition.root / competition.data.solution
    table = read_csv(path)
    codes = {name: code for code, name in enumerate(prepared.classes)}
    ids, labels = table.iloc[:, 0], table.iloc[:, 1]
    if unknown := sorted(set(labels) - set(codes)):
        raise InputError(f"{path}: labels that are not classes: {some(unknown)}")
    solution = {image_id: codes[label] for image_id, label in zip(ids, labels, strict=True)}
    tested = set(prepared.pool.ids[prepared.split("test")])
    if missing := sorted(tested - set(solution)):
        raise InputError(f"{path}: {len(missing)} test images are not in it: {some(missing)}")
    return solution


def local_score(competition: Competition, solution: dict[str, int], test: Predictions) -> tuple[float, float]:
    """Return metric and standard error of test predictions, as Kaggle would score them."""
    labels = np.array([solution[image_id] for image_id in test.ids])
    return score_with_error(competition.facts.metric, labels, test.proba)


def render(prepared: Prepared, rows: Sequence[Row], width: int) -> Table:
    """Return the leaderboard as a Rich table that fits `width` characters.

    Columns that would be empty are left out; encoder and model are left out where there is no room.
    """
    facts = prepared.competition.facts
    known = {name for name in Row.__dataclass_fields__ if any(getattr(row, name) is not None for row in rows)}
    known |= {"run", "model", "cv", "verdict"}
    columns = {name: column for name, column in COLUMNS.items() if name in known}
    for spare in ("encoder", "model", "round", "seconds"):
        if _width(columns, rows) > width:
            columns.pop(spare, None)
    table = Table(
        title=f"{escape(facts.title)} ({facts.metric})",
        caption=f"= {SAME} from the best at 95 % (paired on the same images)",
        title_justify="left", caption_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for name, (header, _) in columns.items():
        table.add_column(
            header, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=name != "run", overflow="fold"
        )
    for row in rows:
        style = "bold" if row.run == ENSEMBLE else "dim" if row.cv is None else None
        table.add_row(*[escape(cell(row)) for _, cell in columns.values()], style=style)
    return table


def _width(columns: dict[str, tuple[str, Callable[[Row], str]]], rows: Sequence[Row]) -> int:
    """Return how many characters the columns need side by side."""
    return sum(3 + max(len(header), *(len(cell(row)) for row in rows)) for header, cell in columns.values())


def _row(
    prepared: Prepared, result: Result, best: Result, solution: dict[str, int] | None, sent: dict[str, str]
) -> Row:
    """Fill one line."""
    name, facts = result.name, result.facts
    options = facts.get("options") or {}
    metric = prepared.competition.facts.metric
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    _, best_proba = oof_rows(prepared, best.predictions("oof"))
    difference, error = paired_difference(metric, labels, proba, best_proba)
    local = (None, None)
    if solution is not None:
        local = local_score(prepared.competition, solution, result.predictions("test"))
    return Row(
        run=name,
        model=facts["model"],
        encoder=options.get("encoder"),
        round=int(name.rpartition(".")[2]) if facts.get("pseudo") else None,
        test_images_used=bool(facts.get("use_test_images")),
        cv=facts["cv"],
        se=facts["se"],
        difference=difference,
        difference_se=error,
        verdict=_verdict(result is best, difference, error),
        local=local[0],
        local_se=local[1],
        public=sent.get("public") or None,
        private=sent.get("private") or None,
        seconds=facts.get("seconds"),
    )


def _verdict(is_best: bool, difference: float, error: float) -> str:
    """Say whether a run can be told from the best."""
    if is_best:
        return "best"
    return f"{difference:+.3f} ± {error:.3f}" if distinguishable(difference, error) else SAME


def _with_error(value: float | None, error: float | None) -> str:
    return "" if value is None else f"{value:.3f} ± {error:.3f}"


def _short(encoder: str | None) -> str:
    """Leave out an encoder's library and folders: its name says enough in a table."""
    return (
        ""
        if encoder is None
        else encoder.removeprefix("open_clip:").removeprefix("timm:").rpartition("local-dir:")[2].partition("@")[0]
    )


TEXT_COLUMNS = ("run", "model", "encoder", "verdict")
COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "run": ("run", lambda row: row.run),
    "model": ("model", lambda row: row.model),
    "encoder": ("encoder", lambda row: _short(row.encoder)),
    "round": ("round", lambda row: "" if row.round is None else str(row.round)),
    "cv": ("CV ± SE", lambda row: _with_error(row.cv, row.se)),
    "verdict": ("against best", lambda row: "=" if row.verdict == SAME else row.verdict.partition(":")[0]),
    "local": ("local ± SE", lambda row: _with_error(row.local, row.local_se)),
    "public": ("public", lambda row: row.public or ""),
    "private": ("private", lambda row: row.private or ""),
    "seconds": ("s", lambda row: "" if row.seconds is None else f"{row.seconds:.0f}"),
}
