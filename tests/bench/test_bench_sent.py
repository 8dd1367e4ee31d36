"""Bench sent: draws are measured once, and what was expected is compared with what came on hidden images."""

from __future__ import annotations

import numpy as np
import pytest
from support.clips import TINY_CLIP
from support.colours import draw

from kit.bench import sent
from kit.bench.recipes import sets
from kit.bench.semi import PhotoSetting
from kit.bench.sent import FIRST, Sent, bench_sent, render_sent, summarise
from kit.core.errors import InputError
from kit.core.files import Workspace

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def test_biases_are_means_over_draws_with_their_errors():
    draws = [
        Sent("trashnet 15", FIRST + i, "probe", cv, 0.6, 0.05, came)
        for i, (cv, came) in enumerate([(0.5, 0.6), (0.5, 0.8)])
    ]
    lines = summarise(draws)
    assert render_sent(lines).row_count == 1
    (line,) = lines
    assert (line.accuracy, line.of_cv, line.of_expected) == pytest.approx((0.7, -0.2, -0.1))
    assert line.less_chance is None
    assert line.of_expected_se == pytest.approx(np.std([0.0, -0.2], ddof=1) / np.sqrt(2)) and line.within == 0.5


def test_draws_that_differ_by_chance_alone_leave_nothing_to_explain():
    draws = [
        Sent("trashnet 15", FIRST + i, "probe", 0.5, 0.6 + luck, 0.05, 0.6, luck) for i, luck in enumerate([-0.1, 0.3])
    ]
    (line,) = summarise(draws)
    assert (line.of_expected, line.less_chance, line.less_chance_se) == pytest.approx((0.1, 0.0, 0.0))


def test_draws_are_measured_once_and_their_runs_thrown_away(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = tmp_path / "photos" / "trashnet" / name
        folder.mkdir(parents=True)
        for i in range(10):
            draw(colour, generator).save(folder / f"{i:02d}.png")
    monkeypatch.setattr(sent, "OF_PIP", {"one": {"encoder": TINY_CLIP}})
    monkeypatch.setattr(sets, "SETTINGS", (PhotoSetting("trashnet", 3),))
    workspace = Workspace(tmp_path / "home")
    measured = bench_sent(tmp_path / "photos", workspace, 1, ["trashnet 3"])
    assert [(each.draw, each.run) for each in measured] == [(FIRST, run) for run in ("probe_one", "joined", "ensemble")]
    assert all(0 <= value <= 1 for each in measured for value in (each.cv, each.expected, each.accuracy))
    assert [each.chance is None for each in measured] == [False, False, True]
    assert not list((tmp_path / "home" / "runs" / "bench-sent" / "runs").glob("trashnet-3-*"))
    monkeypatch.setattr(sent, "_measure", lambda *_: pytest.fail("measured again"))
    assert bench_sent(tmp_path / "photos", workspace, 1, ["trashnet 3"]) == measured


def test_a_folder_without_its_photos_is_refused(tmp_path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(InputError, match="none of trashnet/, grocery/ is there"):
        bench_sent(tmp_path, Workspace(tmp_path / "home"), 2)
