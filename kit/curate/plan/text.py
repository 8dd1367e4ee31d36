"""A plan as text: the tables that competition.toml holds, and the table that a person reads.

Every planned run ends its comment with a mark, ``[plan 1a2b3c4d]``, the hash of its table: a table that was changed
since, or has no mark, is the user's own and is kept when the plan is written anew.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import dataclass

from rich.table import Table

from kit.config.toml import toml_value
from kit.core.errors import InputError
from kit.core.files import key_of
from kit.core.terminal import empty_table, escape
from kit.curate.plan.recipe import Plan, PlannedRun

HEADER = re.compile(r"^\s*\[\[?\s*(?P<path>[\w\"'. -]+?)\s*\]\]?\s*(#.*)?$")
MARK = re.compile(r"\[plan ([0-9a-f]{8})\]")
TITLE = "# One table per experiment: a model, and its options beside it. Planned for --preset"
OLD_TITLE = re.compile(rf"^{re.escape(TITLE)}.*\n(#.*\n)*\n?", re.MULTILINE)
ENSEMBLE = """\
# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
WIDTH = 118


@dataclass(frozen=True)
class Section:
    """Hold a part of a TOML file: the comment above a header, the header and its keys; the file's head has no table."""

    table: str
    comment: str
    body: str


def plan_text(plan: Plan, kept: tuple[str, ...] = ()) -> str:
    """Return ``[runs.*]`` of a plan as TOML; runs of a name in `kept` are left out."""
    total = _spell_minutes(plan.seconds)
    head = f"{TITLE} {plan.wishes.preset}: {total} here, as measured on a few images."
    lines = [_comment(head), *(_comment(note) for note in plan.notes)]
    runs = [_run_text(run) for run in plan.runs if run.name not in kept]
    return "\n".join(lines) + "\n\n" + "\n".join(runs)


def rewrite(text: str, plan: Plan, is_draft: bool = False) -> tuple[str, list[str]]:
    """Return a competition.toml with the plan's runs in place of an earlier plan's, and the names of the runs kept.

    The runs of a draft, which nobody has seen yet, all make way. InputError where the text is laid out so that its
    tables cannot be told apart.
    """
    sections = split_sections(OLD_TITLE.sub("", text))
    planned = {name for name in _run_names(sections) if is_draft or _is_planned(sections, name)}
    kept = tuple(name for name in _run_names(sections) if name not in planned)
    rest = [each for each in sections if _run_of(each) not in planned]
    whole = "".join(each.comment + each.body for each in rest if _run_of(each) is None and not _is_ensemble(each))
    own = "".join(each.comment + each.body for each in rest if _run_of(each) is not None)
    ensemble = "".join(each.comment + each.body for each in rest if _is_ensemble(each)) or ENSEMBLE
    parts = (whole, plan_text(plan, kept), own, ensemble)
    written = "\n".join(part.strip("\n") + "\n" for part in parts if part.strip())
    _check_kept(text, written, planned)
    return written, list(kept)


def list_replaced(text: str, plan: Plan) -> list[str]:
    """Return the runs of a competition.toml that an earlier plan wrote and `rewrite` takes out, or writes otherwise."""
    sections = split_sections(text)
    again = {run.name: f"[plan {mark_of(_body_of(run))}]" for run in plan.runs}
    planned = [name for name in _run_names(sections) if _is_planned(sections, name)]
    comments = {_run_of(each): each.comment for each in reversed(sections)}
    return [name for name in planned if name not in again or again[name] not in comments[name]]


def head_of(text: str) -> str:
    """Return what a competition.toml says beside its runs and its ensemble."""
    sections = split_sections(OLD_TITLE.sub("", text))
    rest = [each for each in sections if _run_of(each) is None and not _is_ensemble(each)]
    return "".join(each.comment + each.body for each in rest).strip()


def is_all_planned(text: str) -> bool:
    """Return whether every run stands as a plan wrote it, and the ensemble too: nothing is lost with them."""
    sections = split_sections(text)
    ensembles = [each.body.strip() for each in sections if _is_ensemble(each)]
    planned = all(_is_planned(sections, name) for name in _run_names(sections))
    return planned and all(body == ENSEMBLE.partition("\n")[2].strip() for body in ensembles)


def split_sections(text: str) -> list[Section]:
    """Return the parts of a TOML file, each with the comment lines right above its header."""
    sections = [["", [], []]]
    waiting: list[str] = []
    for line in text.splitlines(keepends=True):
        match = HEADER.match(line)
        if match:
            sections.append([match["path"].replace('"', "").replace("'", ""), waiting, [line]])
            waiting = []
        elif line.strip().startswith("#"):
            waiting.append(line)
        else:
            sections[-1][2] += [*waiting, line]
            waiting = []
    sections[-1][2] += waiting
    return [Section(table, "".join(comment), "".join(body)) for table, comment, body in sections]


def describe_plan(plan: Plan) -> Table:
    """Return a plan as a table: run, encoder, minutes, memory, reason."""
    table = empty_table(f"plan for --preset {plan.wishes.preset}, {_spell_minutes(plan.seconds)}")
    for column in ("run", "model", "minutes", "MB", "why"):
        table.add_column(column, justify="right" if column in ("minutes", "MB") else "left", overflow="fold")
    for run in plan.runs:
        minutes, megabytes = f"{run.seconds / 60:,.1f}", f"{run.megabytes:,.0f}"
        table.add_row(escape(run.name), run.table["model"], minutes, megabytes, escape(run.reason))
    return table


def _run_text(run: PlannedRun) -> str:
    """Return one run with the comment above it."""
    body = _body_of(run)
    cost = f"About {_spell_minutes(run.seconds)}, {run.megabytes:,.0f} MB."
    reason = run.reason[0].upper() + run.reason[1:]
    return _comment(f"{reason.rstrip('.')}. {cost} [plan {mark_of(body)}]") + "\n" + body


def _body_of(run: PlannedRun) -> str:
    """Return the table of a run."""
    return f"[runs.{run.name}]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in run.table.items())


def mark_of(body: str) -> str:
    """Return the mark of a run's table: a hash of what it says."""
    return key_of(tomllib.loads(body))[:8]


def _run_of(section: Section) -> str | None:
    """Return the name of the run whose table, or a table of whose, a section is."""
    first, _, rest = section.table.partition(".")
    return rest.partition(".")[0].strip() if first.strip() == "runs" and rest else None


def _run_names(sections: list[Section]) -> list[str]:
    """Return the names of the runs in the order of the file."""
    return list(dict.fromkeys(name for each in sections if (name := _run_of(each)) is not None))


def _is_planned(sections: list[Section], name: str) -> bool:
    """Return whether a run stands as a plan wrote it."""
    parts = [each for each in sections if _run_of(each) == name]
    marks = MARK.findall(parts[0].comment)
    return bool(marks) and marks[-1] == mark_of("".join(each.body for each in parts))


def _is_ensemble(section: Section) -> bool:
    """Return whether a section is the ensemble's."""
    return section.table.partition(".")[0].strip() == "ensemble"


def _check_kept(before: str, after: str, planned: set[str]) -> None:
    """Refuse a text that would not say of everything else what the file said."""
    old = tomllib.loads(before)
    try:
        new = tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        new = {}
    runs = {name: run for name, run in old.pop("runs", {}).items() if name not in planned}
    written = new.pop("runs", {})
    ensembles = old.pop("ensemble", None), new.pop("ensemble", None)
    is_kept = old == new and all(written.get(name) == run for name, run in runs.items())
    if not is_kept or (ensembles[0] is not None and ensembles[0] != ensembles[1]):
        raise InputError(
            "competition.toml is laid out so that the plan cannot be put into it without losing a line; "
            "copy the tables that `plan` prints instead"
        )


def _comment(text: str) -> str:
    """Return a text as comment lines."""
    lines = textwrap.wrap(text.removeprefix("# "), WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def _spell_minutes(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
