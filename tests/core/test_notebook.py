"""In a notebook's kernel: a bar is one line, written over; notes are text; commands are printed as they are typed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support.kernel import run_cells, text_of

HOME = Path(__file__).parents[2]
LOOPS = """
import sys, time
sys.path.insert(0, {home!r})
import kit.core.terminal as t
t.NOTEBOOK_SECONDS = .1
with t.Progress('train', 2) as runs:
    for _ in range(2):
        with t.Progress('encode', 4) as images:
            for _ in range(4):
                time.sleep(.1)
                images.advance()
        t.stage('features', 'done')
        runs.advance()
"""


def plain(outputs: list[dict]) -> str:
    """Return what a cell printed, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text_of(outputs))


def overwritten(text: str) -> list[str]:
    """Return lines as a notebook shows them: what follows a carriage return is written over what stands there."""
    shown = []
    for line in text.replace("\r\n", "\n").split("\n"):
        place = ""
        for part in line.split("\r"):
            place = part + place[len(part) :]
        shown.append(place.rstrip())
    return shown


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[list[dict]]:
    """What a kernel showed of nested loops: its own, and those of a command that it called."""
    folder = tmp_path_factory.mktemp("notebook")
    file = folder / "loops.py"
    file.write_text(LOOPS.format(home=str(HOME)), encoding="utf-8")
    names = "import kit.core.names as names; print(names.PROGRAM)"
    return run_cells(folder, LOOPS.format(home=str(HOME)), f"!{sys.executable} {file}", names)


def test_a_kernels_nested_loops_are_one_output_that_is_updated(outputs):
    bars = [each for each in outputs[0] if each["output_type"] == "display_data"]
    assert len(bars) == 1 and "".join(bars[0]["data"]["text/plain"]).startswith("train 2/2")
    assert plain(outputs[0]).count("features    done") == 2
    assert {each["name"] for each in outputs[0] if each["output_type"] == "stream"} == {"stdout"}


def test_a_commands_nested_loops_are_one_line_that_is_written_over(outputs):
    text = plain(outputs[1])
    assert re.search(r"\rtrain 0/2 · encode [1-4]/4", text) and "\x1b" not in text
    assert [line for line in overwritten(text) if line] == ["features    done"] * 2


def test_commands_are_printed_as_a_cell_takes_them(outputs):
    assert plain(outputs[2]).strip().startswith("!")
