"""How optimistic nested numbers are: the user's own runs on labels that mean nothing.

Labels are permuted within the folds, so that no image tells its label and every fold keeps its classes; then the runs
and their ensemble are made as ever, in a folder that is thrown away. Features come from the cache: no image is encoded
again. What is chosen on the scored images gains nothing there, unless the labels that score had a say in it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kit.bench.kept import code_key
from kit.core import terminal
from kit.core.deadline import within
from kit.core.engine import Task, run_tasks
from kit.core.errors import InputError, MissingWeights, TeacherMissing
from kit.core.files import Workspace, key_of, read_json, write_json
from kit.core.names import ENSEMBLE
from kit.core.shapes import Labels, Proba
from kit.core.terminal import Progress, empty_table, note
from kit.data.images import ids_of
from kit.data.prepared import Prepared
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import check_run, crossval
from kit.runs.fit.fold import read_sweep
from kit.runs.fit.tasks import describe_needs
from kit.runs.noise import Optimism, measured_key
from kit.runs.store import Result
from kit.runs.store.build import build_model
from kit.runs.store.find import made_rounds, settings_key
from kit.runs.store.pairs import BY_PAIRS, Apart, apart_in, pairs_of
from kit.runs.store.score import apart_of, decide_anew, decided_rows
from kit.runs.store.thresholds import decision_key, read_thresholds
from kit.runs.tuning import read_space, tune
from kit.runs.tuning.setting import change
from kit.scoring.predictions import Predictions

N_CHANCE = 20  # permutations against which the same predictions are scored
MADE_BY = ("data", "features", "models", "runs", "scoring", "bench/noise.py")
Gains = tuple[float | None, float]  # over the same with nothing chosen, where something is, and over chance


@dataclass(frozen=True)
class Scratch(Workspace):
    """Keep a competition's runs in a folder of their own; all else is the user's workspace."""

    home: Path

    def runs(self, competition: str) -> Path:
        """Return the folder that is thrown away."""
        return self.home / competition


def bench_noise(prepared: Prepared, n_draws: int, with_networks: bool = False) -> list[Optimism]:
    """Make the runs on permuted labels `n_draws` times, at least 2, and say how optimistic each one's score is.

    Networks, and runs that networks teach, are left out unless they are asked for. Nothing of the user's runs is
    written. InputError where no run is left.
    """
    names = list_runs(prepared, with_networks)
    if not names:
        raise InputError(
            f"bench noise: every run of {prepared.competition.name} needs a network; --all-runs takes networks too"
        )
    drawn = _draw(prepared, "do_draw", {"names": names}, n_draws)
    members = [name for name in drawn if name != ENSEMBLE and _is_member(prepared, name)]
    return [
        _summarise(prepared, name, np.array(gains, dtype=float), members if name == ENSEMBLE else None)
        for name, gains in drawn.items()
    ]


def bench_search_noise(prepared: Prepared, names: Sequence[str], n_draws: int, n_trials: int) -> list[Optimism]:
    """Tune runs on permuted labels `n_draws` times, at least 2, and say how far what `tune` reports is above 0.

    A run that has teachers is taught by those that are made on the same labels. Errors are those of `tune`.
    """
    for name in names:
        read_space(prepared.competition, prepared.competition.run(name))
    drawn = _draw(prepared, "do_searches", {"names": list(names), "n_trials": n_trials}, n_draws)
    return [_summarise_search(prepared, name, np.array(gains), n_trials) for name, gains in drawn.items()]


def _draw(prepared: Prepared, function: str, arguments: dict[str, Any], n_draws: int) -> dict[str, list[Any]]:
    """Have labels permuted `n_draws` times; return what a function of this file measured then, by run.

    What was measured of a draw lies in the cache, by all that decides it: a killed call goes on with the next draw.
    """
    competition = prepared.competition
    made = {each for name in arguments["names"] for each in (name, *_list_teachers(prepared, name))}
    runs = [competition.run(name) for name in competition.runs if name in made]
    keys = [(run.model_dump(), settings_key(prepared, run)) for run in runs]
    decides = (prepared.pool.key, prepared.fold_key, prepared.metric.key, decision_key(prepared))
    key = key_of(code_key(MADE_BY), function, arguments, keys, competition.ensemble.model_dump(), *decides)
    home = competition.workspace.cache(competition.name) / "noise" / key
    files = [home / f"{draw}.json" for draw in range(n_draws)]
    waiting = [draw for draw, file in enumerate(files) if not file.exists()]
    with Progress("labels permuted", n_draws) as progress:
        progress.resume_at(n_draws - len(waiting))
        reads = _list_reads(prepared, made) if waiting else ()
        tasks = [
            Task(f"{__name__}:{function}", {**arguments, "draw": draw}, f"labels permuted, draw {draw}", reads=reads)
            for draw in waiting
        ]
        for done in run_tasks(tasks, prepared):
            write_json(files[done.task.arguments["draw"]], done.value)
            progress.advance()
    drawn: dict[str, list[Any]] = {}
    for file in files:
        for name, gains in read_json(file).items():
            drawn.setdefault(name, []).append(gains)
    return drawn


def _list_reads(prepared: Prepared, names: Iterable[str]) -> tuple[Path, ...]:
    """Return what a node without the workspace needs to make runs anew: what they read, and the user's own metric."""
    competition, custom = prepared.competition, prepared.competition.metric_file
    places = [competition.root, competition.workspace.cache(competition.name)]
    places += [] if custom is None else [custom[0] / custom[1]]
    for name in names:
        untaught = competition.run(name).model_copy(update={"pseudo": None})  # its teachers are made anew too
        places += describe_needs(prepared, untaught).reads
    return tuple(dict.fromkeys(places))


def do_draw(prepared: Prepared, names: list[str], draw: int) -> dict[str, Gains]:
    """Make the runs on labels that are permuted once; return what `_measure` does."""
    with tempfile.TemporaryDirectory() as home, _silence():
        return _measure(permute(prepared, draw, Path(home)), names, draw)


def do_searches(prepared: Prepared, names: list[str], n_trials: int, draw: int) -> dict[str, float]:
    """Tune runs on labels that are permuted once; return how much better each one's choice is than its own values."""
    with tempfile.TemporaryDirectory() as home, _silence():
        noisy, gains = permute(prepared, draw, Path(home)), {}
        for name in names:
            for teacher in _list_teachers(noisy, name):
                crossval(noisy, teacher)
            with within(None):  # a search sets the time limit anew
                gains[name] = tune(noisy, name, n_trials).comparison.difference
        return gains


def _list_teachers(prepared: Prepared, name: str) -> list[str]:
    """Return the runs that teach a run, theirs before them."""
    run = prepared.competition.run(name)
    teachers = run.pseudo.teachers if run.pseudo else []
    return list(dict.fromkeys(each for teacher in teachers for each in (*_list_teachers(prepared, teacher), teacher)))


def list_runs(prepared: Prepared, with_networks: bool) -> list[str]:
    """Return the runs that are made, those that teach before those that they teach; others are named with a note."""
    taken, left_out = [], []
    for name, run in prepared.competition.runs.items():
        teachers = run.pseudo.teachers if run.pseudo else []
        is_cheap = with_networks or not build_model(prepared.competition, run).resumes
        (taken if is_cheap and all(_is_cheap(prepared, each, with_networks) for each in teachers) else left_out).append(
            name
        )
    if left_out:
        note(f"left out: {', '.join(left_out)}, networks or taught by them; --all-runs makes them too")
    usable = []
    for name in taken:
        try:
            check_run(prepared, name)
        except (MissingWeights, InputError) as error:
            note(f"{name} is left out: {error}")
        else:
            usable.append(name)
    return usable


def _is_cheap(prepared: Prepared, name: str, with_networks: bool) -> bool:
    """Return whether a teacher is made of labels that are permuted: an import is not."""
    if name not in prepared.competition.runs:
        return False
    run = prepared.competition.run(name)
    own = with_networks or not build_model(prepared.competition, run).resumes
    return own and all(_is_cheap(prepared, each, with_networks) for each in (run.pseudo.teachers if run.pseudo else []))


def permute(prepared: Prepared, draw: int, home: Path) -> Prepared:
    """Return a competition whose labels are permuted within every fold, and whose runs lie below `home`."""
    workspace = Scratch(prepared.competition.workspace.root, home)
    competition = prepared.competition.model_copy(update={"workspace": workspace})
    labels = permute_labels(prepared.labels, prepared.folds, np.random.default_rng(draw))
    return replace(prepared, competition=competition, labels=labels)


def permute_labels(labels: Labels, blocks: np.ndarray, draws: np.random.Generator) -> Labels:
    """Return labels that are permuted within every block."""
    permuted = labels.copy()
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        permuted[rows] = labels[draws.permutation(rows)]
    return permuted


def _measure(noisy: Prepared, names: Sequence[str], draw: int) -> dict[str, Gains]:
    """Return, by run, how much better its nested score is than with fixed settings, and than chance."""
    gains, members = {}, []
    for name in names:
        try:
            result = crossval(noisy, name)
        except TeacherMissing:
            continue
        fixed = _fix(noisy, result)
        gains[name] = _compare(noisy, result, fixed, draw)
        members.append((result, _as_chosen(noisy, result) if fixed is None else fixed))
    members = [each for each in members if _is_member(noisy, each[0].name)]
    if len(members) > 1:
        combined = ensemble(noisy, [result for result, _ in members])
        even = _mean([each for _, each in members], combined.predictions("oof"))
        gains[ENSEMBLE] = _compare(noisy, combined, even, draw)
    return gains


def _is_member(prepared: Prepared, name: str) -> bool:
    """Return whether the ensemble combines a run."""
    competition = prepared.competition
    return name in (competition.default_runs if competition.ensemble.members is None else competition.ensemble.members)


@dataclass(frozen=True)
class Fixed:
    """Hold a run's oof with nothing chosen, and by fold the other folds' rows by models that did not see it either.

    The latter, which choose thresholds, are None of a run without models of pairs of folds.
    """

    oof: Predictions
    apart: Apart | None


def _fix(noisy: Prepared, result: Result) -> Fixed | None:
    """Return a run's oof with nothing chosen: no round of pseudo labels, the swept setting where nothing may choose.

    None where nothing was chosen.
    """
    if result.record.rounds:
        first = made_rounds(noisy, noisy.competition.run(result.name))[0]
        return _fix(noisy, first) or _as_chosen(noisy, first)
    values = result.record.chosen.get("values", [])
    if len(values) < 2:
        return None
    default = result.record.chosen["default"]
    position = values.index(default) if default in values else 0
    proba = np.concatenate([read_sweep(result.folder, fold)[position] for fold in noisy.scored])
    if noisy.hierarchy is not None:
        proba = noisy.hierarchy.make_consistent(proba)
    ids = np.concatenate([ids_of(noisy.held_out(fold)) for fold in noisy.scored])
    chosen = {"values": values, "per_fold": {str(fold): values[position] for fold in noisy.scored}}
    apart = None if pairs_of(noisy, result) is None else apart_in(noisy, result.folder, chosen)
    return Fixed(Predictions(ids, noisy.classes, proba, noisy.pool.task), apart)


def _as_chosen(noisy: Prepared, result: Result) -> Fixed:
    """Return a run as it is."""
    return Fixed(result.predictions("oof"), apart_of(noisy, result))


def _mean(members: Sequence[Fixed], like: Predictions) -> Fixed:
    """Return the mean of runs, in the order of `like`."""
    proba = np.mean([each.oof.at(like.ids).proba for each in members], axis=0, dtype=np.float32)
    aparts = [each.apart for each in members if each.apart is not None]

    def apart(fold: int) -> Proba:
        return np.stack([each(fold) for each in aparts]).mean(axis=0, dtype=np.float32)

    return Fixed(dataclasses.replace(like, proba=proba), apart if len(aparts) == len(members) else None)


def _compare(noisy: Prepared, result: Result, fixed: Fixed | None, draw: int) -> Gains:
    """Return how much better a run's score is than with nothing chosen, None where nothing is, and than chance.

    What is fixed has thresholds that are chosen as the run's are: by models of pairs of folds, or by oof.
    """
    metric, thresholds = noisy.metric, result.record.thresholds
    labels, proba = decided_rows(noisy, result)
    score, over_fixed = metric.score(labels, proba), None
    if fixed is not None:
        apart = fixed.apart if thresholds is not None and thresholds.nested == BY_PAIRS else None
        over_fixed = metric.sign * (score - metric.score(*decide_anew(noisy, fixed.oof, apart)))
    return over_fixed, metric.sign * (score - _score_by_chance(noisy, labels, proba, draw))


def _score_by_chance(noisy: Prepared, labels: Labels, proba: Proba, draw: int) -> float:
    """Return what the same predictions score on labels that are permuted within the folds once more."""
    draws, folds = np.random.default_rng((draw, 1)), noisy.folds[noisy.scored_rows]
    scores = [noisy.metric.score(permute_labels(labels, folds, draws), proba) for _ in range(N_CHANCE)]
    return float(np.mean(scores))


def _summarise(prepared: Prepared, name: str, gains: np.ndarray, members: list[str] | None) -> Optimism:
    """Return means and standard errors of (n_draws, 2) gains."""
    n_draws = len(gains)
    errors = gains.std(axis=0, ddof=1) / np.sqrt(n_draws) if n_draws > 1 else np.full(2, np.nan)
    (over_fixed, over_chance), (fixed_error, chance_error) = gains.mean(axis=0).tolist(), errors.tolist()
    is_chosen = not np.isnan(over_fixed)
    return Optimism(
        name,
        measured_key(prepared, name, members),
        over_fixed if is_chosen else None,
        fixed_error if is_chosen else None,
        over_chance,
        chance_error,
        n_draws,
        members,
        prepared.pool.is_multilabel and prepared.metric.needs != "proba" and read_thresholds(prepared) is None,
    )


def _summarise_search(prepared: Prepared, name: str, gains: np.ndarray, n_trials: int) -> Optimism:
    """Return mean and standard error of (n_draws,) gains of a search."""
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    key = settings_key(prepared, change(prepared.competition.run(name), {}))
    return Optimism(name, key, float(gains.mean()), error, None, None, len(gains), n_trials=n_trials)


@contextmanager
def _silence() -> Iterator[None]:
    """Say nothing of the runs that are made: their scores mean nothing."""
    before, terminal.err.quiet = terminal.err.quiet, True
    try:
        yield
    finally:
        terminal.err.quiet = before


def render_noise(measured: Sequence[Optimism]) -> Table:
    """Return the optimism of every run, or search, as a table; a star stands where it exceeds one standard error."""
    is_search = all(each.n_trials is not None for each in measured)
    who = "tune" if is_search else "the leaderboard"
    caption = (
        "labels permuted within the folds: above 0, a nested score is better than it should be\n"
        f"* by more than one standard error; {who} says so too"
    )
    table = empty_table(f"Optimism on noise, {max(each.n_draws for each in measured)} draws", caption)
    over = "tuned - untuned" if is_search else "nested - fixed"
    for header in ("run", f"{over} ± SE", *([] if is_search else ["nested - chance ± SE"]), ""):
        table.add_column(header, justify="left" if header == "run" else "right")
    for each in measured:
        told = [
            (each.over_fixed, each.over_fixed_se),
            *([] if is_search else [(each.over_chance, each.over_chance_se)]),
        ]
        cells = ["nothing chosen" if value is None else f"{value:+.4f} ± {error:.4f}" for value, error in told]
        table.add_row(each.run, *cells, "*" if each.exceeds else "")
    return table
