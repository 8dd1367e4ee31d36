"""What the leaderboard proposes to do next."""

from __future__ import annotations

from support.colours import SVM, forest

from kit.cli.leaderboard import _follow_leaderboard
from kit.data.prepared import prepare
from kit.kaggle.submission.write import make_submission
from kit.runs.fit.crossval import crossval
from kit.runs.train import find_finished

N_TREES = 5


def test_next_of_the_leaderboard_is_the_submission_where_the_file_is_of_an_older_run(colours):
    prepared = prepare(colours(SVM))
    make_submission(prepared, crossval(prepared, "svm"))
    assert _follow_leaderboard(prepared, "colours", find_finished(prepared)) == ("report", "colours")
    prepared = prepare(colours(SVM.replace("4", "3")))
    crossval(prepared, "svm")
    assert _follow_leaderboard(prepared, "colours", find_finished(prepared)) == ("submission", "colours", "svm")


def test_next_of_the_leaderboard_knows_the_file_of_a_run_with_rounds(colours):
    teacher = prepare(colours(SVM))
    crossval(teacher, "svm")
    prepared = prepare(colours(SVM + forest(N_TREES, 'pseudo = { teachers = ["svm"], rounds = 2 }\n')))
    result = crossval(prepared, "forest")
    assert result.name == "forest" and result.record.rounds
    assert _follow_leaderboard(prepared, "colours", [result]) == ("submission", "colours", "forest")
    make_submission(prepared, result)
    assert _follow_leaderboard(prepared, "colours", [result]) == ("report", "colours")
