"""What to send, how good it is, and what cannot be told apart from it."""

from __future__ import annotations

from kit.core.names import ENSEMBLE, PROGRAM
from kit.kaggle.submission import is_of
from kit.report.board import SAME, Row, describe_expected, describe_luck
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Part, Section, Text


def build(evidence: Evidence) -> Section:
    """Return the answer first."""
    row, competition = evidence.row(evidence.headline.name), evidence.prepared.competition
    metric = competition.facts.metric
    what = "agreement with mined labels" if competition.data.labels_are_mined else f"CV {metric}"
    scores = [f"{what} {row.cv:.4f} ± {row.se:.4f}"]
    if row.interval is not None:
        scores[0] += f" (95 %: {row.interval[0]:.3f} to {row.interval[1]:.3f})"
    if row.local is not None:
        scores.append(f"local score {row.local:.4f} ± {row.local_se:.4f}")
    scores += [
        f"{kind} leaderboard {score}" for kind, score in (("public", row.public), ("private", row.private)) if score
    ]
    parts: list[Part] = [Text(f"{_name(row)}: {', '.join(scores)}.", "lead"), Text(_compare(evidence))]
    if row.cv is not None and (sentence := describe_expected(evidence.prepared, row.run, row.cv, row.expected)):
        parts.append(Text(f"{sentence[0].upper()}{sentence[1:]}."))
    parts += [Text(f"{line}.") for line in describe_luck(evidence.prepared, evidence.board)]
    parts += [Text(f"{row.run}: {remark}.", "warning") for remark in row.remarks if remark.startswith("CV")]
    parts += _file(evidence, row)
    return Section("headline", "What to send", parts)


def _name(row: Row) -> str:
    return "The ensemble" if row.run == ENSEMBLE else f"Run {row.run}"


def _compare(evidence: Evidence) -> str:
    """Say which runs a paired test cannot tell from the best."""
    runs = [row for row in evidence.board if row.cv is not None]
    best = runs[0].run
    same = [row.run for row in runs if row.verdict == SAME]
    worse = len(runs) - 1 - len(same)
    score = evidence.prepared.competition.data.score_name
    sentences = f"Best {score}: {best}. "
    if same:
        sentences += f"May be as good, by a paired test at 95 % on the same images: {', '.join(same)}. "
    others = "1 other run is" if worse == 1 else f"{worse} other runs are"
    return sentences + (f"{others} surely worse." if worse else "No run is surely worse.")


def _file(evidence: Evidence, row: Row) -> list[Part]:
    """Name the run's file, and say what may be done with it."""
    competition = evidence.prepared.competition
    written = [sent for sent in evidence.ledger if sent["run"] == row.run]
    if not written:
        return []
    exact = [sent for sent in written if is_of(evidence.prepared, evidence.headline, sent)]
    file = f"submissions/{competition.name}/{(exact or written)[-1]['file']}"
    which = f"Its file is {file}." if exact else f"The last file of this run is {file}, of earlier settings."
    if competition.facts.slug:
        return [
            Text(f"{which} To send it:"),
            Text(f'{PROGRAM} submit {competition.name} {row.run} -m "{row.run}"', "command"),
        ]
    if row.local is not None:
        return [Text(f"{which} It is a practice competition: nothing is sent, the local score is the score.")]
    return [
        Text(f'{which} With slug = "..." in competition.toml {PROGRAM} submit sends it; or upload it by hand:'),
        Text(f"kaggle competitions submit -c SLUG -f {file} -m {row.run}", "command"),
    ]
