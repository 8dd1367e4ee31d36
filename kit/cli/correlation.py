"""The command that looks at classes side by side: correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import LOOK, command
from kit.cli.call import Comp, complete_result, holding, read, ready, say, suggest
from kit.core.names import MULTILABEL

if TYPE_CHECKING:
    from kit.config.competition import Competition


@command(panel=LOOK, example="correlation digits wise_ft")
def correlation(
    comp: Comp,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run of clip_finetune or fine_tune; of several labels, any.",
            autocompletion=complete_result,
        ),
    ],
) -> None:
    """Measure how far apart classes lie before and after fine-tuning; of several labels, which go together."""
    from kit.report.correlation import check_trains, correlate, write_correlation
    from kit.runs.train import find_trained

    competition = read(comp)
    if competition.facts.task == MULTILABEL:
        _correlate_labels(competition, comp, run)
        return
    check_trains(competition, run)
    prepared = ready(competition)
    with holding(prepared.competition):
        result = find_trained(prepared, run)
        moves = correlate(prepared, result)
        path = write_correlation(moves, result)
    alphas = ", ".join(f"{alpha:g}" for alpha in moves.alphas.values())
    lines = [f"pairs that moved most (weight of the fine-tuned network per fold: {alphas})"]
    for pair in moves.moved():
        first, second = pair["classes"]
        change = pair["after"] - pair["before"]
        lines.append(f"{first} - {second}: {pair['before']:.3f} -> {pair['after']:.3f} ({change:+.3f})")
    say("\n".join([*lines, str(path)]), moves.as_dict() | {"run": run, "picture": str(path)})
    suggest("report", comp)


def _correlate_labels(competition: Competition, comp: str, run: str) -> None:
    """Say which labels a run takes for each other, or misses and says together."""
    from kit.report.correlation.labels import correlate_labels, write_label_correlation
    from kit.runs.train import find_trained

    prepared = ready(competition)
    with holding(prepared.competition):
        result = find_trained(prepared, run)
        together = correlate_labels(prepared, result)
        path = write_label_correlation(together, result)
    pairs = together.pairs()
    lines = ["correlation of a pair's errors (below 0: one is taken for the other), of its labels and probabilities"]
    for pair in pairs:
        errors = f"{pair['errors']:+.2f} ± {pair['errors_se']:.2f}"
        lines.append(f"{' - '.join(pair['classes'])}: {errors}; {pair['labels']:+.2f}, {pair['proba']:+.2f}")
    lines += [] if pairs else ["no pair's errors are surely correlated"]
    say("\n".join([*lines, str(path)]), together.as_dict() | {"run": run, "picture": str(path)})
    suggest("decisions", comp, run)
