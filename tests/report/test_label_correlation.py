"""Label correlation: which labels go together, and which a run takes for each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.folders import write
from typer.testing import CliRunner

from kit.cli.app import app, hoist
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.report.correlation.labels import LabelCorrelation, correlate_labels, correlations, write_label_correlation
from kit.runs.fit.crossval import crossval

EVERY = np.arange(500)


def drawn(n_images: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which the first two go together, and what a calibrated model says that knows why."""
    draws = np.random.default_rng(0)
    causes = draws.normal(0, 2, (n_images, 2))
    proba = 1 / (1 + np.exp(-causes[:, [0, 0, 1]]))
    return (draws.random(proba.shape) < proba).astype(np.int8), proba


def test_correlations_are_numpys_and_their_errors_those_of_a_bootstrap():
    values = drawn()[0].astype(float)
    correlation, errors = correlations(values, EVERY)
    assert correlation == pytest.approx(np.corrcoef(values.T))
    draws = np.random.default_rng(1)
    again = [np.corrcoef(values[draws.integers(0, 500, 500)].T) for _ in range(400)]
    assert errors == pytest.approx(np.std(again, axis=0), rel=0.2, abs=1e-9)


def test_images_that_come_twice_prove_no_more():
    values = drawn()[0].astype(float)
    twice = correlations(np.tile(values, (2, 1)), np.tile(EVERY, 2))
    assert np.array(twice) == pytest.approx(np.array(correlations(values, EVERY)))


def test_a_class_that_does_not_vary_has_no_correlation():
    values = np.column_stack([drawn()[0], np.ones(500)]).astype(float)
    correlation, errors = correlations(values, EVERY)
    assert np.isnan(correlation[3]).all() and np.isnan(errors[:, 3]).all() and np.isfinite(correlation[:3, :3]).all()


def found_of(labels: np.ndarray, proba: np.ndarray, is_related: np.ndarray | None = None) -> LabelCorrelation:
    names = tuple("abc")
    (of_labels, _), (of_predictions, _), (errors, error) = (
        correlations(x.astype(float), EVERY) for x in (labels, proba, labels - proba)
    )
    return LabelCorrelation(
        names, of_labels, of_predictions, errors, error, np.eye(3, dtype=bool) if is_related is None else is_related
    )


def test_two_classes_that_are_taken_for_each_other_are_named_with_a_minus():
    labels, proba = drawn()
    is_swapped = np.random.default_rng(2).random(500) < 0.5
    proba[is_swapped] = proba[is_swapped][:, [2, 1, 0]]  # a for c and c for a, in half of the images
    (pair, *_) = found_of(labels, proba).pairs()
    assert pair["classes"] == ["a", "c"] and pair["errors"] < -2 * pair["errors_se"]
    assert abs(pair["labels"]) < 0.15 < found_of(labels, proba).labels[0, 1]


def test_errors_that_have_nothing_to_do_with_each_other_and_related_classes_are_not_named():
    labels, proba = drawn()
    assert found_of(labels, proba).pairs() == []
    correlation = found_of(labels, proba[:, [2, 1, 0]], np.ones((3, 3), dtype=bool))
    assert correlation.pairs() == [] and not np.isnan(correlation.errors).any()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Prepared:
    """Pictures whose bright channels are labels."""
    workspace, draws = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    root, rows = workspace / "data" / "tiles", ["id,label"]
    (root / "train").mkdir(parents=True)
    for i in range(40):
        is_bright = draws.random(3) < 0.5
        pixels = np.clip(np.where(is_bright, 150, 90) + draws.normal(0, 40, (12, 12, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "train" / f"{i:02d}.png")
        names = [name for name, on in zip(("warm/red", "cold/green", "cold/blue"), is_bright, strict=True) if on]
        rows.append(f"{i:02d},{';'.join(names)}")
    write(root / "train.csv", "\n".join(rows) + "\n")
    text = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[folds]\nn = 2\n[data]\n'
    text += 'root = "data/tiles"\nlabeled = { csv = "train.csv", images = "train" }\nhierarchy = "/"\n'
    text += '[runs.forest]\nmodel = "forest"\nn_trees = 10\npixels = 4\n'
    write(workspace / "competitions" / "tiles" / "competition.toml", text)
    return prepare(read_competition("tiles", Workspace(workspace)))


def test_a_run_of_any_model_is_measured_out_of_fold_and_both_files_are_written(tiles):
    result = crossval(tiles, "forest")
    correlation = correlate_labels(tiles, result)
    assert correlation.labels == pytest.approx(np.corrcoef(tiles.labels.T.astype(float)))
    child, parent = tiles.classes.index("cold/blue"), tiles.classes.index("cold")
    assert correlation.is_related[child, parent] and correlation.is_related[parent, child]
    picture = write_label_correlation(correlation, result)
    assert picture.is_file() and json.loads(picture.with_suffix(".json").read_text())["run"] == "forest"


def test_the_command_takes_any_run_of_several_labels(tiles):
    crossval(tiles, "forest")
    workspace: Path = tiles.competition.workspace.root
    finished = CliRunner().invoke(
        app, hoist(["--workspace", str(workspace), "correlation", "tiles", "forest", "--json"])
    )
    assert finished.exit_code == 0, finished.exception
    document = json.loads(finished.stdout)
    assert document["picture"].endswith("label_correlation.png") and len(document["errors"]) == len(tiles.classes)
