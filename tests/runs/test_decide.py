"""None of these: scores, ranks, thresholds that saw no such image, and what becomes of rejected images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.channels import CODED, ONE, TESTED, make_by_turns
from support.folders import write
from support.outliers import CLASSES, CODES, KNOWN, N_KNOWN, N_LABELED, N_STRANGE, VALUES

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.images import Pool
from kit.data.prepared import Prepared
from kit.kaggle.submission.fill import fill_sample
from kit.report.board import leaderboard, local_score, read_solution
from kit.runs.decide import reject_test_images
from kit.runs.decide.decisions import decided_test, describe_decisions, render_decisions
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result
from kit.runs.verify import verify
from kit.scoring import rejection as reject

OPEN = '[decision]\nnone_of_these = "none"\nscore = "{}"\n'


def made(home: Path, decision: str = "", metric: str = "accuracy", sample: str = "id,label\n") -> Prepared:
    """Return a competition on given embeddings, whose test images are known ones and out-of-distribution ones."""
    names = [*CLASSES, "weed"]
    n_labeled, n_test = 4 * N_LABELED, 4 * N_KNOWN + N_STRANGE
    ids = np.array([f"{i:04d}" for i in range(n_labeled + n_test)], dtype=object)
    header, _, cell = sample.partition("\n")
    write(
        home / "data/sample.csv",
        header + "\n" + "".join(f"{image_id},{cell or 'ash'}\n" for image_id in ids[n_labeled:]),
    )
    rows = zip(ids[n_labeled:], CODES[n_labeled:], strict=True)
    write(home / "data/solution.csv", "id,label\n" + "".join(f"{image_id},{names[code]}\n" for image_id, code in rows))
    files = 'labeled = "train"\ntest = "test"\nsample_submission = "sample.csv"\nsolution = "solution.csv"\n'
    text = f'[competition]\ntitle = "t"\nmetric = "{metric}"\n[data]\nroot = "data"\n{files}[decision]\n{decision}\n'
    text += '[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'
    write(home / "c/competition.toml", text)
    splits = np.repeat(np.array(["labeled", "test"], dtype=object), [n_labeled, n_test])
    pool = Pool(ids, splits, ids, ids, np.arange(len(ids)), CLASSES, home / "cache", home, embeddings=VALUES)
    competition = read_competition(str(home / "c"), Workspace(home))
    return Prepared(competition, pool, np.arange(n_labeled), CODES[KNOWN], np.arange(n_labeled) % 4, (0, 1, 2, 3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Prepared, Result]:
    prepared = made(tmp_path_factory.mktemp("unknown"), 'none_of_these = "weed"')
    return prepared, crossval(prepared, "probe")


def planned(prepared: Prepared, **keys: object) -> Prepared:
    """Return the competition with other keys of [decision]."""
    plan = prepared.competition.decision.model_copy(update=keys)
    return dataclasses.replace(prepared, competition=prepared.competition.model_copy(update={"decision": plan}))


@pytest.mark.parametrize("score", ["max_probability", "energy", "similarity", "distance", "combined"])
def test_every_score_tells_out_of_distribution_images_better_than_chance(trained, score):
    prepared, result = trained
    rejection = reject_test_images(planned(prepared, score=score), result)
    assert roc_auc_score(np.repeat([1, 0], [4 * N_KNOWN, N_STRANGE]), rejection.ranks) > 0.7
    assert rejection.kept == pytest.approx(0.95, abs=0.08) and "no image that shows none" in rejection.how


def test_the_energy_is_that_of_the_heads_logits(trained):
    prepared, result = trained
    head = result.fold_predictions(0, "test")
    energy = reject_test_images(planned(prepared, score="energy"), result)
    assert len(energy.ranks) == len(head) and energy.scores == ("energy",)


def test_the_energy_of_several_copies_is_refused(trained):
    prepared, _ = trained
    run = prepared.competition.run("probe").model_copy(update={"bags": 2, "name": "bagged"})
    runs = prepared.competition.runs | {"bagged": run}
    bagged = dataclasses.replace(prepared, competition=prepared.competition.model_copy(update={"runs": runs}))
    with pytest.raises(InputError, match=r"needs the logits of one head, which bagged does not keep.*without bags"):
        reject_test_images(planned(bagged, score="energy"), crossval(bagged, "bagged"))


def test_a_lower_rate_rejects_more(trained):
    prepared, result = trained
    few, many = (reject_test_images(planned(prepared, accept_rate=rate), result).is_rejected for rate in (0.95, 0.6))
    assert (many | ~few).all() and many.sum() > few.sum()


def test_the_rate_is_chosen_by_hiding_classes_and_says_what_passed(trained):
    prepared, result = trained
    rejection = reject_test_images(planned(prepared, accept_rate="leave_one_out"), result)
    assert rejection.accept_rate in reject.ACCEPT_RATES and 0 <= rejection.passed < 0.5
    assert "when it is hidden" in rejection.how


def test_no_out_of_distribution_image_takes_part_in_the_choice(trained):
    prepared, result = trained
    pool = dataclasses.replace(prepared.pool, embeddings=np.where(CODES[:, None] == 4, VALUES[:1], VALUES))
    other = dataclasses.replace(prepared, pool=pool)
    for keys in ({}, {"accept_rate": "leave_one_out"}):
        ours, theirs = (reject_test_images(planned(state, **keys), result) for state in (prepared, other))
        assert ours.threshold == theirs.threshold and ours.kept == theirs.kept


def test_a_rejected_image_gets_the_name_and_is_scored_by_it(trained):
    prepared, result = trained
    test, rejected = decided_test(prepared, result), reject_test_images(prepared, result).is_rejected
    assert test.classes == (*CLASSES, "weed")
    assert ((test.proba.argmax(axis=1) == 4) == rejected).all() and rejected.any()
    table = fill_sample(prepared, test)
    assert ((table["label"] == "weed") == rejected).all()
    score = local_score(prepared, read_solution(prepared), test).score
    codes = np.array([(*CLASSES, "weed").index(label) for label in table["label"]])
    assert score == pytest.approx((codes == CODES[4 * N_LABELED :]).mean())


def test_the_board_scores_the_submission_and_says_what_the_cv_leaves_out(trained):
    prepared, result = trained
    (row,) = leaderboard(prepared, [result], {})
    assert row.local == local_score(prepared, read_solution(prepared), decided_test(prepared, result))[0]
    assert any("none of these" in remark for remark in row.remarks) and verify(prepared, [result])


def test_where_the_metric_ranks_classes_a_rejected_image_is_named_first(tmp_path):
    prepared = made(tmp_path, 'none_of_these = "weed"', metric="map@2")
    result = crossval(prepared, "probe")
    cells, rejected = (
        fill_sample(prepared, decided_test(prepared, result))["label"],
        reject_test_images(prepared, result),
    )
    assert ((cells.str.split(" ").str[0] == "weed") == rejected.is_rejected).all() and (cells.str.count(" ") == 1).all()


@pytest.mark.parametrize("columns", [CLASSES, (*CLASSES, "weed")])
def test_with_a_column_per_class_a_rejected_image_is_a_row_of_zeros(tmp_path, columns):
    prepared = made(
        tmp_path, 'none_of_these = "weed"', sample=f"id,{','.join(columns)}\n{','.join('0' for _ in columns)}"
    )
    result = crossval(prepared, "probe")
    table, rejected = (
        fill_sample(prepared, decided_test(prepared, result)),
        reject_test_images(prepared, result).is_rejected,
    )
    assert rejected.any() and (table.loc[rejected, list(CLASSES)] == 0).all(axis=None)
    assert (table.loc[~rejected, list(CLASSES)].sum(axis=1) > 0.99).all()
    assert "weed" not in columns or ((table["weed"] == 1) == rejected).all()


def test_an_ensemble_compares_its_members_features(trained):
    prepared, result = trained
    combined = ensemble(prepared, [result])
    ours, theirs = reject_test_images(prepared, combined), reject_test_images(prepared, result)
    assert ours.scores == theirs.scores and (ours.is_rejected == theirs.is_rejected).mean() > 0.9
    with pytest.raises(InputError, match='score = "energy" needs the logits of one head, which ensemble does not keep'):
        reject_test_images(planned(prepared, score="energy"), combined)


def test_decisions_say_how_the_threshold_was_chosen(trained):
    prepared, result = trained
    description = describe_decisions(prepared, result)
    assert description.as_dict()["none_of_these"]["n_rejected"] == description.rejection.is_rejected.sum()
    assert "keeps 95% of the labelled images" in str(render_decisions(description).caption)


def test_without_a_name_every_image_gets_a_class(trained):
    prepared, result = trained
    assert decided_test(planned(prepared, none_of_these=None), result).classes == CLASSES


def test_a_name_that_is_a_class_is_refused(trained):
    prepared, result = trained
    with pytest.raises(InputError, match="'ash' is a class of labelled images"):
        reject_test_images(planned(prepared, none_of_these="ash"), result)


def test_two_classes_cannot_be_hidden_in_turn(trained):
    prepared, result = trained
    with pytest.raises(InputError, match='score = "energy" does not allow: give a share'):
        reject_test_images(planned(prepared, score="energy", accept_rate="leave_one_out"), result)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ('score = "distance"', r"\[decision\] score says which images .* needs none_of_these"),
        ('none_of_these = "x"\naccept_rate = 1.5', "accept_rate"),
        ('none_of_these = "x"\nscore = "distanse"', "score"),
        ('none_of_these = "x"\nseparator = " "', "separator is read with several labels per image alone"),
        ('non_of_these = "x"', "unknown key 'non_of_these'; did you mean 'none_of_these'"),
    ],
)
def test_what_cannot_be_decided_is_refused(tmp_path, decision, message):
    with pytest.raises(InputError, match=message):
        made(tmp_path, decision)


def test_a_score_that_one_run_lacks_leaves_the_board_standing(tmp_path):
    prepared = make_by_turns(tmp_path, "id,label\n{id},{code}", ONE, CODED + TESTED + OPEN.format("energy"))
    row = leaderboard(prepared, [crossval(prepared, "forest")], {})[0]
    assert row.local is None and any('score = "energy" needs the logits' in remark for remark in row.remarks)
