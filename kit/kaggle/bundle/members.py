"""Choose the runs that go into a bundle, and how they are mixed; tell which cannot go and why.

Reads finished runs; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.names import base_of
from kit.core.terminal import note, warn
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN
from kit.runs.ensemble import ensemble
from kit.runs.fit.fold import WEIGHTS_FILE
from kit.runs.fit.restore import read_settled
from kit.runs.store import IMPORTED, Result, fold_folder, settings_of
from kit.runs.store.build import build_model

MAX_TRAINING_IMAGES = 50_000  # that are carried, as features, for graphs and for models that are fitted anew


@dataclass(frozen=True)
class BundledRun:
    """Hold a run that goes into the bundle: its settings, of several rounds the kept one's, and its share."""

    result: Result
    run: Run
    weight: float = 1.0
    temperature: float = 1.0


def choose_members(
    prepared: Prepared, results: list[Result], drop: bool, task: str = "bundle"
) -> tuple[list[BundledRun], Result | None]:
    """Return the runs that go, with their shares, and the run or ensemble whose decisions go with them.

    Decisions are thresholds with several labels per image, and which images show none of the classes. They are of the
    mixture: where runs are dropped, the ensemble of the others is made anew.

    Of an ensemble's members those without any weight do not go. With `drop` runs that cannot go are left out, and their
    weight is shared among the others. `task` is what a refusal begins with. The second is None where an image simply
    gets its most probable class.

    Raises
    ------
    InputError
        When a run cannot go, and is not to be dropped; the message names all such runs, with the remedy.
    """
    whole = ensemble(prepared, results) if len(results) > 1 else results[0]
    alone = dict.fromkeys((result.name for result in results), 1.0)
    weights, temperatures = whole.record.weights or alone, whole.record.temperatures or alone
    needed = [result for result in results if weights[result.name] > 0]
    reasons = {result.name: reason for result in needed if (reason := _why_not(prepared, result))}
    if reasons and (not drop or len(reasons) == len(needed)):
        rest = "; name a run that can" if task != "bundle" else _say_drop(len(reasons), len(needed))
        named = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
        raise InputError(f"{task}: {named}{rest}")
    going = [result for result in needed if result.name not in reasons]
    total, decides = sum(weights[result.name] for result in going), decides_more(prepared)
    if idle := [result.name for result in results if result not in needed]:
        note(f"without weight in the ensemble, so not in the bundle: {', '.join(idle)}")
    if reasons:
        goes = "the others are weighed anew" if decides else f"their weight, {1 - total:.2f}, goes to the others"
        warn(f"left out of the bundle: {', '.join(reasons)}; {goes}")
    if reasons and decides:
        return choose_members(prepared, going, drop=False)
    chosen = [
        BundledRun(result, settings_of(prepared, result), weights[result.name] / total, temperatures[result.name])
        for result in going
    ]
    return chosen, whole if decides else None


def _say_drop(n_reasons: int, n_needed: int) -> str:
    """Tell that runs that cannot go can be left out, where others stay."""
    return "" if n_reasons == n_needed else ". Or leave them out: --drop shares their weights among the rest"


def decides_more(prepared: Prepared) -> bool:
    """Return whether an image's decision is more than its most probable class."""
    return prepared.pool.is_multilabel or prepared.competition.decision.none_of_these is not None


def is_kept(prepared: Prepared, run: Run) -> bool:
    """Return whether a run's models are kept as weights; else they are fitted anew."""
    return build_model(prepared.competition, run).keeps_weights


def asks_neighbours(prepared: Prepared, result: Result, run: Run) -> bool:
    """Return whether a fold's model settled on using the neighbours of an image, which needs the graph anew."""
    if not build_model(prepared.competition, run).is_swept:
        return False
    settled = [read_settled(result.folder, fold) for fold in prepared.scored]
    return any(isinstance(value, dict) and value.get("smooth") for value in settled)


def _why_not(prepared: Prepared, result: Result) -> str | None:
    """Tell why a run cannot predict new test images elsewhere, and what helps; None where it can."""
    if result.folder.name == IMPORTED:
        return "was imported: its model is not here, so it predicts no new images"
    run = settings_of(prepared, result)
    model = build_model(prepared.competition, run)
    if run.refit:
        again = f"train it with --set runs.{base_of(run.name)}.refit=false"
        return f"was fitted on every label in the end (refit), and that model is not kept; {again}"
    if any(encoder == GIVEN for encoder, _ in model.encoders_used):
        return 'reads the embeddings that were given (encoder = "given"), and new test images have none'
    if tuple(result.record.classes) != prepared.classes:
        return f"was trained on other classes, or in another order; {prepared.competition.command('train', run.name)}"
    if not model.keeps_weights:
        return _why_not_again(prepared, run)
    folders = [fold_folder(result.folder, fold) for fold in prepared.scored]
    if not all((folder / WEIGHTS_FILE).is_file() for folder in folders):
        return "has lost its weights (model.safetensors); delete its folder and train it again"
    n_images = len(prepared.labeled) + len(prepared.split("unlabeled"))
    if asks_neighbours(prepared, result, run) and n_images > MAX_TRAINING_IMAGES:
        return (
            f"asks an image's neighbours (smooth above 0) among {n_images:,} images, more than the "
            f"{MAX_TRAINING_IMAGES:,} that are carried; train it with --set runs.{base_of(run.name)}.smooth=0"
        )
    return None


def _why_not_again(prepared: Prepared, run: Run) -> str | None:
    """Tell why a model that keeps no weights cannot be fitted anew."""
    if run.pseudo is not None or run.n_copies > 1:
        return f"keeps no weights ({run.model}), and with pseudo labels, bags or seeds it is not fitted anew"
    n_images = len(prepared.labeled) + len(prepared.split("unlabeled")) * reads_unlabeled(run)
    if n_images > MAX_TRAINING_IMAGES:
        return (
            f"keeps no weights ({run.model}) and would be fitted anew on {n_images:,} images, more than the "
            f"{MAX_TRAINING_IMAGES:,} that are carried"
        )
    return None


def reads_unlabeled(run: Run) -> bool:
    """Return whether a model that is fitted anew learns from unlabelled images."""
    return run.model in ("label_spreading", "self_training")
