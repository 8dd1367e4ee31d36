"""Sent: whether what is expected of what is sent comes true on hidden images, over draws of labels.

Reads the folders below ``--data``. Of every draw the figures lie below ``runs/bench-sent``, so that a second call goes
on where the first one stopped; the draw's runs are thrown away. Hidden labels are opened by the scoring here alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kit.bench.explain import mean_and_error
from kit.bench.kept import code_key
from kit.bench.members.measure import OF_PIP
from kit.bench.recipes.sets import encode_ahead, label_of, list_available, make_task, read_set
from kit.bench.semi import PhotoSetting, lay_out
from kit.config.competition import Run
from kit.core.engine import run_tasks
from kit.core.files import Workspace, key_of, read_json, write_json
from kit.core.held import hold
from kit.core.names import ENSEMBLE
from kit.core.shapes import Labels
from kit.core.terminal import empty_table, stage, warn
from kit.data.prepared import Prepared
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.store import Result
from kit.runs.store.score import oof_rows
from kit.scoring.metrics import hits
from kit.scoring.shares import Shares, score_at

SETTINGS = ("trashnet 15", "grocery 5")
FIRST = 100  # the number of the first draw: the estimate was made by looking at earlier ones
MADE_BY = ("data", "features", "models", "runs", "scoring", "bench/recipes/sets.py", "bench/semi.py", "bench/sent.py")


@dataclass(frozen=True)
class Sent:
    """Hold what was printed of one run of one draw, and what came of it; accuracies, 0..1.

    Parameters
    ----------
    cv
        Of one fold's model.
    expected, error
        Of what is sent, the mean of the folds' models, at the test's class shares, and its standard error.
    accuracy
        Of what is sent, on the hidden images.
    chance
        By how much the labelled images came out easier than the hidden ones for one fold's model, at the same class
        shares: images are drawn alike within the classes, so that it is 0 in the mean. None of an ensemble.
    """

    setting: str
    draw: int
    run: str
    cv: float
    expected: float
    error: float
    accuracy: float
    chance: float | None = None


@dataclass(frozen=True)
class Bias:
    """Hold how far both figures of a run lie above what came, in the mean over draws, and their standard errors.

    Parameters
    ----------
    within
        Share of the draws in which what came lies within 1.96 standard errors of what was expected.
    less_chance, less_chance_se
        Of what was expected, without the chance by which images were easy or hard: known more closely.
    """

    setting: str
    run: str
    draws: int
    accuracy: float
    of_cv: float
    of_cv_se: float
    of_expected: float
    of_expected_se: float
    within: float
    less_chance: float | None = None
    less_chance_se: float | None = None


def bench_sent(data: Path, workspace: Workspace, n_draws: int, only: Sequence[str] = ()) -> list[Sent]:
    """Measure the draws from `FIRST` on of every setting whose photos are there: probes of two encoders, and both.

    InputError where no photos are there.
    """
    available = list_available(data, list(only) or SETTINGS)
    home, made_by = Workspace(workspace.root / "runs" / "bench-sent"), key_of([code_key(MADE_BY), OF_PIP])[:8]
    measured: list[Sent] = []
    with hold(home.root, warn):
        for setting in available:
            stem = f"{label_of(setting).replace(' ', '-')}-{made_by}"
            files = {draw: home.root / "draws" / f"{stem}-{draw}.json" for draw in range(FIRST, FIRST + n_draws)}
            if waiting := [draw for draw, file in files.items() if not file.exists()]:
                everything = _with_runs(read_set(data, setting, home))
                reads, function = encode_ahead(everything), f"{__name__}:do_draw"
                tasks = [make_task(function, setting, draw, ", sent", {}, reads, []) for draw in waiting]
                for done in run_tasks(tasks, everything):
                    write_json(files[done.task.arguments["draw"]], done.value)
                    stage("bench", done.task.label)
            measured += [Sent(**each) for file in files.values() for each in read_json(file)]
    return measured


def do_draw(everything: Prepared, setting: dict[str, Any], draw: int) -> list[dict[str, Any]]:
    """Return what is measured on one draw, in the form of JSON."""
    return [asdict(each) for each in _measure(everything, PhotoSetting(**setting), draw)]


def _with_runs(everything: Prepared) -> Prepared:
    """Return a set whose competition has the runs that are measured."""
    tables = {f"probe_{name}": table for name, table in OF_PIP.items()} | {
        "joined": {"encoders": list(OF_PIP.values())}
    }
    runs = {name: Run(name=name, model="linear_probe", options=table) for name, table in tables.items()}
    return replace(everything, competition=everything.competition.model_copy(update={"runs": runs}))


def _measure(everything: Prepared, setting: PhotoSetting, draw: int) -> list[Sent]:
    """Make the runs of one draw and their ensemble, and say what they promised and what came."""
    laid, truth = lay_out(everything, setting, draw)
    results = [crossval(laid, name) for name in laid.competition.runs]
    results.append(replace(ensemble(laid, results), name=ENSEMBLE))
    measured = [_score(laid, truth, label_of(setting), draw, result) for result in results]
    shutil.rmtree(laid.competition.workspace.runs(laid.competition.name))
    return measured


def _score(laid: Prepared, truth: Labels, setting: str, draw: int, result: Result) -> Sent:
    """Score what is sent of one run on the hidden images."""
    proba = result.predictions("test").at(laid.pool.ids[laid.split("test")]).proba
    record, sent = result.record, result.record.sent
    accuracy = float(hits(truth, proba).mean())
    chance = None if result.name == ENSEMBLE else _measure_chance(laid, truth, result)
    return Sent(setting, draw, result.name, record.cv, sent["score"], sent["se"], accuracy, chance)


def _measure_chance(laid: Prepared, truth: Labels, result: Result) -> float:
    """Return how much easier the labelled images are than the hidden ones for one fold's model: see `Sent`."""
    labels, oof = oof_rows(laid, result.predictions("oof"))
    shares = [np.bincount(codes, minlength=len(laid.classes)) / len(codes) for codes in (labels, truth)]
    ids = laid.pool.ids[laid.split("test")]
    alone = [hits(truth, result.fold_predictions(fold, "test").at(ids).proba).mean() for fold in laid.scored]
    return score_at("accuracy", labels, oof, Shares(*shares, is_shifted=True)) - float(np.mean(alone))


def summarise(measured: Sequence[Sent]) -> list[Bias]:
    """Return the bias of every run of every setting over its draws."""
    of: dict[tuple[str, str], list[Sent]] = {}
    for each in measured:
        of.setdefault((each.setting, each.run), []).append(each)
    lines = []
    for (setting, run), draws in of.items():
        came = np.array([each.accuracy for each in draws])
        missed = np.array([each.expected for each in draws]) - came
        of_cv = mean_and_error(np.array([each.cv for each in draws]) - came)
        within = float((np.abs(missed) <= 1.96 * np.array([each.error for each in draws])).mean())
        chance = [each.chance for each in draws if each.chance is not None]
        less_chance = mean_and_error(missed - np.array(chance)) if len(chance) == len(draws) else (None, None)
        biases = (*of_cv, *mean_and_error(missed), within, *less_chance)
        lines.append(Bias(setting, run, len(draws), float(came.mean()), *biases))
    return lines


def render_sent(lines: Sequence[Bias]) -> Table:
    """Return the biases as a table."""
    table = empty_table("Expected of what is sent, less what came", "accuracy on hidden images; ± is the SE over draws")
    texts, numbers = ("set, labels per class", "run"), ("CV - accuracy", "expected - accuracy", "less chance", "held")
    for header in (*texts, "draws", "accuracy", *numbers):
        table.add_column(header, justify="left" if header in texts else "right")
    for line in lines:
        pairs = ((line.of_cv, line.of_cv_se), (line.of_expected, line.of_expected_se))
        pairs += ((line.less_chance, line.less_chance_se),)
        told = ["" if value is None else f"{value:+.4f} ± {error:.4f}" for value, error in pairs]
        table.add_row(line.setting, line.run, str(line.draws), f"{line.accuracy:.3f}", *told, f"{line.within:.0%}")
    return table
