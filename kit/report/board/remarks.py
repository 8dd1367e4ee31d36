"""Remarks: what must be known of a CV before it is believed, of a run itself and of all that it was made from."""

from __future__ import annotations

from collections.abc import Iterator

from kit.core.errors import some
from kit.data.prepared import Prepared
from kit.runs.noise import describe_noise
from kit.runs.pseudo.rounds import describe_end
from kit.runs.seen import are_encoders_chosen, is_setting_spoiled
from kit.runs.store import Result, list_imported, result_at
from kit.runs.store.find import find_usable
from kit.runs.store.imported import read_import
from kit.runs.store.score import oof_rows
from kit.scoring.metrics import hits

CHANCE = 0.01  # below which being right on every image is not put down to a good model


def sources_of(prepared: Prepared, result: Result) -> list[Result]:
    """Return a run's teachers and members; InputError where one is not there any more.

    An import has none: how it was made is not known.
    """
    sources = result.record.sources
    imported = list_imported(prepared) if sources else ()
    return [result_at(prepared, name, key) for name, key in sources.items() if name not in imported]


def optimistic_lists(prepared: Prepared, result: Result) -> set[str]:
    """Return the prompt lists, of a run or its teachers or members, that were written after a score was seen."""
    return {name for source in _made_from(prepared, result) for name in source.record.optimistic}


def remarks_on(prepared: Prepared, result: Result, cv_only: str | None) -> tuple[str, ...]:
    """Return what must be known of a run's CV before it is believed, and why it lacks other numbers.

    `cv_only` is why there is no local score; None where there is one, or no solution.
    """
    remarks = _optimism(prepared, result)
    if refitted := _refitted(prepared, result):
        of = "" if refitted == [result.name] else f" for {some(refitted)}"
        remarks.append(f"CV not measured: sent is one model refitted on everything{of}, the CV is the folds' models'")
    if left_out := result.record.left_out:
        remarks.append(f"CV leaves out {some(left_out)}: no scored image, or every one, is of the class")
    if not prepared.pool.is_multilabel and prepared.competition.decision.none_of_these is not None:
        remarks.append("CV gives every image a class; the submission also turns away what looks like none of these")
    if others := _of_other_folds(prepared, result):
        remarks.append(f"CV leans upwards in a blend: {some(others)} was made on other folds")
    remarks += _of_imports(prepared, result)
    if cv_only:
        remarks.append(f"no local score: {cv_only}")
    if end := describe_end(result):
        remarks.append(end)
    return tuple(remarks)


def _of_imports(prepared: Prepared, result: Result) -> list[str]:
    """Say of imports, the run itself or members of an ensemble, what makes them doubtful: what nobody can verify."""
    remarks, n_images = [], len(prepared.scored_rows)
    for name in sorted({result.name, *result.record.members} & set(list_imported(prepared))):
        found = read_import(prepared, name)
        if found is None:
            continue
        if n_other := found.record.n_other_labels:
            remarks.append(
                f"CV doubtful: the file of {name} labels {n_other} of {n_images} images otherwise than we do"
            )
        labels, proba = oof_rows(prepared, found.predictions("oof"))
        if hits(labels, proba).all() and (own := _fewest_errors(prepared)) and _are_many(own[1], n_images):
            cause = f"{own[0]}, the best of our own runs, errs on {own[1]}; only who made it knows what its models saw"
            remarks.append(f"CV doubtful: {name} is right on each of the {n_images} images; {cause}")
    return remarks


def _fewest_errors(prepared: Prepared) -> tuple[str, int] | None:
    """Return which of our own finished runs is wrong on the fewest scored images, and on how many; None without one."""
    own = (find_usable(prepared, name) for name in prepared.competition.runs)
    missed = {run.name: int((hits(*oof_rows(prepared, run.predictions("oof"))) == 0).sum()) for run in own if run}
    return min(missed.items(), key=lambda each: each[1]) if missed else None


def _are_many(n_errors: int, n_images: int) -> bool:
    """Return whether a model of half as many errors would hardly be right on all of as many other images."""
    return (1 - n_errors / (2 * n_images)) ** n_images < CHANCE


def _optimism(prepared: Prepared, result: Result) -> list[str]:
    """Say by which looks at the scored labels the CV is better than what new images will score."""
    made_from = list(_made_from(prepared, result))
    lists = sorted(optimistic_lists(prepared, result))
    remarks = [f"CV optimistic: the words of prompt list {name} were written after a score was seen" for name in lists]
    exclusions = [source.record.exclude for source in made_from if source.record.exclude]
    for file, n_images in sorted({(plan["file"], plan["n_images"]) for plan in exclusions if plan["n_images"]}):
        remarks.append(
            f"CV optimistic: {n_images} images are left out of training by {file}; where oof told which, as triage "
            "does, the labels that are scored had a say"
        )
    if searched := sorted({source.name for source in made_from if is_setting_spoiled(prepared, source)}):
        remarks.append(f"CV optimistic: the settings of {some(searched)} were searched by tune on these folds")
    home = prepared.competition.workspace.runs(prepared.competition.name)
    if any(are_encoders_chosen(home, source) for source in made_from):  # alike for all such runs: told in one line
        remarks.append(
            "CV optimistic, if only a little: when the runs were planned, the labels that are scored had a say in the "
            "encoders, or in what these see of an image"
        )
    if measured := describe_noise(prepared, result):
        remarks.append(measured)
    return remarks


def _of_other_folds(prepared: Prepared, result: Result) -> list[str]:
    """Return the imports that were made on other folds than ours: the run itself, or members of an ensemble."""
    members = {result.name, *result.record.members} & set(list_imported(prepared))
    return sorted(name for name in members if (found := read_import(prepared, name)) and found.record.folds == "other")


def _refitted(prepared: Prepared, result: Result) -> list[str]:
    """Return the runs of which a model of every label is sent: the run itself, or the members of an ensemble."""
    if result.record.refit:
        return [result.name]
    members = result.record.members
    return [source.name for source in sources_of(prepared, result) if source.name in members and source.record.refit]


def _made_from(prepared: Prepared, result: Result) -> Iterator[Result]:
    """Give a run, then its teachers and members, and theirs."""
    yield result
    for source in sources_of(prepared, result):
        yield from _made_from(prepared, source)
