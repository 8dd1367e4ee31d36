"""The history as tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kit.config.toml import toml_value
from kit.core.terminal import empty_table, escape
from kit.runs.history.compare import Comparison
from kit.runs.history.entries import Entry
from kit.runs.history.settings import Difference, written_settings

MOST_DIFFERENCES = 3  # in a line of the table
NO_ROOM = 100  # characters: below, machine and commit are left out


def render_entries(title: str, entries: Sequence[Entry], width: int) -> Table:
    """Return every run in a line, with what differs from the run of its name today."""
    captions = ["today: this is what competition.toml gives; best: the best CV of its name, on today's folds"]
    if any(entry.oof is None for entry in entries):
        captions.append("-: its predictions are gone, so it cannot be compared")
    table = empty_table(title, "\n".join(captions))
    is_wide, noted = width > NO_ROOM, any(entry.note for entry in entries)
    headers = ["run", "key", "CV ± SE", "", "made", *(["commit", "machine"] if is_wide else [])]
    for header in [*headers, "differs from today's", *(["note"] if noted else [])]:
        table.add_column(header, no_wrap=header in ("key", "CV ± SE", "made"), overflow="fold")
    for entry in entries:
        cells = [entry.name, entry.key[:8], f"{entry.cv:.4f} ± {entry.se:.4f}", _marks(entry)]
        cells.append(entry.made[:16].replace("T", " "))
        cells += [entry.commit, entry.machine.partition(",")[0]] if is_wide else []
        cells += [_spell_change(entry), *([entry.note] if noted else [])]
        table.add_row(*map(escape, cells), style="bold" if entry.is_today else None)
    return table


def describe_entry(entry: Entry) -> str:
    """Return one run in full, its settings as competition.toml writes them."""
    lines = [
        f"{entry.name} {entry.key}: {entry.metric} {entry.cv:.4f} +- {entry.se:.4f}",
        f"made {entry.made} on {entry.machine or 'an unknown machine'}, kit {entry.line.get('kit', '')} {entry.commit}",
    ]
    lines += [f"note: {entry.note}"] if entry.note else []
    lines += [f"since then: {', '.join(entry.since)}"] if entry.since else []
    lines += [f"today {_spell_difference(each)}" for each in entry.differs]
    lines += ["", f"[runs.{entry.name}]"]
    settings = written_settings(entry.line)
    lines += [f"{key} = {toml_value(value)}" for key, value in settings.items() if value is not None]
    return "\n".join(lines)


def render_comparison(comparison: Comparison) -> Table:
    """Return two runs side by side: what differs, and the paired test below."""
    ours, theirs = comparison.ours, comparison.theirs
    table = empty_table(f"{ours.name} {ours.key[:8]} against {theirs.name} {theirs.key[:8]}", _verdict(comparison))
    for header in ("", f"{ours.name} {ours.key[:8]}", f"{theirs.name} {theirs.key[:8]}"):
        table.add_column(escape(header), overflow="fold")
    table.add_row("CV ± SE", f"{ours.cv:.4f} ± {ours.se:.4f}", f"{theirs.cv:.4f} ± {theirs.se:.4f}")
    table.add_row("made", ours.made[:16].replace("T", " "), theirs.made[:16].replace("T", " "))
    for each in comparison.settings:
        table.add_row(*[escape(text or "") for text in (each.key, each.ours, each.theirs)])
    return table


def _verdict(comparison: Comparison) -> str:
    """Say what the paired test says, or why there is none."""
    if comparison.difference is None:
        return f"no paired test: {comparison.why_not}"
    found = f"{comparison.difference:+.4f} ± {comparison.se:.4f} on the same images"
    verdict = "more than chance at 95 %" if comparison.is_clear else "not distinguishable at 95 %"
    return f"{found}: {verdict}" + (f"\n{comparison.why_not}" if comparison.why_not else "")


def _marks(entry: Entry) -> str:
    marks = [word for word, holds in (("today", entry.is_today), ("best", entry.is_best)) if holds]
    return " ".join([*marks, *([] if entry.oof else ["-"])])


def _spell_change(entry: Entry) -> str:
    """Say what differs from the run of that name today, and what else has changed since."""
    shown = [_spell_difference(each) for each in entry.differs[:MOST_DIFFERENCES]]
    more = len(entry.differs) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more > 0 else []), *entry.since])


def _spell_difference(each: Difference) -> str:
    """Return one difference in words: what it was, and what it is today."""
    return f"{each.key} {each.ours or 'not set'} (now {each.theirs or 'not set'})"
