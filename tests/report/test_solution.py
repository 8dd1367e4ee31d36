"""Local scores against a solution that Kaggle does not see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from support.channels import CHANNELS, CODED, ONE, make_by_turns
from support.colours import FOREST_AND_SVM

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.data.prepared import prepare
from kit.kaggle.submission.write import make_submission
from kit.report.board import leaderboard, local_score, read_solution, why_cv_only
from kit.runs.fit.crossval import crossval


def test_a_solution_is_merged_as_the_labels_are(colours):
    prepared = prepare(colours(data='merge = { cold = ["blue", "green"] }'))
    assert prepared.classes == ("cold", "red")
    solution = read_solution(prepared)
    assert sorted(solution.values()) == [0] * 6 + [1] * 3


def test_a_solution_may_have_the_columns_of_the_training_table(several):
    solution = read_solution(several[0])
    assert len(solution) == 6 and set(several[0].classes) == {"ink", "paint", *CHANNELS[:2]}


def test_a_solution_without_test_images_scores_nothing(tmp_path):
    prepared = make_by_turns(tmp_path, "id,label\n{id},{code}", ONE, CODED + 'solution = "solution.csv"')
    row = leaderboard(prepared, [crossval(prepared, "forest")], {})[0]
    assert row.local is None and "no local score: there is no test image" in row.remarks


def test_a_metric_of_probabilities_is_not_scored_from_a_submission_of_labels(colours):
    prepared = prepare(colours(FOREST_AND_SVM, ("competition.metric=log_loss",)))
    result = crossval(prepared, "svm")
    row = leaderboard(prepared, [result], {})[0]
    assert row.local is None and row.cv is not None
    assert "no local score: log_loss needs probabilities and cannot be scored from labels" in row.remarks[0]
    with pytest.raises(InputError, match=r"colours: log_loss needs probabilities and cannot be scored from labels.*CV"):
        local_score(prepared, read_solution(prepared), result.predictions("test"))


def test_a_metric_of_probabilities_is_scored_from_a_submission_of_them(colours):
    competition = colours(FOREST_AND_SVM, ("competition.metric=log_loss",))
    path = competition.root / "sample_submission.csv"
    ids = pd.read_csv(path, dtype=str)["id"]
    pd.DataFrame({"id": ids, "blue": "0.3", "green": "0.3", "red": "0.4"}).to_csv(path, index=False)
    prepared = prepare(competition)
    assert why_cv_only(prepared) is None
    assert leaderboard(prepared, [crossval(prepared, "svm")], {})[0].local > 0


def test_the_local_score_is_that_of_the_written_labels(board):
    prepared, results = board
    solution = pd.read_csv(prepared.competition.root / "solution.csv", dtype=str).set_index("id")["label"]
    test = results[0].predictions("test")
    labels = [prepared.classes[code] for code in test.proba.argmax(axis=1)]
    expected = (solution[list(test.ids)].to_numpy() == labels).mean()
    rows = {row.run: row for row in leaderboard(prepared, results, {})}
    assert rows["forest"].local == pytest.approx(expected)


def test_a_solution_that_misses_a_test_image_is_refused(board):
    prepared, _ = board
    path = prepared.competition.root / "solution.csv"
    table = pd.read_csv(path, dtype=str)
    table.iloc[1:].to_csv(path, index=False)
    with pytest.raises(InputError, match=f"1 test images are not in it: {table['id'][0]}"):
        read_solution(prepared)
    table.assign(label="pink").to_csv(path, index=False)
    with pytest.raises(InputError, match="labels that are not classes: pink"):
        read_solution(prepared)


def test_broken_test_images_are_scored_as_they_are_sent(colours):
    competition = colours()
    for path in sorted((competition.root / "test").iterdir())[:4]:
        path.write_bytes(b"not an image")
    prepared = prepare(competition)
    result = crossval(prepared, "svm")
    row = leaderboard(prepared, [result], {})[0]
    written, solution = (
        pd.read_csv(path, dtype=str).set_index("id")["label"]
        for path in (make_submission(prepared, result), competition.root / "solution.csv")
    )
    assert len(prepared.broken_test) == 4 and row.local < 1
    assert row.local == pytest.approx((written == solution[written.index]).mean())


def test_a_solution_that_went_away_is_named(board):
    prepared, results = board
    (prepared.competition.root / "solution.csv").rename(prepared.competition.root / "solutions.csv")
    with pytest.raises(InputError, match=r"solution\.csv.*did you mean 'solutions\.csv'"):
        leaderboard(prepared, results, {})


def test_a_solution_of_one_column_is_refused(board):
    prepared, _ = board
    (prepared.competition.root / "solution.csv").write_text("id\n00001\n")
    with pytest.raises(InputError, match=r"solution\.csv: only one column"):
        read_solution(prepared)


def test_a_competition_without_a_solution_has_no_local_score(colours):
    competition = colours()
    toml = competition.folder / "competition.toml"
    toml.write_text(toml.read_text().replace('solution = "solution.csv"\n', ""))
    prepared = prepare(read_competition(competition.name, competition.workspace))
    assert leaderboard(prepared, [crossval(prepared, "svm")], {})[0].local is None


def test_several_labels_are_scored_by_the_solution_with_their_parents(paints):
    prepared, result = paints
    solution = read_solution(prepared)
    assert prepared.classes == ("ink", "ink/blue", "paint", "paint/green", "paint/red")
    test = result.predictions("test")
    labels = np.array([solution[image_id] for image_id in test.ids])
    assert (labels[:, 0] == labels[:, 1]).all() and (labels[:, 2] == labels[:, 3:].max(axis=1)).all()
    score, error = local_score(prepared, solution, test)[:2]
    assert score == pytest.approx(f1_score(labels, test.proba >= 0.5, average="macro")) and error > 0


def test_an_unknown_label_of_the_solution_is_refused(paints):
    prepared, _ = paints
    path = prepared.competition.root / "solution.csv"
    path.write_text(path.read_text().replace("ink/blue", "ink/pink"))
    with pytest.raises(InputError, match=r"solution\.csv: labels that are not classes: ink/pink"):
        read_solution(prepared)
