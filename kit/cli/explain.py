"""The command that shows why a model decided: explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import LOOK, command
from kit.cli.call import Comp, complete_run, holding, read, ready, say, suggest
from kit.core.errors import InputError, nearest

if TYPE_CHECKING:
    from kit.data.prepared import Prepared


@command("explain", panel=LOOK, example="explain digits probe --n 4")
def explain_(
    comp: Comp,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A trained run.", autocompletion=complete_run)],
    ids: Annotated[
        list[str] | None, typer.Option(help="Images, A,B; the most confident mistakes and a few right ones.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="lime, gradcam or gradients; what suits the model.")] = None,
    words: Annotated[
        list[str] | None, typer.Option(help='Words in place of a class, for CLIP: --words "wine glass".')
    ] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="A class in place of the predicted one.")] = None,
    samples: Annotated[int, typer.Option(min=10, help="Pictures that LIME asks about.")] = 200,
    n: Annotated[int, typer.Option("--n", min=1, max=100, help="Mistakes to explain.")] = 8,
) -> None:
    """Show what in an image speaks for and against a class, or any words, as a contact sheet."""
    from kit.core import terminal
    from kit.report.explain import METHODS, Question, explain
    from kit.report.explain.choice import choose_cases, find_cases
    from kit.report.explain.subject import check_explainable
    from kit.report.explain.writing import describe_maps, write_explained
    from kit.runs.train import find_trained

    for name in method or ():
        if name not in METHODS:
            raise InputError(f"--method {name!r}: no such method; {nearest(name, METHODS)}")
    if words and class_name:
        raise InputError("--words and --class both say what to explain: give one of them")
    competition = read(comp)
    check_explainable(competition, run, method or (), words or ())
    prepared = ready(competition)
    with holding(competition):
        result = find_trained(prepared, run)
        ids = _split(prepared, ids or [])
        cases = find_cases(prepared, ids) if ids else choose_cases(prepared, result, n)
        seed = competition.run(run).seed
        question = Question(tuple(method) if method else None, tuple(words or ()), class_name, samples, seed)
        explained, seconds = explain(prepared, result, cases, question)
        asked = {"ids": ids, "method": method, "words": words, "class": class_name}
        path = write_explained(prepared, result.name, explained, asked, {"n_samples": samples, "seed": seed})
    document = {
        "run": result.name,
        "sheet": str(path),
        "maps": describe_maps(explained),
        "seconds_per_image": round(seconds, 2),
    }
    terminal.stage("explain", f"{terminal.count(len(explained), 'image')}, {seconds:.1f} seconds per image")
    say(str(path), document)
    suggest("report", comp)


def _split(prepared: Prepared, ids: list[str]) -> list[str]:
    """Return single ids of what the user wrote, each once; an id may itself hold a comma."""
    known = set(prepared.pool.ids)
    parts = [part for text in ids for part in ([text] if text in known else text.split(","))]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
