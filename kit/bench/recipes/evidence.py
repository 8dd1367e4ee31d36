"""What was measured as evidence: means over draws, paired gains, and the trust that follows from them.

Reads and writes ``kit/bench/evidence.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from kit.bench.explain import mean_and_error
from kit.bench.recipes.measure import BASELINE, Measured
from kit.core.files import read_json, write_json
from kit.core.terminal import empty_table
from kit.models.trust import Trust

FILE = Path(__file__).parents[1] / "evidence.json"
PREFIX = "smooth = "
DIGITS = 3  # to which trust is rounded


@dataclass(frozen=True)
class Evidence:
    """Hold one way on one set.

    Parameters
    ----------
    accuracy
        Mean over draws.
    gain, gain_se
        Accuracy over `BASELINE` on the same draws, and its standard error over draws.
    log_loss
        Mean over draws, in nats, each at its best temperature.
    draws
        How many.
    """

    setting: str
    way: str
    accuracy: float
    gain: float
    gain_se: float
    log_loss: float
    draws: int


def summarise(measured: Sequence[Measured]) -> list[Evidence]:
    """Return every way on every set, compared with the best encoder's logistic regression on the same draws."""
    of: dict[tuple[str, str], dict[int, Measured]] = {}
    for each in measured:
        of.setdefault((each.setting, each.way), {})[each.draw] = each
    lines = []
    for (setting, way), by_draw in of.items():
        base = of[setting, BASELINE]
        accuracy = np.array([each.accuracy for each in by_draw.values()])
        gain, error = mean_and_error(accuracy - np.array([base[draw].accuracy for draw in by_draw]))
        loss = float(np.mean([each.log_loss for each in by_draw.values()]))
        figures = [round(float(value), 4) for value in (accuracy.mean(), gain, error, loss)]
        lines.append(Evidence(setting, way, *figures, draws=len(by_draw)))
    return lines


def derive_trust(evidence: Sequence[Evidence]) -> dict[float, Trust]:
    """Return what each share of neighbours costs beside the trusted one, which comes first.

    Trusted is the value of the best accuracy in the mean over sets. What another costs is the mean, over sets, of the
    difference of their log-losses, at least 0, and its standard deviation over sets: how far one more set may differ.
    That is taken as no less than the mean, for the sets are few and partly the same photos.
    """
    of: dict[float, list[Evidence]] = {}
    for each in evidence:
        if each.way.startswith(PREFIX):
            of.setdefault(float(each.way.removeprefix(PREFIX)), []).append(each)
    losses = {value: np.array([each.log_loss for each in lines]) for value, lines in of.items()}
    trusted = max(of, key=lambda value: np.mean([each.accuracy for each in of[value]]))
    trust = {trusted: Trust(0, 0)}
    for value in sorted(losses, key=lambda value: losses[value].mean()):
        excess = losses[value] - losses[trusted]
        if value != trusted:
            cost = max(float(excess.mean()), 0.0)
            trust[value] = Trust(round(cost, DIGITS), round(max(float(excess.std(ddof=1)), cost), DIGITS))
    return trust


def read_evidence(file: Path = FILE) -> list[Evidence]:
    """Return the committed evidence."""
    return [Evidence(**each) for each in read_json(file)]


def write_evidence(evidence: Sequence[Evidence], file: Path = FILE) -> None:
    """Commit evidence: what `kit.models.trust` holds must follow from it, which a test checks."""
    write_json(file, [asdict(each) for each in evidence])


def render_recipes(evidence: Sequence[Evidence]) -> Table:
    """Return the comparison as a table, one block per set."""
    table = empty_table()
    for column in ("set, labels per class", "way", "accuracy", "against the first", "log-loss"):
        table.add_column(column, justify="left" if column in ("set, labels per class", "way") else "right")
    last = None
    for line in evidence:
        if last is not None and last != line.setting:
            table.add_section()
        table.add_row(
            "" if last == line.setting else line.setting,
            line.way,
            f"{line.accuracy:.3f}",
            f"{line.gain:+.3f} ± {line.gain_se:.3f}",
            f"{line.log_loss:.3f}",
        )
        last = line.setting
    return table
