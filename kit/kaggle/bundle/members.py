"""Which runs go into a bundle, how they are mixed, and which cannot go and why.

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
from kit.runs.fit.fold import WEIGHTS
from kit.runs.fit.restore import read_settled
from kit.runs.store import IMPORTED, Result, fold_folder, settings_of
from kit.runs.store.build import build_model

MAX_TRAINING_IMAGES = 50_000  # whose features are carried for graphs and for models that are fitted anew


@dataclass(frozen=True)
class BundledRun:
    """Hold a run that goes into the bundle.

    Parameters
    ----------
    result
        The finished run.
    run
        Its settings; of rounds, the kept one's.
    weight, temperature
        In the mixture.
    """

    result: Result
    run: Run
    weight: float = 1.0
    temperature: float = 1.0


def choose_members(prepared: Prepared, results: list[Result], drop: bool) -> tuple[list[BundledRun], Result | None]:
    """Return the runs that go, with their shares, and the run or ensemble whose decisions go with them.

    Decisions are thresholds with several labels per image, and which images show none of the classes. They hang on the
    mixture: where runs are dropped, the ensemble of the others is made anew.

    Parameters
    ----------
    prepared
        The competition made ready.
    results
        One finished run, or the members of an ensemble; members without any weight stay at home.
    drop
        Leave out what cannot go, and share its weight among the others.

    Returns
    -------
    tuple
        The runs; and whose decisions go, None where an image gets its most probable class and there is none to make.

    Raises
    ------
    InputError
        When a run cannot go, and is not to be dropped; names all of them, with the remedy.
    """
    whole = ensemble(prepared, results) if len(results) > 1 else results[0]
    alone = dict.fromkeys((own.name for own in results), 1.0)
    weights, temperatures = whole.record.weights or alone, whole.record.temperatures or alone
    needed = [own for own in results if weights[own.name] > 0]
    reasons = {own.name: reason for own in needed if (reason := _why_not(prepared, own))}
    if reasons and (not drop or len(reasons) == len(needed)):
        raise InputError(f"bundle: {_list_reasons(reasons, len(needed))}")
    going = [own for own in needed if own.name not in reasons]
    total, decides = sum(weights[own.name] for own in going), decides_more(prepared)
    if idle := [own.name for own in results if own not in needed]:
        note(f"without weight in the ensemble, so not in the bundle: {', '.join(idle)}")
    if reasons:
        goes = "the others are weighed anew" if decides else f"their weight, {1 - total:.2f}, goes to the others"
        warn(f"left out of the bundle: {', '.join(reasons)}; {goes}")
    if reasons and decides:
        return choose_members(prepared, going, drop=False)
    shares = [(weights[own.name] / total, temperatures[own.name]) for own in going]
    chosen = [BundledRun(own, settings_of(prepared, own), *share) for own, share in zip(going, shares, strict=True)]
    return chosen, whole if decides else None


def _list_reasons(reasons: dict[str, str], n_needed: int) -> str:
    """Say which runs cannot go and why, and that they can be left out where others stay."""
    named = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
    rest = "" if len(reasons) == n_needed else ". Or leave them out: --drop shares their weights among the rest"
    return f"{named}{rest}"


def decides_more(prepared: Prepared) -> bool:
    """Return whether more is decided of an image than which class is the most probable one."""
    return prepared.pool.is_multilabel or prepared.competition.decision.none_of_these is not None


def is_kept(prepared: Prepared, run: Run) -> bool:
    """Return whether a run's models are kept as weights; else they are fitted anew."""
    return build_model(prepared.competition, run).keeps_weights


def asks_neighbours(prepared: Prepared, result: Result, run: Run) -> bool:
    """Return whether a fold's model settled on asking the neighbours of an image, which needs the graph anew."""
    if not build_model(prepared.competition, run).is_swept:
        return False
    settled = [read_settled(result.folder, fold) for fold in prepared.scored]
    return any(isinstance(value, dict) and value.get("smooth") for value in settled)


def _why_not(prepared: Prepared, result: Result) -> str | None:
    """Say why a run cannot predict new test images elsewhere, and what helps; None where it can."""
    if result.folder.name == IMPORTED:
        return "was imported: its model is not here"
    run = settings_of(prepared, result)
    model = build_model(prepared.competition, run)
    if run.refit:
        again = f"train it with --set runs.{base_of(run.name)}.refit=false"
        return f"was fitted on every label in the end (refit), and that model is not kept; {again}"
    if model.encoder_used[0] == GIVEN:
        return 'reads the embeddings that were given (encoder = "given"), and new test images have none'
    if tuple(result.record.classes) != prepared.classes:
        return f"was trained on other classes, or in another order; {prepared.competition.command('train', run.name)}"
    if not model.keeps_weights:
        return _why_not_again(prepared, run)
    folders = [fold_folder(result.folder, fold) for fold in prepared.scored]
    if not all((folder / WEIGHTS).is_file() for folder in folders):
        return "has lost its weights (model.safetensors); delete its folder and train it again"
    n_images = len(prepared.labeled) + len(prepared.split("unlabeled"))
    if asks_neighbours(prepared, result, run) and n_images > MAX_TRAINING_IMAGES:
        return (
            f"asks an image's neighbours (smooth above 0) among {n_images:,} images, more than the "
            f"{MAX_TRAINING_IMAGES:,} that are carried; train it with --set runs.{base_of(run.name)}.smooth=0"
        )
    return None


def _why_not_again(prepared: Prepared, run: Run) -> str | None:
    """Say why a model that keeps no weights cannot be fitted anew."""
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
