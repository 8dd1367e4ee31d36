"""What is sent: how much better than one fold's model the mean of all is, told by models of pairs of folds."""

from __future__ import annotations

import numpy as np
import pytest
from support.noise import noisy_rows

from kit.core.errors import LeakFound
from kit.data.prepared import prepare
from kit.report.board.expected import describe_expected, expect_scores
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store.pairs import Pairs
from kit.runs.store.sent import describe_sent, shrink
from kit.runs.verify import verify
from kit.scoring.predictions import Predictions

RUNS = """
[runs.probe]
model = "linear_probe"
encoder = "given"
[runs.strong]
model = "linear_probe"
encoder = "given"
C = 100.0
[runs.forest]
model = "forest"
pixels = 4
n_trees = 5
"""
N_TEST, N_DIMS, N_DRAWS = 2000, 20, 25


@pytest.fixture
def given(embedded):
    return prepare(embedded(RUNS))


def test_the_gain_is_what_averaging_gains_with_fewer_labels_times_what_is_left_of_it(given):
    result, right = crossval(given, "probe"), []
    pairs = Pairs(given, result.folder)
    for fold in given.scored:
        labels = given.fold_labels(fold)
        probas = np.array([pairs.sweep(fold, other)[0] for other in given.scored if other != fold])
        together, alone = probas.mean(axis=0).argmax(axis=1) == labels, probas.argmax(axis=2) == labels
        right += [(together[i], alone[:, i].mean()) for i in range(len(labels))]
    together, alone = np.mean(right, axis=0)
    assert result.record.sent["gain"] == pytest.approx(shrink(3) * (together - alone))
    assert result.record.sent["score"] == pytest.approx(result.record.cv + result.record.sent["gain"])


def test_a_gain_that_was_edited_is_named(given):
    result = crossval(given, "probe")
    edited = result.with_record(sent=result.record.sent | {"gain": 0.5})
    with pytest.raises(LeakFound, match=r"says that gain of what is sent is 0\.5"):
        verify(given, [edited])


def test_the_gain_of_what_has_no_pairs_is_that_of_two_heads_or_not_known(given):
    results = [crossval(given, name) for name in ("forest", "probe", "strong")]
    expected = expect_scores(given, results)
    assert [expected[name].how for name in ("forest", "probe", "strong")] == ["by heads", "measured", "measured"]
    gains = [result.record.sent["gain"] for result in results[1:]]
    assert expected["forest"].score == pytest.approx(results[0].record.cv + np.mean(gains))
    assert expect_scores(given, results[:2])["forest"].score is None


def test_an_ensemble_of_heads_is_measured_and_told_in_one_sentence(given):
    combined = ensemble(given, [crossval(given, name) for name in ("probe", "strong")])
    expected = expect_scores(given, [combined])["ensemble"]
    told, sent = describe_expected(given, "ensemble", combined.record.cv, expected), combined.record.sent
    assert f"{sent['score']:.3f} ± {sent['se']:.3f} is expected of what is sent" in (told or "")


def test_no_score_is_expected_that_cannot_be(given):
    result = crossval(given, "probe")
    beyond = result.with_record(sent=result.record.sent | {"score": 1.012})
    assert expect_scores(given, [beyond])["probe"].score == 1.0


def test_of_a_refit_one_model_is_said_to_be_sent(embedded):
    given = prepare(embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nrefit = true\n'))
    result = crossval(given, "probe")
    told = describe_expected(given, "probe", result.record.cv, expect_scores(given, [result])["probe"])
    assert "is expected of what is sent, one model of every label; its CV" in (told or "")


def nearest_mean(features, labels, new):
    """Return the probabilities of new images by the distance to the classes' means."""
    means = np.stack([features[labels == code].mean(axis=0) for code in range(3)])
    logits = -((new[:, None] - means) ** 2).sum(axis=2)
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (proba / proba.sum(axis=1, keepdims=True)).astype(np.float32)


def gain_and_truth(given, draw):
    """Return the estimated and the true gain of the mean of five nearest means over one, of 20 images per class."""
    rows, draws = noisy_rows(given, draw), np.random.default_rng(1000 + draw)
    centres = draws.normal(0, 0.35, (3, N_DIMS))
    features = draws.normal(size=(len(rows.labels), N_DIMS)) + centres[rows.labels]
    truth = np.arange(N_TEST) % 3
    new = draws.normal(size=(N_TEST, N_DIMS)) + centres[truth]

    def fit(out, images):
        kept = ~np.isin(rows.folds, out)
        return nearest_mean(features[kept], rows.labels[kept], images)

    models = np.stack([fit([fold], new) for fold in rows.scored])
    oof = np.concatenate([fit([fold], features[rows.folds == fold]) for fold in rows.scored])
    task, ids = rows.pool.task, rows.pool.ids
    test = Predictions(
        np.array([f"t{i}" for i in range(N_TEST)], dtype=object), rows.classes, models.mean(axis=0), task
    )
    sent = describe_sent(
        rows, Predictions(ids, rows.classes, oof, task), test,
        lambda of, other: fit([of, other], features[rows.folds == of]),
    )  # fmt: skip
    alone = (models.argmax(axis=2) == truth).mean()
    return sent["gain"], (models.mean(axis=0).argmax(axis=1) == truth).mean() - alone


def test_the_gain_has_no_bias_where_the_truth_is_known(given):
    gains, truths = np.array([gain_and_truth(given, draw) for draw in range(N_DRAWS)]).T
    apart = gains - truths
    assert truths.mean() > 0.005
    assert abs(apart.mean()) <= 2 * apart.std(ddof=1) / np.sqrt(N_DRAWS)
