"""Bench members: what the kit believes follows from the evidence, draws are kept, mixing is judged by other photos."""

from __future__ import annotations

import numpy as np
import pytest
from support.clips import TINY_CLIP
from support.colours import draw

from kit.bench.members import (
    OfKind,
    OfRounds,
    bench_members,
    compare_rules,
    derive_expected,
    derive_record,
    describe_kinds,
    describe_rounds,
    measure,
    read_members,
    render_members,
    write_members,
)
from kit.bench.members.compare import HOPELESS, RULES
from kit.bench.recipes import sets
from kit.bench.semi import PhotoSetting
from kit.core.files import Workspace
from kit.models.trust import JOINT, PLAIN, RECORD, Trust
from kit.runs.store.rounds import EXPECTED

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
ENCODERS = {"one": {"encoder": TINY_CLIP}, "two": {"encoder": TINY_CLIP, "encoder_args": {"force_quick_gelu": True}}}


def test_what_is_believed_of_members_and_rounds_follows_from_the_committed_evidence():
    kinds, rounds = read_members()
    assert derive_record(kinds) == RECORD
    assert derive_expected(rounds) == EXPECTED


def test_a_record_is_the_mean_over_sets_and_as_unsure_as_a_further_set():
    sets = (("a", 0.02, 0.1), ("b", 0.06, 0.3))
    kinds = [OfKind(name, PLAIN, error, 0.03, error, 0.0, share, 8) for name, error, share in sets]
    known = derive_record(kinds)[PLAIN]
    assert known.error == known.loss == Trust(0.04, pytest.approx(np.std([0.02, 0.06], ddof=1), abs=1e-3))
    assert known.share == 0.2
    alike = derive_record([OfKind(name, PLAIN, 0.04, 0.03, 0.04, 0.0, 0.0, 8) for name in "ab"])[PLAIN]
    assert alike.error.sd == 0.02 and alike.share > 0  # no surer than half of the mean


def test_a_round_is_expected_to_gain_a_part_of_its_teachers_lead_and_what_it_gained_beyond_over_sets():
    leads = {"a": (0.0, 0.1, -0.1), "b": (0.0, 0.06, -0.02)}
    beyond = {"a": 0.02, "b": -0.02}
    rounds = [
        OfRounds(name, str(i), beyond[name] + 0.4 * lead, 0.01, beyond[name] + 0.4 * lead + 0.015, lead, 0, 0, 8)
        for name, of_set in leads.items()
        for i, lead in enumerate(of_set)
    ]
    expected = derive_expected(rounds)
    assert (expected.share, expected.gain, expected.excess) == pytest.approx((0.4, 0.0, 0.015), abs=1e-3)
    assert expected.gain_sd == pytest.approx(np.hypot(0.04 / np.sqrt(2), 0.01), abs=1e-3)
    assert expected.excess_sd == pytest.approx(0.0, abs=1e-3)
    assert expected.ahead_sd == pytest.approx(np.sqrt(np.mean(np.square([*leads["a"], *leads["b"]]))), abs=1e-3)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = tmp_path / "photos" / "trashnet" / name
        folder.mkdir(parents=True)
        for i in range(10):
            draw(colour, generator).save(folder / f"{i:02d}.png")
    monkeypatch.setattr(measure, "OF_PIP", ENCODERS)
    monkeypatch.setattr(measure, "N_ROUNDS", 1)
    monkeypatch.setattr(sets, "SETTINGS", (PhotoSetting("trashnet", 3),))
    return tmp_path / "photos"


def test_members_of_a_draw_are_fitted_once_and_compared(photos, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "home")
    measured = bench_members(photos, None, workspace, range(1))
    kept = measured["trashnet 3"][0]
    assert len(kept.oof) == len(kept.names) and kept.oof.shape[1:] == (9, 3)
    assert np.allclose(kept.test.sum(axis=2), 1, atol=1e-4) and len(kept.truth) == kept.test.shape[1]
    monkeypatch.setattr(measure, "_measure", lambda *_: pytest.fail("fitted again"))
    again = bench_members(photos, None, workspace, range(1))["trashnet 3"][0]
    assert np.array_equal(again.test, kept.test) and again.names.tolist() == kept.names.tolist()
    kinds, rounds = describe_kinds(measured), describe_rounds(measured)
    assert next(line for line in kinds if line.kind == JOINT).error == 0
    assert sum(line.share for line in kinds) == pytest.approx(1, abs=1e-3)
    assert {line.run for line in rounds} == {"taught_by_itself", "taught_by_joint", "taught_by_weakest"}
    lines = compare_rules(measured)
    assert {line.way for line in lines} == set(RULES) and any(line.members.endswith(HOPELESS) for line in lines)
    assert all(-1 <= line.of_draw <= line.of_mean + 1e-9 and line.worse_of_draw >= 0 for line in lines)
    assert render_members(lines, rounds)[0].row_count == len(lines)
    write_members(kinds, rounds, tmp_path / "members.json")
    assert read_members(tmp_path / "members.json") == (kinds, rounds)
