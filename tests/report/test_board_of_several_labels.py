"""The leaderboard with several labels per image."""

from __future__ import annotations

import pytest
from sklearn.metrics import average_precision_score, f1_score
from support.channels import make_by_chance

from kit.core.errors import InputError
from kit.report.board import leaderboard
from kit.runs.store import oof_rows


def test_the_board_of_several_labels_shows_f1_and_average_precision(paints):
    prepared, result = paints
    row = leaderboard(prepared, [result], {})[0]
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    assert row.cv == pytest.approx(f1_score(labels, proba >= 0.5, average="macro"))
    assert row.beside["micro_f1"].score == pytest.approx(f1_score(labels, proba >= 0.5, average="micro"))
    assert row.beside["map"].score == pytest.approx(average_precision_score(labels, proba, average="macro"))
    assert set(row.beside) == {"accuracy", "micro_f1", "map"} and row.beside["map"].se > 0


def test_a_metric_of_one_label_is_refused_for_several(tmp_path):
    with pytest.raises(InputError, match="metric: 'mcc' is no metric of task = 'multilabel', which has accuracy, bri"):
        make_by_chance(tmp_path, metric="mcc")


def test_thresholds_of_each_fold_do_not_mix_up_what_ranks(several):
    prepared, result = several
    thresholds = result.record.thresholds
    apart = {"0": [0.1] * 4, "1": [0.9] * 4, "2": [0.5] * 4}
    changed = result.with_record(thresholds=thresholds.model_copy(update={"per_fold": apart}))
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    row = leaderboard(prepared, [changed], {})[0]
    assert row.beside["map"].score == pytest.approx(average_precision_score(labels, proba, average="macro"))
