"""Scores on every level of a hierarchy of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.folders import write

from kit.cli.call import make_board, say
from kit.data.prepared import prepare
from kit.report.board.levels import render_levels, score_levels
from kit.runs.fit.crossval import crossval
from kit.runs.store import decided_rows, oof_rows
from kit.scoring.metrics import METRICS


def test_levels_are_scored_after_thresholds(several):
    prepared, result = several
    thresholds = result.record.thresholds
    low = {block: [0.01] * len(prepared.classes) for block in thresholds.per_fold}
    changed = result.with_record(thresholds=thresholds.model_copy(update={"per_fold": low}))
    labels, decided = decided_rows(prepared, changed)
    top = [prepared.classes.index(name) for name in ("ink", "paint")]
    wanted = METRICS["macro_f1"].score(labels[:, top], decided[:, top])
    assert score_levels(prepared, changed)["level_1"][0] == pytest.approx(wanted)
    assert score_levels(prepared, result) != score_levels(prepared, changed)


def test_a_level_that_nothing_is_of_has_no_score(several):
    prepared, result = several
    nothing = replace(prepared, labels=prepared.labels * (np.array(prepared.classes) == "ink").astype(np.int8))
    oof = result.predictions("oof")
    silent = replace(oof, proba=oof.proba * 0)
    quiet = result.with_record(thresholds=None)
    object.__setattr__(quiet, "predictions", lambda split: silent)
    scores = score_levels(nothing, quiet)
    assert scores["level_2"] is None and scores["level_1"] is not None
    assert render_levels(nothing, {"forest": scores}).row_count == 1


def test_the_leaderboard_shows_every_level(colours, capsys):
    competition = colours(data='hierarchy = { csv = "tree.csv", levels = ["kind", "colour"] }')
    write(competition.root / "tree.csv", "kind,colour\ncold,blue\ncold,green\nwarm,red\n")
    prepared = prepare(competition)
    result = crossval(prepared, "forest")
    said_board = score_levels(prepared, result)
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    paths = prepared.hierarchy.best_paths(proba)
    assert list(said_board) == ["kind", "classes"]
    assert said_board["classes"][0] == pytest.approx((paths == labels).mean())
    assert said_board["kind"][0] == pytest.approx(((paths < 2) == (labels < 2)).mean())
    say(*make_board(prepared, [result], {}))
    assert "accuracy of one path at each level" in " ".join(capsys.readouterr().out.split())
