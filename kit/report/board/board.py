"""The leaderboard as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from kit.core.names import ENSEMBLE
from kit.core.terminal import empty_table, escape
from kit.data.prepared import Prepared
from kit.features.weights import LOCAL_DIR
from kit.report.board.expected import describe_expected
from kit.report.board.luck import describe_luck
from kit.report.board.nesting import describe_nesting
from kit.report.board.rows import JOINED, SAME, Row

SEVERAL_WIDTH = 24  # characters that the names of several encoders may take


def render_board(prepared: Prepared, rows: Sequence[Row], width: int) -> Table:
    """Return the leaderboard as a Rich table that fits `width` characters.

    Columns that would be empty are left out; encoder and model are left out where there is no room.
    """
    facts, is_mined = prepared.competition.facts, prepared.competition.data.labels_are_mined
    known = {name for name in COLUMNS if any(getattr(row, name) is not None for row in rows)}
    known |= {"run", "model", "cv", "verdict"}
    if not any(row.test_images_used for row in rows):
        known.remove(USES_TEST)
    columns, left_out = _fit_columns({name: column for name, column in COLUMNS.items() if name in known}, rows, width)
    notes = [f"no room for {', '.join(left_out)}: a wider terminal or --json shows them"] if left_out else []
    if USES_TEST in known - columns.keys():
        notes.append(f"use test images: {', '.join(row.run for row in rows if row.test_images_used)}")
    caption = [f"= {SAME} from the best at 95 % (all runs jointly, on the same images)"]
    caption += [
        *describe_luck(prepared, rows),
        *_tell_expected(prepared, rows),
        *describe_nesting(prepared, rows),
        *notes,
        *_footnotes(rows),
    ]
    title = f"{facts.title} ({facts.metric}{' on mined labels' if is_mined else ''})"
    table = empty_table(title, "\n".join(caption))
    for name, (header, _) in columns.items():
        header = "agreement ± SE" if name == "cv" and is_mined else header
        table.add_column(
            header, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=name != "run", overflow="fold"
        )
    for row in rows:
        style = "bold" if row.run == ENSEMBLE else "dim" if row.cv is None else None
        table.add_row(*[escape(cell(row)) for _, cell in columns.values()], style=style)
    return table


def _tell_expected(prepared: Prepared, rows: Sequence[Row]) -> list[str]:
    """Say what is expected of the ensemble's submission, or of the best run's where there is none."""
    scored = [row for row in rows if row.cv is not None]
    row = next((row for row in scored if row.run == ENSEMBLE), scored[0] if scored else None)
    sentence = row and row.cv is not None and describe_expected(prepared, row.run, row.cv, row.expected)
    return [sentence] if sentence else []


def _fit_columns(columns: Columns, rows: Sequence[Row], width: int) -> tuple[Columns, list[str]]:
    """Put the scores beside the CV and leave out what has no room: their errors first, at last they themselves.

    Returns the columns, and the headers of the scores and verdicts that were left out.
    """
    beside, left_out = _telling(rows), []
    if _width(fitted := _place(columns, beside, True), rows) <= width:
        return fitted, []
    for spare in ("", "encoder", "model", "round", "seconds"):
        columns = {name: column for name, column in columns.items() if name != spare}
        if _width(_place(columns, beside, False), rows) <= width:
            break
    while beside and _width(_place(columns, beside, False), rows) > width:
        left_out.insert(0, SHORT.get(beside[-1], beside[-1]))
        beside.pop()
    for spare in ("private", "local", "public", USES_TEST, "verdict"):  # run and CV stay
        if spare in columns and _width(_place(columns, beside, False), rows) > width:
            header, _ = columns.pop(spare)
            left_out += [header] if spare != USES_TEST else []  # a line below the table says it
    return _place(columns, beside, False), left_out


def _place(columns: Columns, beside: Sequence[str], with_error: bool) -> Columns:
    """Return the columns with the scores beside the CV behind it."""
    names = list(columns)
    behind = names.index("cv") + 1
    scores = {name: _beside_column(name, with_error) for name in beside}
    return {name: columns[name] for name in names[:behind]} | scores | {name: columns[name] for name in names[behind:]}


def _telling(rows: Sequence[Row]) -> list[str]:
    """Return the metrics beside the CV that say something else than it, those that tell most first."""
    names = dict.fromkeys(name for row in rows for name in row.beside)
    order = [*(name for name in TOLD_FIRST if name in names), *(name for name in names if name not in TOLD_FIRST)]
    scored = [row for row in rows if row.cv is not None]
    return [
        name for name in order
        if any(name not in row.beside or f"{row.beside[name].score:.3f}" != f"{row.cv:.3f}" for row in scored)
    ]  # fmt: skip


def _beside_column(name: str, with_error: bool) -> tuple[str, Callable[[Row], str]]:
    """Return the column of a metric beside the CV."""

    def cell(row: Row) -> str:
        score = row.beside.get(name)
        if score is None:
            return ""
        return _with_error(score.score, score.se) if with_error else f"{score.score:.3f}"

    return SHORT.get(name, name) + (" ± SE" if with_error else ""), cell


def _footnotes(rows: Sequence[Row]) -> list[str]:
    """Return each remark with the runs that it is about."""
    remarks: dict[str, list[str]] = {}
    for row in rows:
        for remark in row.remarks:
            remarks.setdefault(remark, []).append(row.run)
    return [f"{_mark([remark])}{', '.join(runs)}: {remark}" for remark, runs in remarks.items()]


def _mark(remarks: Sequence[str]) -> str:
    """Return a star where a remark is about the CV itself."""
    return "*" if any(remark.startswith("CV") for remark in remarks) else ""


def _width(columns: Columns, rows: Sequence[Row]) -> int:
    """Return how many characters the columns need side by side."""
    return sum(3 + max(len(header), *(len(cell(row)) for row in rows)) for header, cell in columns.values())


def _with_error(value: float | None, error: float | None) -> str:
    return "" if value is None else f"{value:.3f} ± {error:.3f}"


def shorten_encoder(encoder: str | None) -> str:
    """Leave out an encoder's library and folders: its name says enough in a table.

    Of several, joined by " + ", also what all names begin with; more than there is room for are counted.
    """
    if encoder is None:
        return ""
    if JOINED in encoder:
        return _shorten_several(encoder.split(JOINED))
    if LOCAL_DIR in encoder:
        return Path(encoder.partition(LOCAL_DIR)[2]).name
    return encoder.removeprefix("open_clip:").removeprefix("timm:").partition("@")[0]


def _shorten_several(encoders: list[str]) -> str:
    """Return the short names of several encoders, or how many they are."""
    names = [shorten_encoder(each) for each in encoders]
    first, mark, _ = names[0].rpartition("_")
    family = first + mark if all(name.startswith(first + mark) for name in names) else ""
    together = JOINED.join(name.removeprefix(family) for name in names)
    return together if len(together) <= SEVERAL_WIDTH else f"{len(names)} encoders"


Columns = dict[str, tuple[str, Callable[[Row], str]]]
USES_TEST = "test_images_used"
TOLD_FIRST = ("macro_f1", "balanced_accuracy")  # what accuracy hides
SHORT = {"macro_f1": "macro F1", "micro_f1": "micro F1", "balanced_accuracy": "balanced", "map": "mAP"}
TEXT_COLUMNS = ("run", "model", "encoder", "verdict")
COLUMNS: Columns = {
    "run": ("run", lambda row: row.run),
    "model": ("model", lambda row: row.model),
    "encoder": ("encoder", lambda row: shorten_encoder(row.encoder)),
    "round": ("round", lambda row: "" if row.round is None else str(row.round)),
    USES_TEST: ("uses test", lambda row: "yes" if row.test_images_used else ""),
    "cv": ("CV ± SE", lambda row: _with_error(row.cv, row.se) + _mark(row.remarks)),
    "verdict": ("against best", lambda row: "=" if row.verdict == SAME else row.verdict.partition(":")[0]),
    "local": ("local ± SE", lambda row: _with_error(row.local, row.local_se)),
    "public": ("public", lambda row: row.public or ""),
    "private": ("private", lambda row: row.private or ""),
    "seconds": ("s", lambda row: "" if row.seconds is None else f"{row.seconds:.0f}"),
}
