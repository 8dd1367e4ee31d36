"""Tables in a narrow terminal: no word is cut in the middle, names go on behind a mark."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from kit.core.columns import break_words, share_width
from kit.core.terminal import empty_table

HEADERS = ["run", "model", "encoder", "minutes", "why"]
ROW = [
    "probe_efficientnet_lite2",
    "linear_probe",
    "tf_efficientnet_lite2",
    "1,234.5",
    "a second opinion: the encoders err on different images, so that their ensemble is better than either",
]


def draw(width: int) -> list[str]:
    """Return the lines of a table in a terminal of a width."""
    table = empty_table()
    for header in HEADERS:
        table.add_column(header, overflow="fold")
    table.add_row(*ROW)
    drawn = io.StringIO()
    Console(file=drawn, width=width).print(table)
    return drawn.getvalue().splitlines()


def split_at_marks(text: str) -> set[str]:
    return {part for word in text.split() for part in re.findall(r"[^_]+_?", word)}


@pytest.mark.parametrize("width", [66, 80, 100, 132])
def test_no_word_is_cut_and_no_line_is_too_long(width):
    lines = draw(width)
    assert max(map(len, lines)) <= width
    drawn = {part for line in lines for part in split_at_marks(line.replace("─", " "))}
    assert drawn == {part for cell in [*HEADERS, *ROW] for part in split_at_marks(cell)}


def test_names_stay_whole_where_there_is_room_for_them():
    text = "\n".join(draw(100))
    assert ROW[0] in text and ROW[2] in text


def test_a_table_that_fits_is_as_rich_draws_it():
    lines = [line for line in draw(240) if line.strip()]
    assert len(lines) == 3 and ROW[4] in lines[2]


def test_width_is_shared_alike_up_to_what_each_can_use():
    assert share_width(20, [2, 3, 4], [4, 30, 30]) == [4, 8, 8]
    assert share_width(100, [2, 3], [4, 30]) == [4, 30]


def test_long_names_go_on_behind_a_mark():
    assert break_words("see tf_efficientnet_lite2 now", 13) == "see tf_\nefficientnet_\nlite2 now"
    assert break_words("kit/a.py", 20) == "kit/a.py"
