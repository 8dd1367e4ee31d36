"""The command that looks at what fine-tuning moved: correlation."""

from __future__ import annotations

from typing import Annotated

import typer

from kit.cli.call import Comp, app, holding, read, ready, say, suggest


@app.command()
def correlation(
    comp: Comp,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A trained run of clip_finetune or fine_tune.")],
) -> None:
    """Measure how far apart the classes lie before and after fine-tuning; write data and a picture."""
    from kit.correlation import check_trains, correlate, write_correlation
    from kit.pipeline import find_trained

    competition = read(comp)
    check_trains(competition, run)
    prepared = ready(competition)
    with holding(prepared.competition):
        result = find_trained(prepared, run, comp)
        found = correlate(prepared, result)
        path = write_correlation(found, result)
    alphas = ", ".join(f"{alpha:g}" for alpha in found.alphas.values())
    lines = [f"pairs that moved most (weight of the fine-tuned network per fold: {alphas})"]
    for pair in found.moved():
        first, second = pair["classes"]
        change = pair["after"] - pair["before"]
        lines.append(f"{first} - {second}: {pair['before']:.3f} -> {pair['after']:.3f} ({change:+.3f})")
    say("\n".join([*lines, str(path)]), found.as_dict() | {"run": run, "picture": str(path)})
    suggest("report", comp)
