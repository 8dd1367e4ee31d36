"""Tables whose words stay whole in a narrow terminal: columns give way where they have spaces, names at their marks.

Rich alone narrows the widest columns first and then cuts words in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

PIECES = re.compile(r".+?(?:[_\-/\\.:+,=@](?=\w)|$)", re.DOTALL)  # a long name goes on in the next line behind a mark


class WholeWords(Table):
    """Hold a table that is fitted to the terminal when it is printed; its cells and headers are texts."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what Rich draws, with columns that fit where that can be."""
        _fit(self, console, options.max_width)
        yield from super().__rich_console__(console, options)


def share_width(room: int, least: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return the width of each column: `least`, and of the rest of `room` as much alike as each can use.

    All are numbers of characters; `least` must fit into `room`.
    """
    widths = list(least)
    while (spare := room - sum(widths)) > 0:
        short = [at for at, width in enumerate(widths) if width < wanted[at]]
        if not short:
            break
        narrowest = min(widths[at] for at in short)
        for at in [at for at in short if widths[at] == narrowest][:spare]:
            widths[at] += 1
    return widths


def break_words(text: str, width: int) -> str:
    """Return a text whose words longer than `width` go on in the next line, behind a mark such as ``_`` or ``/``."""
    return re.sub(r"\S+", lambda word: word[0] if len(word[0]) <= width else _break(word[0], width), text)


def _break(word: str, width: int) -> str:
    """Return a word in lines of at most `width` characters, as far as its marks allow it."""
    lines = [""]
    for piece in _pieces(word):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _pieces(word: str) -> list[str]:
    """Return the parts of a name, each with the mark behind it."""
    return [piece for piece in PIECES.findall(word) if piece]


def _fit(table: Table, console: Console, room: int) -> None:
    """Give every column its width, where they do not all have what they want and words can be kept whole."""
    if any(column.width is not None for column in table.columns):
        return
    texts = [[_read(console, cell) for cell in (column.header, *column.cells)] for column in table.columns]
    room -= 2 * len(texts) + max(len(texts) - 1, 0)  # what stands between columns, and around cells
    wanted = [max((each.cell_len for text in column for each in text.split()), default=0) for column in texts]
    if sum(wanted) <= room:
        return
    whole = [
        want if column.no_wrap else max(map(_longest_word, cells), default=0)
        for column, cells, want in zip(table.columns, texts, wanted, strict=True)
    ]
    if sum(whole) <= room:
        widths = share_width(room, whole, wanted)
    else:
        parts = [max((len(part) for text in cells for part in _all_pieces(text)), default=0) for cells in texts]
        if sum(parts) > room:
            return
        widths = share_width(room, parts, whole)
        for column, width in zip(table.columns, widths, strict=True):
            column.header = _soften(console, column.header, width)
            column._cells[:] = [_soften(console, cell, width) for cell in column._cells]
    for column, width in zip(table.columns, widths, strict=True):
        column.width, column.no_wrap = width, False


def _longest_word(text: Text) -> int:
    """Return the width of the longest word, in characters of the terminal."""
    return max((Text(word).cell_len for word in text.plain.split()), default=0)


def _all_pieces(text: Text) -> Iterator[str]:
    """Yield the parts of all words of a text."""
    for word in text.plain.split():
        yield from _pieces(word)


def _read(console: Console, cell: RenderableType) -> Text:
    """Return what a cell shows."""
    return cell if isinstance(cell, Text) else console.render_str(str(cell))


def _soften(console: Console, cell: RenderableType, width: int) -> RenderableType:
    """Return a cell whose long names go on in the next line; one that is styled within stays as it is."""
    text = _read(console, cell)
    return cell if text.spans else Text(break_words(text.plain, width))
