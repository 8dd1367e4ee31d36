"""The command that finds labels: mine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import CURATE, command
from kit.cli.call import Comp, holding, read, say, suggest

if TYPE_CHECKING:
    from rich.table import Table

    from kit.curate.mining import Mined

MAX_CLASSES = 8  # classes with a column each; of more, the smallest and the largest are shown


@command("mine", panel=CURATE, example="mine characters --write")
def mine_(
    comp: Comp,
    write: Annotated[
        bool, typer.Option("--write", help="Write the labels at the threshold to use where the runs read them.")
    ] = False,
) -> None:
    """Label unlabelled images by their similarity to exemplars; show what each threshold adds."""
    from kit.core import terminal
    from kit.curate.mining import check_writable, mine_labels, write_labels, write_mined
    from kit.data.prepared import make_data

    competition = read(comp)
    with holding(competition):
        make_data(competition)
        if write:
            check_writable(competition)  # before the work
        mined = mine_labels(competition)
        folder = write_mined(mined)
        labels = write_labels(mined) if write else None
    document = {"folder": str(folder), "thresholds": mined.sweep(), "labels": labels and str(labels)}
    say(_render(mined), document)
    terminal.note(f"labels and a contact sheet of each threshold: {folder}")
    if labels:
        terminal.note(f"labels at {mined.plan.threshold:g} written to {labels}")
    suggest(*(("all", comp) if write else ("mine", comp, "--write")))


def _render(mined: Mined) -> Table:
    """Return the sweep as a table."""
    from kit.core import terminal

    each = mined.classes if len(mined.classes) <= MAX_CLASSES else ()
    spread = ("fewest", "most") if not each else ()
    headers = ("threshold", "mined", *each, *spread, "mutual", "contested", "none of these")
    if sum(len(header) + 3 for header in headers) > terminal.out.width:
        each, spread = (), ("fewest", "most")
        headers = ("threshold", "mined", *spread, "mutual", "contested", "none of these")
    table = terminal.empty_table()
    for header in headers:
        table.add_column(terminal.escape(header), justify="right", overflow="fold")
    for row in mined.sweep():
        counts = row["per_class"]
        cells = [counts[name] for name in each] or [min(counts.values()), max(counts.values())]
        is_used = row["threshold"] == mined.plan.threshold
        table.add_row(
            f"{row['threshold']:g}",
            *map(str, (row["mined"], *cells, row["mutual"], row["contested"], row["none"])),
            style="bold" if is_used else None,
        )
    return table
