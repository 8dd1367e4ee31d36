"""Kept draws: the same mixture as the pipeline's, a file that reads back, a key that is of code alone."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from kit.bench import kept
from kit.bench.kept import Kept, code_key, keep, keep_results, mix, read_kept
from kit.data.prepared import prepare
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval


def test_kept_members_are_mixed_as_an_ensemble_mixes_them(colours, tmp_path):
    prepared = prepare(colours())
    runs = [crossval(prepared, name) for name in ("forest", "svm")]
    runs.append(runs[0].__class__("twin", runs[0].folder, runs[0].record))
    test = prepared.split("test")
    draw = keep_results(prepared, np.zeros(len(test), dtype=np.int64), runs)
    combined = ensemble(prepared, runs).predictions("test").at(prepared.pool.ids[test])
    assert mix(draw) == pytest.approx(combined.proba, abs=1e-6)
    keep(tmp_path / "draw.npz", draw)
    again = read_kept(tmp_path / "draw.npz")
    assert all(np.array_equal(getattr(again, each.name), getattr(draw, each.name)) for each in fields(Kept))
    assert again.take(["svm"]).names.tolist() == ["svm"] and len(again.take(["svm"]).oof) == 1


def test_a_change_of_code_is_another_key_and_a_change_of_prose_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "KIT", tmp_path)
    (tmp_path / "room").mkdir()
    file, beside = tmp_path / "room" / "a.py", tmp_path / "beside.py"
    file.write_text("X = 1\n")
    beside.write_text("Y = 1\n")
    before = code_key(["room", "beside.py"])
    file.write_text('"""What it is."""\n\nX = 1  # one\n')
    assert code_key(["room", "beside.py"]) == before
    beside.write_text("Y = 2\n")
    assert code_key(["room", "beside.py"]) != before
    assert code_key(["room", "beside.py"], ["beside.py"]) == code_key(["room"])
