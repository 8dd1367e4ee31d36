"""ROC curves, the areas below them, and confusions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import multilabel_confusion_matrix, roc_auc_score
from support.draws import draw_unsure

from kit.scoring.roc import count_confusions, describe_confusions, draw_roc_curves, roc_curves


def test_areas_are_scikit_learns():
    labels, proba, _ = draw_unsure()
    ours = [curve.auc for curve in roc_curves(labels, proba, ("a", "b", "c"))]
    assert ours == pytest.approx(roc_auc_score(labels, proba, average=None))
    codes = np.random.default_rng(0).integers(0, 3, len(proba))
    ours = [curve.auc for curve in roc_curves(codes, proba, ("a", "b", "c"))]
    assert ours == pytest.approx([roc_auc_score(codes == code, proba[:, code]) for code in range(3)])


def test_a_curve_runs_from_nothing_to_everything():
    labels, proba, _ = draw_unsure()
    for curve in roc_curves(labels, proba, ("a", "b", "c")):
        assert curve.false_rates[[0, -1]].tolist() == curve.true_rates[[0, -1]].tolist() == [0, 1]
        assert (np.diff(curve.true_rates) >= 0).all()


def test_a_class_without_images_has_no_curve_and_says_so(tmp_path):
    labels, proba, _ = draw_unsure()
    labels[:, 1], labels[:, 2] = 0, 1
    curves = roc_curves(labels, proba, ("a", "b", "c"))
    assert [curve.cause for curve in curves] == ["", "no image is of class b", "every image is of class c"]
    assert curves[1].auc is None and curves[1].as_dict()["true_rates"] is None
    draw_roc_curves(curves, "a $run", tmp_path / "roc.png")
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_confusions_are_scikit_learns():
    labels, proba, _ = draw_unsure()
    assert (count_confusions(labels, proba) == multilabel_confusion_matrix(labels, proba >= 0.5)).all()
    codes = np.random.default_rng(0).integers(0, 3, len(proba))
    assert (count_confusions(codes, proba) == multilabel_confusion_matrix(codes, proba.argmax(axis=1))).all()


def test_confusions_are_named_for_json():
    confusions = describe_confusions(("a",), np.array([[[1, 2], [3, 4]]]))
    assert confusions == {"a": {"right_absent": 1, "wrongly_said": 2, "missed": 3, "found": 4}}
