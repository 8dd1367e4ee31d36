"""The parts that charts are drawn of."""

from __future__ import annotations

import json

from kit.report.page.parts import LONGEST, Plot, Series, shorten
from kit.report.page.plotly_json import to_json

LONG = (Series("s", ["x" * 90], [1.0], kind="bars"), Series("x" * 90, [0.0], [1.0]))


def test_a_long_name_leaves_a_chart_its_room_and_keeps_its_end():
    assert shorten("short") == "short"
    assert len(shorten("x" * 100 + "the end")) == LONGEST and shorten("x" * 100 + "the end").endswith("…xxxthe end")
    page, legend = (json.loads(to_json(Plot("k", "t", series=[name]))) for name in LONG)
    assert len(page["data"][0]["x"][0]) == LONGEST < len(legend["data"][0]["name"]) < 90
