"""Leaderboard: every run with CV +- SE, the paired test against the best, and local or Kaggle scores.

Reads run.json and the predictions of finished runs, the ledger, and - this module alone - a practice competition's
solution file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from kit.competition import ENSEMBLE
from kit.errors import InputError, some
from kit.files import read_json
from kit.ledger import read_ledger
from kit.metrics import METRICS, distinguishable, paired_difference, score_with_error
from kit.predictions import Predictions
from kit.prepare import Prepared
from kit.rounds import describe_end
from kit.runs import Result, fold_folder, list_imported, oof_rows, result_at
from kit.submission import with_broken
from kit.table.scan import read_csv
from kit.table.sources import find_file
from kit.terminal import escape
from kit.weights import LOCAL_DIR

SAME = "not distinguishable"


@dataclass(frozen=True)
class Row:
    """Hold one line of the leaderboard; None where a thing is not known.

    `test_images_used` says that the run, one of its teachers or one of its members learned from test images;
    `pseudo_precision` is the share, 0..1, of the test images it was taught whose pseudo label the solution confirms;
    `remarks` hold what must be known of the CV before it is believed, and why rounds of pseudo labels ended.
    """

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
    remarks: tuple[str, ...] = ()
    pseudo_precision: float | None = None


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
    ledger = read_ledger(prepared.competition)
    rows = [_row(prepared, result, ordered[0], solution, ledger) for result in ordered]
    empty = dict.fromkeys(Row.__dataclass_fields__) | {"remarks": ()}
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
        When it is missing, lacks a test image or a column, or names unknown classes.
    """
    competition = prepared.competition
    if competition.data.solution is None:
        return None
    path = find_file(competition, "solution", competition.data.solution)
    table = read_csv(path)
    if table.shape[1] < 2:
        raise InputError(f"{path}: only one column; expected an id and a label")
    codes = {name: code for code, name in enumerate(prepared.classes)}
    ids, labels = table.iloc[:, 0], table.iloc[:, 1]
    if unknown := sorted(set(labels) - set(codes)):
        raise InputError(f"{path}: labels that are not classes: {some(unknown)}")
    solution = {image_id: codes[label] for image_id, label in zip(ids, labels, strict=True)}
    tested = {*prepared.pool.ids[prepared.split("test")], *prepared.broken_test}
    if missing := sorted(tested - set(solution)):
        raise InputError(f"{path}: {len(missing)} test images are not in it: {some(missing)}")
    return solution


def local_score(prepared: Prepared, solution: dict[str, int], test: Predictions) -> tuple[float, float]:
    """Return metric and standard error of test predictions, as Kaggle would score the submission made of them."""
    test = with_broken(prepared, test)
    labels = np.array([solution[image_id] for image_id in test.ids], dtype=np.int64)
    return score_with_error(prepared.competition.facts.metric, labels, test.proba)


def used_test_images(prepared: Prepared, result: Result) -> bool:
    """Return whether a run learned from test images, by itself or through its teachers or members.

    How an import was made is not known; it counts as one that did not.

    Raises
    ------
    InputError
        When a teacher or member is not there any more.
    """
    return bool(result.facts.get("use_test_images")) or any(
        used_test_images(prepared, source) for source in _sources(prepared, result)
    )


def optimistic_lists(prepared: Prepared, result: Result) -> set[str]:
    """Return the prompt lists, of a run or its teachers or members, that were edited after their score was seen."""
    own = set(result.facts.get("optimistic") or ())
    return own.union(*(optimistic_lists(prepared, source) for source in _sources(prepared, result)))


def _sources(prepared: Prepared, result: Result) -> list[Result]:
    """Return a run's teachers and members; how an import was made is not known."""
    sources = result.facts["teachers"] | result.facts.get("members", {})
    own = [(name, key) for name, key in sources.items() if name not in list_imported(prepared)]
    return [result_at(prepared, name, key) for name, key in own]


def render(prepared: Prepared, rows: Sequence[Row], width: int) -> Table:
    """Return the leaderboard as a Rich table that fits `width` characters.

    Columns that would be empty are left out; encoder and model are left out where there is no room.
    """
    facts, is_mined = prepared.competition.facts, prepared.competition.data.labels_are_mined
    known = {name for name in COLUMNS if any(getattr(row, name) is not None for row in rows)}
    known |= {"run", "model", "cv", "verdict"}
    if not any(row.test_images_used for row in rows):
        known.remove("test_images_used")
    columns = {name: column for name, column in COLUMNS.items() if name in known}
    for spare in ("encoder", "model", "round", "seconds"):
        if _width(columns, rows) > width:
            columns.pop(spare, None)
    table = Table(
        title=f"{escape(facts.title)} ({facts.metric}{' on mined labels' if is_mined else ''})",
        caption="\n".join([f"= {SAME} from the best at 95 % (paired on the same images)", *_footnotes(rows)]),
        title_justify="left", caption_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for name, (header, _) in columns.items():
        header = "agreement ± SE" if name == "cv" and is_mined else header
        table.add_column(
            header, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=name != "run", overflow="fold"
        )
    for row in rows:
        style = "bold" if row.run == ENSEMBLE else "dim" if row.cv is None else None
        table.add_row(*[escape(cell(row)) for _, cell in columns.values()], style=style)
    return table


def _footnotes(rows: Sequence[Row]) -> list[str]:
    """Return each remark with the runs that it is about."""
    remarks: dict[str, list[str]] = {}
    for row in rows:
        for remark in row.remarks:
            remarks.setdefault(remark, []).append(row.run)
    return [escape(f"{_mark([remark])}{', '.join(runs)}: {remark}") for remark, runs in remarks.items()]


def _mark(remarks: Sequence[str]) -> str:
    """Return a star where a remark is about the CV itself."""
    return "*" if any(remark.startswith("CV") for remark in remarks) else ""


def _width(columns: dict[str, tuple[str, Callable[[Row], str]]], rows: Sequence[Row]) -> int:
    """Return how many characters the columns need side by side."""
    return sum(3 + max(len(header), *(len(cell(row)) for row in rows)) for header, cell in columns.values())


def _row(
    prepared: Prepared, result: Result, best: Result, solution: dict[str, int] | None, ledger: list[dict[str, str]]
) -> Row:
    """Fill one line."""
    name, facts = result.name, result.facts
    options = facts.get("options") or {}
    metric = prepared.competition.facts.metric
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    _, best_proba = oof_rows(prepared, best.predictions("oof"))
    difference, error = paired_difference(metric, labels, proba, best_proba)
    test = None if solution is None else result.predictions("test")
    local = (None, None) if test is None else local_score(prepared, solution, test)
    public, private = _kaggle_scores(ledger, facts["key"])
    return Row(
        run=name,
        model=facts["model"],
        encoder=options.get("encoder"),
        round=int(name.rpartition(".")[2]) if facts.get("pseudo") else None,
        test_images_used=used_test_images(prepared, result),
        cv=facts["cv"],
        se=facts["se"],
        difference=difference,
        difference_se=error,
        verdict=_verdict(result is best, difference, error),
        local=local[0],
        local_se=local[1],
        public=public,
        private=private,
        seconds=facts.get("seconds"),
        remarks=_remarks(prepared, result),
        pseudo_precision=None if solution is None else _pseudo_precision(prepared, result, solution),
    )


def _remarks(prepared: Prepared, result: Result) -> tuple[str, ...]:
    """Return what must be known of a run's CV before it is believed."""
    lists = sorted(optimistic_lists(prepared, result))
    said = [f"CV optimistic: prompt list {name} was edited after its score was seen" for name in lists]
    if result.facts.get("refit"):
        said.append("CV not measured: sent is one model refitted on everything, the CV is the folds' models'")
    if result.facts.get("pseudo") and (end := describe_end(prepared, result.name.rpartition(".")[0])):
        said.append(end)
    return tuple(said)


def _pseudo_precision(prepared: Prepared, result: Result, solution: dict[str, int]) -> float | None:
    """Return which share of the test images that a run was taught is right; None where it was taught none."""
    right: list[bool] = []
    for fold in prepared.scored if result.facts.get("pseudo") else ():
        pseudo = (read_json(fold_folder(result.folder, fold) / "provenance.json") or {}).get("pseudo")
        for name, code in zip(pseudo["ids"], pseudo["codes"], strict=True) if pseudo else ():
            split, _, image_id = name.partition("/")
            right += [solution[image_id] == code] if split == "test" else []
    return float(np.mean(right)) if right else None


def _kaggle_scores(ledger: list[dict[str, str]], key: str) -> tuple[str | None, str | None]:
    """Return Kaggle's latest public and private scores of exactly this run: its name may have had other settings."""
    sent = [row for row in ledger if row["key"] == key and (row["public"] or row["private"])]
    return (sent[-1]["public"] or None, sent[-1]["private"] or None) if sent else (None, None)


def _verdict(is_best: bool, difference: float, error: float) -> str:
    """Say whether a run can be told from the best."""
    if is_best:
        return "best"
    return f"{difference:+.3f} ± {error:.3f}" if distinguishable(difference, error) else SAME


def _with_error(value: float | None, error: float | None) -> str:
    return "" if value is None else f"{value:.3f} ± {error:.3f}"


def _short(encoder: str | None) -> str:
    """Leave out an encoder's library and folders: its name says enough in a table."""
    if encoder is None:
        return ""
    if LOCAL_DIR in encoder:
        return Path(encoder.partition(LOCAL_DIR)[2]).name
    return encoder.removeprefix("open_clip:").removeprefix("timm:").partition("@")[0]


TEXT_COLUMNS = ("run", "model", "encoder", "verdict")
COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "run": ("run", lambda row: row.run),
    "model": ("model", lambda row: row.model),
    "encoder": ("encoder", lambda row: _short(row.encoder)),
    "round": ("round", lambda row: "" if row.round is None else str(row.round)),
    "test_images_used": ("uses test", lambda row: "yes" if row.test_images_used else ""),
    "cv": ("CV ± SE", lambda row: _with_error(row.cv, row.se) + _mark(row.remarks)),
    "verdict": ("against best", lambda row: "=" if row.verdict == SAME else row.verdict.partition(":")[0]),
    "local": ("local ± SE", lambda row: _with_error(row.local, row.local_se)),
    "public": ("public", lambda row: row.public or ""),
    "private": ("private", lambda row: row.private or ""),
    "seconds": ("s", lambda row: "" if row.seconds is None else f"{row.seconds:.0f}"),
}
