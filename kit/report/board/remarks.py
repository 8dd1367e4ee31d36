"""Remarks: what must be known of a CV before it is believed, of a run itself and of all that it was made from."""

from __future__ import annotations

from collections.abc import Iterator

from kit.core.errors import some
from kit.data.prepared import Prepared
from kit.runs.pseudo.rounds import describe_end
from kit.runs.seen import is_setting_spoiled
from kit.runs.store import Result, list_imported, result_at


def sources_of(prepared: Prepared, result: Result) -> list[Result]:
    """Return a run's teachers and members; how an import was made is not known.

    Raises
    ------
    InputError
        When a teacher or member is not there any more.
    """
    sources = result.record.sources
    imported = list_imported(prepared) if sources else ()
    return [result_at(prepared, name, key) for name, key in sources.items() if name not in imported]


def optimistic_lists(prepared: Prepared, result: Result) -> set[str]:
    """Return the prompt lists, of a run or its teachers or members, that were written after a score was seen."""
    return {name for own in _made_from(prepared, result) for name in own.record.optimistic}


def remarks_on(prepared: Prepared, result: Result, cv_only: str | None) -> tuple[str, ...]:
    """Return what must be known of a run's CV before it is believed, and why it lacks other numbers.

    Parameters
    ----------
    prepared
        The competition made ready.
    result
        A finished run.
    cv_only
        Why there is no local score; None where there is one, or no solution.
    """
    said = _optimism(prepared, result)
    if refitted := _refitted(prepared, result):
        of = "" if refitted == [result.name] else f" for {some(refitted)}"
        said.append(f"CV not measured: sent is one model refitted on everything{of}, the CV is the folds' models'")
    if left_out := result.record.left_out:
        said.append(f"CV leaves out {some(left_out)}: no scored image, or every one, is of the class")
    if not prepared.pool.is_multilabel and prepared.competition.decision.none_of_these is not None:
        said.append("CV gives every image a class; the submission also turns away what looks like none of these")
    if cv_only:
        said.append(f"no local score: {cv_only}")
    if result.record.pseudo and (end := describe_end(prepared, result.base)):
        said.append(end)
    return tuple(said)


def _optimism(prepared: Prepared, result: Result) -> list[str]:
    """Say by which looks at the scored labels the CV is better than what new images will score."""
    made_from = list(_made_from(prepared, result))
    lists = sorted(optimistic_lists(prepared, result))
    said = [f"CV optimistic: the words of prompt list {name} were written after a score was seen" for name in lists]
    exclusions = [own.record.exclude for own in made_from if own.record.exclude]
    for file, n_images in sorted({(own["file"], own["n_images"]) for own in exclusions if own["n_images"]}):
        said.append(
            f"CV optimistic: {n_images} images are left out of training by {file}; where oof told which, as triage "
            "does, the labels that are scored had a say"
        )
    if searched := sorted({own.name for own in made_from if is_setting_spoiled(prepared, own)}):
        said.append(f"CV optimistic: the settings of {some(searched)} were searched by tune on these folds")
    return said


def _refitted(prepared: Prepared, result: Result) -> list[str]:
    """Return the runs of which a model of every label is sent: the run itself, or the members of an ensemble."""
    if result.record.refit:
        return [result.name]
    members = result.record.members
    return [own.name for own in sources_of(prepared, result) if own.name in members and own.record.refit]


def _made_from(prepared: Prepared, result: Result) -> Iterator[Result]:
    """Give a run, then its teachers and members, and theirs."""
    yield result
    for source in sources_of(prepared, result):
        yield from _made_from(prepared, source)
