"""Class correlation: distances of class means, measured on held-out images, before and after fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import pairwise_distances
from support.clips import TOWERS, write_clip
from typer.testing import CliRunner

from kit.cli.app import app, hoist
from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.data.prepared import Prepared, prepare
from kit.report.correlation import Correlation, check_trains, class_distances, correlate, write_correlation
from kit.runs.fit.crossval import crossval

RUNS = """
[runs.clip]
model = "clip_finetune"
encoder = "open_clip:local-dir:clip"
epochs = 2
lr = 1e-3
{options}

[runs.forest]
model = "forest"
n_trees = 5

[runs.net]
model = "fine_tune"
encoder = "timm:test_efficientnet"
pretrained = false
image_size = 32
epochs = 1
"""


@pytest.fixture
def made(colours: Callable[..., Competition]) -> Callable[..., Prepared]:
    """Return a function that makes a competition with a tiny CLIP ready."""

    def make(options: str = "") -> Prepared:
        competition = colours(RUNS.format(options=options))
        if not (competition.folder / "clip").exists():
            write_clip(competition.folder / "clip", TOWERS["transformer"])
        return prepare(competition)

    return make


def test_distances_agree_with_scikit_learns():
    draws = np.random.default_rng(0)
    values, labels = draws.normal(size=(40, 6)), np.arange(40) % 4
    means = np.stack([values[labels == code].mean(axis=0) for code in range(4)])
    assert np.allclose(class_distances(values, labels), pairwise_distances(means))


def test_distances_do_not_hang_on_the_order_of_images():
    draws = np.random.default_rng(0)
    values, labels, order = draws.normal(size=(30, 4)), np.arange(30) % 3, draws.permutation(30)
    distances = class_distances(values, labels)
    assert np.allclose(distances, class_distances(values[order], labels[order]))
    assert np.array_equal(distances, distances.T) and not distances.diagonal().any()


def test_a_class_without_images_has_no_distances():
    distances = class_distances(np.eye(4, 3), np.array([0, 0, 2, 2]), n_classes=3)
    assert np.isnan(distances[1]).all() and np.isnan(distances[:, 1]).all()
    assert np.isfinite(distances[np.ix_([0, 2], [0, 2])]).all()


def test_the_pairs_that_moved_most_come_first():
    before, after = np.zeros((3, 3)), np.zeros((3, 3))
    after[0, 1] = after[1, 0] = -0.2
    after[1, 2] = after[2, 1] = 0.5
    moved = Correlation(("a", "b", "c"), {0: 1.0}, before, after).moved()
    assert [pair["classes"] for pair in moved] == [["b", "c"], ["a", "b"], ["a", "c"]]


def test_at_alpha_0_nothing_has_moved(made):
    prepared = made("alpha = 0.0")
    correlation = correlate(prepared, crossval(prepared, "clip"))
    assert set(correlation.alphas.values()) == {0.0}
    assert np.array_equal(correlation.before, correlation.after)


def test_fine_tuning_moves_the_classes_and_both_are_written(made):
    prepared = made("alpha = 1.0")
    result = crossval(prepared, "clip")
    correlation = correlate(prepared, result)
    assert not np.allclose(correlation.before, correlation.after, atol=1e-3)
    assert correlation.before.max() <= 2
    path = write_correlation(correlation, result)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > picture.height
    document = json.loads((path.parent / "correlation.json").read_text())
    assert document["classes"] == ["blue", "green", "red"] and document["run"] == "clip"
    assert np.allclose(document["after"], correlation.after, atol=1e-5)


def test_before_training_is_the_untouched_encoder_on_every_fold(made):
    """The folds' models differ only after training: their zero-shot features are those of one network."""
    prepared = made("alpha = 0.5")
    result = crossval(prepared, "clip")
    other = made("alpha = 0.5\nseed = 5")
    first, second = (correlate(state, run) for state, run in ((prepared, result), (other, crossval(other, "clip"))))
    assert np.array_equal(first.before, second.before)
    assert not np.array_equal(first.after, second.after)


def test_a_network_of_timms_is_measured_too(made):
    prepared = made()
    correlation = correlate(prepared, crossval(prepared, "net"))
    assert set(correlation.alphas.values()) == {1.0}
    assert not np.allclose(correlation.before, correlation.after)


def test_a_run_without_a_network_is_refused(made):
    competition = made().competition
    check_trains(competition, "clip")
    check_trains(competition, "net")
    with pytest.raises(InputError, match="run forest: forest trains no network"):
        check_trains(competition, "forest")


def test_names_that_look_like_formulas_or_have_no_glyphs_are_drawn(made, tmp_path):
    distances = np.array([[0.0, 1.0], [1.0, 0.0]])
    prepared = made("alpha = 1.0")
    result = crossval(prepared, "clip")
    assert write_correlation(Correlation(("$x_", "猫"), {0: 1.0}, distances, distances), result).exists()


def test_the_command_prints_the_pairs_and_says_what_is_missing(made, tmp_path):
    prepared = made("alpha = 1.0")
    runner = CliRunner()
    arguments = ["--workspace", str(tmp_path), "correlation", "colours", "clip"]
    untrained = runner.invoke(app, hoist(arguments))
    assert isinstance(untrained.exception, InputError) and "train colours clip" in str(untrained.exception)
    crossval(prepared, "clip")
    finished = runner.invoke(app, hoist([*arguments, "--json"]))
    assert finished.exit_code == 0, finished.exception
    document = json.loads(finished.stdout)
    assert len(document["moved"]) == 3 and document["picture"].endswith("correlation.png")
