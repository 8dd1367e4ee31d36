"""Edges of several labels per image, of none of these and of what is chosen: what went wrong there once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from support.folders import write

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.triage import rank_labels
from kit.data.prepared import Prepared, prepare
from kit.data.table.labels import read_label_lists
from kit.data.table.scan import read_column
from kit.kaggle.submission.fill import fill_sample
from kit.kaggle.submission.standing import _disagreement
from kit.report.board import leaderboard, read_solution
from kit.report.board.levels import render_levels, score_levels
from kit.report.page import write_report
from kit.runs.decide.decisions import decided_test
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import decided_rows, find_result, oof_rows
from kit.runs.store.imported import import_predictions
from kit.scoring.metrics import METRICS, find_metric, score_with_error
from kit.scoring.mixing import fit_simplex_weights
from kit.scoring.predictions import Predictions
from kit.scoring.thresholds import choose_thresholds

CHANNELS = ("paint/red", "paint/green", "ink")
FOREST = '[runs.forest]\nmodel = "forest"\nn_trees = 10\n'


def made(workspace: Path, table: str, facts: str, data: str, runs: str = FOREST, n_images: int = 48) -> Prepared:
    """Return the competition `tiles`: pictures of three channels, bright by turns, listed as `table` says of each."""
    draws, root = np.random.default_rng(0), workspace / "data/tiles"
    header, _, row = table.partition("\n")
    for split, n in (("train", n_images), ("test", 6)):
        (root / split).mkdir(parents=True, exist_ok=True)
        rows = []
        for i in range(n):
            on = np.array([i % 2, i % 3 == 0, i % 5 < 2], dtype=bool)
            pixels = np.clip(np.where(on, 180, 80) + draws.normal(0, 70, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / f"{split}{i:02d}.png")
            labels = ";".join(name for name, is_on in zip(CHANNELS, on, strict=True) if is_on)
            cells = dict(zip("abc", on.astype(int), strict=True))
            rows.append(row.format(id=f"{split}{i:02d}", labels=labels, group=i // 4, code=i % 3, **cells))
        write(root / ("train.csv" if split == "train" else "solution.csv"), "\n".join([header, *rows]) + "\n")
    text = f'[competition]\ntitle = "t"\n{facts}\n[data]\nroot = "data/tiles"\n{data}\n{runs}\n'
    write(workspace / "competitions/tiles/competition.toml", text)
    return prepare(read_competition("tiles", Workspace(workspace)))


SEVERAL = 'task = "multilabel"\nmetric = "macro_f1"\n[folds]\nn = 3'
LISTED = 'labeled = { csv = "train.csv", images = "train", label = "label", separator = ";", group = "g" }\n'
TESTED = 'test = "test"\nsolution = "solution.csv"\n'


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    data = LISTED + TESTED + 'hierarchy = "/"'
    prepared = made(tmp_path_factory.mktemp("review"), "id,label,g\n{id},{labels},{group}", SEVERAL, data)
    return prepared, crossval(prepared, "forest")


def test_thresholds_gain_a_wider_error_where_images_are_not_independent():
    draws = np.random.default_rng(0)
    labels = (draws.random((60, 2)) < 0.4).astype(np.int8)
    proba = np.clip(0.25 + 0.2 * labels + draws.normal(0, 0.1, labels.shape), 0.01, 0.99)
    labels, proba, groups = (np.repeat(own, 8, axis=0) for own in (labels, proba, np.arange(60)))
    alone, grouped = (
        choose_thresholds(METRICS["macro_f1"], labels, proba, groups % 3, groups=own) for own in (None, groups)
    )
    assert grouped.gain == alone.gain and grouped.gain_se > 2 * alone.gain_se


def test_members_that_are_all_but_perfect_can_be_mixed():
    draws = np.random.default_rng(0)
    own = 1 - draws.uniform(0, 1e-5, (2, 50)) * [[1.0], [0.01]]
    assert fit_simplex_weights(own).sum() == pytest.approx(1)


def test_a_solution_may_have_the_columns_of_the_training_table(several):
    solution = read_solution(several[0])
    assert len(solution) == 6 and set(several[0].classes) == {"ink", "paint", *CHANNELS[:2]}


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


def test_thresholds_of_each_fold_do_not_mix_up_what_ranks(several):
    prepared, result = several
    thresholds = result.record.thresholds
    apart = {"0": [0.1] * 4, "1": [0.9] * 4, "2": [0.5] * 4}
    changed = result.with_record(thresholds=thresholds.model_copy(update={"per_fold": apart}))
    labels, proba = oof_rows(prepared, result.predictions("oof"))
    row = leaderboard(prepared, [changed], {})[0]
    assert row.beside["map"].score == pytest.approx(average_precision_score(labels, proba, average="macro"))


def test_a_class_that_no_labelled_image_has_is_zero_where_the_sample_wants_it(tmp_path):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    write(tmp_path / "data/tiles/sample.csv", "id,d,c,a,b\n" + "".join(f"test{i:02d},0,0,0,0\n" for i in range(6)))
    prepared = made(tmp_path, "id,a,b,c,d\n{id},{a},{b},{c},0", SEVERAL, listed)
    assert prepared.classes == ("a", "b", "c")
    ids = prepared.pool.ids[prepared.split("test")]
    table = fill_sample(prepared, Predictions(ids, prepared.classes, np.full((6, 3), 0.9), "multilabel"))
    assert (table[["a", "b", "c"]] == 1).all(axis=None) and (table["d"] == 0).all()


@pytest.mark.parametrize("cell", ["0", "0.5"])
def test_a_column_of_having_none_of_several_labels_is_filled(tmp_path, cell):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    rows = "".join(f"test{i:02d}{f',{cell}' * 4}\n" for i in range(6))
    write(tmp_path / "data/tiles/sample.csv", "id,empty,a,b,c\n" + rows)
    data = listed + '\n[decision]\nnone_of_these = "empty"'
    prepared = made(tmp_path, "id,a,b,c\n{id},{a},{b},{c}", SEVERAL, data)
    ids, proba = prepared.pool.ids[prepared.split("test")], np.full((6, 3), 0.1)
    proba[0, 1] = 0.9
    table = fill_sample(prepared, Predictions(ids, prepared.classes, proba, "multilabel")).set_index("id")
    wanted = [0, 1] if cell == "0" else [0.1, 0.9]
    assert table.loc[[ids[0], ids[1]], "empty"].tolist() == pytest.approx(wanted)


def test_a_column_that_is_no_class_of_the_training_table_is_refused_still(tmp_path):
    listed = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"'
    write(tmp_path / "data/tiles/sample.csv", "id,e,c,a,b\n" + "".join(f"test{i:02d},0,0,0,0\n" for i in range(6)))
    prepared = made(tmp_path, "id,a,b,c,d\n{id},{a},{b},{c},0", SEVERAL, listed)
    with pytest.raises(InputError, match="neither one label nor the 3 classes: e differ"):
        fill_sample(
            prepared, Predictions(np.array(["x"], object), prepared.classes, np.full((1, 3), 0.9), "multilabel")
        )


def test_a_tab_in_a_cell_of_labels_is_in_doubt_too(several):
    listing = several[0].competition.data.labeled.model_copy(update={"separator": None, "form": "cell", "group": None})
    rows = pd.DataFrame({"id": ["1"], "label": ["a\tb"]})
    with pytest.raises(InputError, match="how 'a\\\\tb' parts labels is in doubt"):
        read_label_lists(rows, "id", listing, "key", Path("x.csv"))


@pytest.mark.parametrize(
    "rows",
    [{"id": ["1", "1", "2"], "label": ["a;b", "b", "a"]}, {"id": ["1", "2"], "tag1": ["a, b", "a"], "tag2": ["", "b"]}],
)
def test_a_cell_of_several_labels_is_not_taken_for_one(several, rows):
    listing = several[0].competition.data.labeled.model_copy(
        update={"separator": None, "group": None, "label": None, "form": None}
    )
    with pytest.raises(InputError, match="looks like several labels where one is read"):
        read_label_lists(pd.DataFrame(rows), "id", listing, "key", Path("x.csv"))


def test_two_columns_of_one_name_are_not_told_to_be_called_so():
    with pytest.raises(InputError, match="2 columns are named 'a'; rename all but one"):
        read_column(pd.DataFrame([["1", "2"]], columns=["a", "a"]), "a", "key", Path("x.csv"))


def test_an_own_metric_that_wants_every_class_has_an_error_though_a_rare_one_is_not_always_drawn(tmp_path):
    body = "    return log_loss(labels, proba)\ncost.greater_is_better = False\n"
    write(tmp_path / "own.py", f"from sklearn.metrics import log_loss\ndef cost(labels, proba):\n{body}")
    labels = np.array([0, 1] * 20 + [2])
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 41)
    score, error = score_with_error(find_metric("own.cost", [tmp_path]), labels, proba)
    assert score == pytest.approx(score_with_error("log_loss", labels, proba)[0]) and error > 0


def test_no_images_are_known_of_none(several):
    pool = several[0].pool
    assert len(pool.select(np.zeros(0)).is_known) == 0


ONE = 'metric = "accuracy"\n[folds]\nn = 3'
CODED = 'labeled = { csv = "train.csv", images = "train", id = "id", label = "label" }\n'
OPEN = '[decision]\nnone_of_these = "none"\nscore = "{}"\n'


def test_options_that_contradict_each_other_are_refused_with_file_and_table(tmp_path):
    runs = '[runs.forest]\nmodel = "forest"\nbalance = "nested"\ntau = 0.5\n'
    prepared = made(tmp_path, "id,label\n{id},{code}", ONE, CODED, runs)
    with pytest.raises(InputError, match=r'competition\.toml: \[runs\.forest\] tau is read with balance = "logit_adj'):
        crossval(prepared, "forest")


def test_a_score_that_one_run_lacks_leaves_the_board_standing(tmp_path):
    prepared = made(tmp_path, "id,label\n{id},{code}", ONE, CODED + TESTED + OPEN.format("energy"))
    row = leaderboard(prepared, [crossval(prepared, "forest")], {})[0]
    assert row.local is None and any('score = "energy" needs the logits' in remark for remark in row.remarks)


def test_a_solution_without_test_images_scores_nothing(tmp_path):
    prepared = made(tmp_path, "id,label\n{id},{code}", ONE, CODED + 'solution = "solution.csv"')
    row = leaderboard(prepared, [crossval(prepared, "forest")], {})[0]
    assert row.local is None and "no local score: there is no test image" in row.remarks


def test_runs_that_reject_other_images_disagree(tmp_path):
    runs = FOREST + '[runs.other]\nmodel = "forest"\nn_trees = 10\nseed = 1\n'
    choosy = '[decision]\nnone_of_these = "none"\naccept_rate = 0.4'
    prepared = made(tmp_path, "id,label\n{id},{code}", ONE, CODED + TESTED + choosy, runs)
    results = [crossval(prepared, name) for name in ("forest", "other")]
    sent = [decided_test(prepared, own).proba.argmax(axis=1) for own in results]
    assert any((own == len(prepared.classes)).any() for own in sent)
    assert _disagreement(prepared, *results) == pytest.approx(np.mean(sent[0] != sent[1]))


def test_labels_are_judged_by_an_ensemble_that_holds_an_import(several):
    prepared, result = several
    home = prepared.competition.workspace.root
    for split in ("oof", "test"):
        said = result.predictions(split)
        pd.DataFrame(said.proba, columns=said.classes).assign(id=said.ids).set_index("id").to_csv(home / f"{split}.csv")
    member = import_predictions(prepared, "elsewhere", home / "oof.csv", home / "test.csv")
    assert len(rank_labels(prepared, ensemble(prepared, [member, result])).order) == len(prepared.scored_rows)


def test_the_report_takes_the_diary_of_every_model(tmp_path):
    data = CODED + 'unlabeled = "test"\n'
    prepared = made(tmp_path, "id,label\n{id},{code}", ONE, data, '[runs.taught]\nmodel = "self_training"\n')
    result = crossval(prepared, "taught")
    assert write_report(prepared, [result, ensemble(prepared, [result])], {}).is_file()
    assert find_result(prepared, "taught").record.cv == result.record.cv
