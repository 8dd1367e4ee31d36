"""Leaderboard: every run with CV +- SE, the paired test against the best, and local or Kaggle scores.

- `rows`: what is known of every run. `board`: the rows as a table. `classes`: one run, class by class.
- `luck`: what of the best CV is the luck by which the best was chosen.
- `nesting`: of which runs something was chosen by models that had seen the fold.
- `expected`: what is expected of what is sent.
- `remarks`: what must be known of a CV before it is believed.
- `mistakes`: the images that a run says wrong, the surest first.
- `beside`: scores in other metrics than the competition's.
- `solution`: the scorer of practice competitions, which alone reads a solution file.
"""

from kit.report.board.board import render_board, shorten_encoder
from kit.report.board.classes import render_classes, score_classes
from kit.report.board.expected import describe_expected
from kit.report.board.luck import describe_luck
from kit.report.board.mistakes import rank_mistakes, share_wrong
from kit.report.board.nesting import describe_nesting
from kit.report.board.remarks import optimistic_lists, remarks_on
from kit.report.board.rows import SAME, Row, leaderboard, used_test_images
from kit.report.board.solution import local_score, read_solution, solution_hash, why_cv_only

__all__ = [
    "SAME",
    "Row",
    "describe_expected",
    "describe_luck",
    "describe_nesting",
    "leaderboard",
    "local_score",
    "optimistic_lists",
    "rank_mistakes",
    "read_solution",
    "remarks_on",
    "render_board",
    "render_classes",
    "score_classes",
    "share_wrong",
    "shorten_encoder",
    "solution_hash",
    "used_test_images",
    "why_cv_only",
]
