"""How a sample submission is written: its header letter by letter, what parts cells, which columns stand in quotes.

Reads the sample's text; writes text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.data.table.scan import read_text, separator_of

N_LINES = 50  # whose quotes tell those of a column
NEEDS_QUOTES = re.compile(r'["\r\n]')


@dataclass(frozen=True)
class Style:
    """Hold how a CSV is written.

    Parameters
    ----------
    header
        The names of its columns as they are, spaces around them included; () for those of the table.
    quoted_names, quoted_cells
        Per column whether its name, and its cells, stand in quotes that they would not need.
    separator
        What stands between two cells.
    """

    header: tuple[str, ...] = ()
    quoted_names: tuple[bool, ...] = ()
    quoted_cells: tuple[bool, ...] = ()
    separator: str = ","

    def write(self, names: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
        """Return a table of text, column by column, as a CSV in this style."""
        header = self.header if len(self.header) == len(names) else tuple(names)
        quoted_names = self.quoted_names or (False,) * len(names)
        lines = [self.separator.join(map(self._quote, header, quoted_names))]
        quoted = self.quoted_cells or (False,) * len(names)
        written = [
            [self._quote(cell, in_quotes) for cell in column] for column, in_quotes in zip(columns, quoted, strict=True)
        ]
        lines += map(self.separator.join, zip(*written, strict=True))
        return "\n".join(lines) + "\n"

    def _quote(self, cell: str, in_quotes: bool) -> str:
        """Return a cell, in quotes where it shall stand in them or needs them."""
        if not in_quotes and self.separator not in cell and not NEEDS_QUOTES.search(cell):
            return cell
        return '"' + cell.replace('"', '""') + '"'


PLAIN = Style()


def read_style(path: Path) -> Style:
    """Return the style of a CSV file; of cells over several lines at its beginning no more than what parts them."""
    text = read_text(path)
    lines = [line for line in text.splitlines() if line][: N_LINES + 1]
    if not lines:
        return PLAIN
    separator = separator_of(text, path.name)
    header = tuple(next(csv.reader(io.StringIO(lines[0]), delimiter=separator)))
    rows = [_is_quoted(line, separator) for line in lines]
    if any(len(row) != len(header) for row in rows):
        return Style(separator=separator)
    cells = tuple(len(rows) > 1 and all(column) for column in zip(*rows[1:], strict=True)) or (False,) * len(header)
    return Style(header, tuple(rows[0]), cells, separator)


def _is_quoted(line: str, separator: str) -> list[bool]:
    """Return of each cell of a line whether it stands in quotes."""
    cells, is_inside = [line.startswith('"')], False
    for at, mark in enumerate(line):
        if mark == '"':
            is_inside = not is_inside
        elif mark == separator and not is_inside:
            cells.append(line[at + 1 : at + 2] == '"')
    return cells
