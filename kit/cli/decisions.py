"""The command on decisions: thresholds, none of these, and how well each class is told from the rest."""

from __future__ import annotations

from kit.cli.app import LOOK, command
from kit.cli.call import DEFAULT, Comp, ResultName, holding, read, ready, say, suggest
from kit.core.names import ENSEMBLE


@command(panel=LOOK, example="decisions digits probe")
def decisions(comp: Comp = DEFAULT, run: ResultName = ENSEMBLE) -> None:
    """Show what is decided of a run's images: thresholds, none of these, ROC curve and confusions of each class."""
    from kit.core import terminal
    from kit.runs.decide.decisions import describe_decisions, render_decisions, write_decisions
    from kit.runs.train import find_trained

    prepared = ready(read(comp))
    with holding(prepared.competition):
        result = find_trained(prepared, run)
        decided = describe_decisions(prepared, result)
        picture = write_decisions(decided, result)
    document = {"competition": prepared.competition.name, "picture": str(picture)} | decided.as_dict()
    say(render_decisions(decided), document)
    terminal.note(str(picture))
    suggest(*(("submission", comp, run) if len(prepared.split("test")) else ("leaderboard", comp)))
