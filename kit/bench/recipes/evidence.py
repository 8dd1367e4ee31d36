"""What was measured as evidence: means over draws, paired gains, and the defaults and the trust that follow.

Reads and writes ``kit/bench/evidence.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from kit.bench.explain import mean_and_error
from kit.bench.recipes.measure import Measured
from kit.bench.recipes.ways import BASELINE, JOINT, MIDDLE, TRIED, WHOLE
from kit.core.files import read_json, write_json
from kit.core.terminal import empty_table
from kit.models.trust import Trust

FILE = Path(__file__).parents[1] / "evidence.json"
SMOOTH = "smooth"
DIGITS = 3  # to which trust is rounded
CLEARLY = 2.0  # standard errors by which another value must be better to become the default


@dataclass(frozen=True)
class Evidence:
    """Hold one way on one set.

    Parameters
    ----------
    accuracy
        Mean over draws.
    against
        The way it is compared with.
    gain, gain_se
        Accuracy over that on the same draws, and its standard error over draws.
    log_loss
        Mean over draws, in nats, each at its best temperature.
    draws
        How many.
    """

    setting: str
    way: str
    accuracy: float
    against: str
    gain: float
    gain_se: float
    log_loss: float
    draws: int


def summarise(measured: Sequence[Measured]) -> list[Evidence]:
    """Return every way on every set, compared on the same draws.

    Settings of the joint probe are compared with it as it is planned, all else with the best encoder's logistic
    regression.
    """
    of: dict[tuple[str, str], dict[int, Measured]] = {}
    for each in measured:
        of.setdefault((each.setting, each.way), {})[each.draw] = each
    lines = []
    for (setting, way), by_draw in of.items():
        against = JOINT if _setting_of(way) in TRIED or way in (WHOLE, MIDDLE) else BASELINE
        base = of[setting, against]
        accuracy = np.array([each.accuracy for each in by_draw.values()])
        gains = accuracy - np.array([base[draw].accuracy for draw in by_draw])
        gain, error = mean_and_error(gains) if len(gains) > 1 else (float(gains[0]), 0.0)
        loss = float(np.mean([each.log_loss for each in by_draw.values()]))
        mean, gain, error, loss = (round(value, 4) for value in (float(accuracy.mean()), gain, error, loss))
        lines.append(Evidence(setting, way, mean, against, gain, error, loss, draws=len(by_draw)))
    return lines


def derive_default(evidence: Iterable[Evidence], setting: str, planned: float) -> float:
    """Return the value that a setting of the joint probe should have.

    It is the planned one, unless the value of the best accuracy in the mean over sets is better than it by more than
    two standard errors of that mean.
    """
    gains = {
        value: np.array([(each.gain, each.gain_se) for each in lines])
        for value, lines in _by_value((each for each in evidence if each.against == JOINT), setting).items()
    }
    best = max(gains, key=lambda value: gains[value][:, 0].mean())
    gain, errors = gains[best][:, 0].mean(), gains[best][:, 1]
    return best if gain > CLEARLY * np.sqrt((errors**2).sum()) / len(errors) else planned


def derive_trust(evidence: Iterable[Evidence], trusted: float) -> dict[float, Trust]:
    """Return what each share of neighbours costs beside the trusted one, which comes first.

    What another costs is the mean, over sets, of the difference of their log-losses, at least 0, and its standard
    deviation over sets: how far one more set may differ. That is taken as no less than half of the mean, for the sets
    are few and partly the same images.
    """
    losses = {
        value: np.array([each.log_loss for each in lines]) for value, lines in _by_value(evidence, SMOOTH).items()
    }
    trust = {trusted: Trust(0, 0)}
    for value in sorted(losses, key=lambda value: losses[value].mean()):
        excess = losses[value] - losses[trusted]
        if value != trusted:
            cost = max(float(excess.mean()), 0.0)
            trust[value] = Trust(round(cost, DIGITS), round(max(float(excess.std(ddof=1)), cost / 2), DIGITS))
    return trust


def derive_whole_gain(evidence: Sequence[Evidence]) -> tuple[float, float]:
    """Return what the whole image gains over its middle, and how far a set may differ from that.

    These are the mean over sets of the difference in accuracy, and its standard deviation over sets.
    """
    of = {way: {each.setting: each.accuracy for each in evidence if each.way == way} for way in (WHOLE, MIDDLE)}
    gains = np.array([of[WHOLE][setting] - middle for setting, middle in of[MIDDLE].items()])
    return round(float(gains.mean()), DIGITS), round(float(gains.std(ddof=1)), DIGITS)


def _by_value(evidence: Iterable[Evidence], setting: str) -> dict[float, list[Evidence]]:
    """Return the evidence of each value of a setting, one line per set."""
    of: dict[float, list[Evidence]] = {}
    for each in evidence:
        if _setting_of(each.way) == setting:
            of.setdefault(float(each.way.partition(" = ")[2]), []).append(each)
    return of


def _setting_of(way: str) -> str:
    """Return the setting of the joint probe that a way tries, or the way's name."""
    return way.partition(" = ")[0]


def read_evidence(file: Path = FILE) -> list[Evidence]:
    """Return the committed evidence."""
    return [Evidence(**each) for each in read_json(file)]


def write_evidence(evidence: Sequence[Evidence], file: Path = FILE) -> None:
    """Commit evidence: what models and plans hold must follow from it, which a test checks.

    What the file has of other settings stays.
    """
    measured = {each.setting for each in evidence}
    others = [each for each in read_evidence(file) if each.setting not in measured] if file.exists() else []
    write_json(file, [asdict(each) for each in [*evidence, *others]])


def render_recipes(evidence: Sequence[Evidence]) -> Table:
    """Return the comparison as a table, one block per set."""
    table = empty_table()
    for column in ("set, labels per class", "way", "accuracy", "gain", "over", "log-loss", "draws"):
        table.add_column(column, justify="left" if column in ("set, labels per class", "way", "over") else "right")
    last = None
    for line in evidence:
        if last is not None and last != line.setting:
            table.add_section()
        table.add_row(
            "" if last == line.setting else line.setting,
            line.way,
            f"{line.accuracy:.3f}",
            f"{line.gain:+.3f} ± {line.gain_se:.3f}",
            line.against,
            f"{line.log_loss:.3f}",
            str(line.draws),
        )
        last = line.setting
    return table
