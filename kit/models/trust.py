"""Settings that earned trust: what was shown to help on many data sets, and how much a competition may say against it.

The numbers follow from ``kit/bench/evidence.json`` by `kit.bench.recipes.derive_trust`; a test holds that they do, and
``./run.sh bench recipes`` measures them again. Nothing is read or written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEAST_ERROR = 1e-9  # of a difference of log-losses: two settings that predict alike


@dataclass(frozen=True)
class Trust:
    """Say what a value of a setting costs beside the trusted one, before a competition's rows are looked at.

    Parameters
    ----------
    excess
        Expected log-loss per image above that of the trusted value, each at its best temperature; nats.
    sd
        Standard deviation of that over data sets: how far a competition may differ.
    """

    excess: float
    sd: float


TRUSTED: dict[str, dict[Any, Trust]] = {
    "smooth": {0.8: Trust(0, 0), 0.5: Trust(0.017, 0.04), 0.9: Trust(0.042, 0.056), 0.0: Trust(0.179, 0.133)},
}
"""Of each setting the trusted value first."""


def trusted(name: str) -> Any:
    """Return the trusted value of a setting."""
    return next(iter(TRUSTED[name]))


def trusted_part(setting: Any) -> dict[str, Any]:
    """Return the part of a swept setting that there is evidence of; empty where the setting is no table."""
    if not isinstance(setting, dict):
        return {}
    return {name: setting[name] for name, values in TRUSTED.items() if setting.get(name) in values}


def expected_excess(trusted: dict[str, Any]) -> float:
    """Return what a setting costs beside the trusted one by the evidence alone; `trusted` as of `trusted_part`."""
    return sum(TRUSTED[name][value].excess for name, value in trusted.items())


def weigh_evidence(trusted: dict[str, Any], excess: float, error: float) -> float:
    """Return what a setting costs beside the trusted one, by the evidence and by a competition's rows together.

    Two normal distributions are multiplied: few rows, whose error is large, move the evidence little, many rows far.

    Parameters
    ----------
    trusted
        What `trusted_part` gives of the setting.
    excess, error
        Measured on the rows: the mean difference of their log-losses to the trusted setting, and its standard error.
    """
    variance = sum(TRUSTED[name][value].sd ** 2 for name, value in trusted.items())
    if variance == 0:
        return expected_excess(trusted) if trusted else excess
    of_evidence, of_rows = 1 / variance, 1 / max(error, LEAST_ERROR) ** 2
    return (of_evidence * expected_excess(trusted) + of_rows * excess) / (of_evidence + of_rows)


JOINT, JOINED, NEIGHBOURS, PLAIN = "joint", "joined", "neighbours", "plain"
"""Kinds of runs of which there is evidence: see `role_of`."""


@dataclass(frozen=True)
class Known:
    """Say what other data sets showed of the runs of a kind.

    Parameters
    ----------
    error, loss
        What one costs beside a joint probe of the same encoders: in errors, 0..1, and in log-loss, nats.
    share
        Weight, 0..1, that all runs of the kind have together in the best mixture of all.
    """

    error: Trust
    loss: Trust
    share: float


RECORD: dict[str, Known] = {
    JOINT: Known(Trust(0, 0), Trust(0, 0), 0.701),
    JOINED: Known(Trust(0.054, 0.044), Trust(0.145, 0.149), 0.062),
    PLAIN: Known(Trust(0.077, 0.052), Trust(0.21, 0.171), 0.022),
    NEIGHBOURS: Known(Trust(0.022, 0.011), Trust(0.062, 0.031), 0.215),
}
"""It follows from ``kit/bench/members.json`` by `kit.bench.members.derive_record`; a test holds that it does, and
``./run.sh bench members`` measures it again.
"""


def role_of(model: str, options: dict[str, Any]) -> str | None:
    """Return the kind of a run, by its settings: a probe on several encoders or on one, with neighbours or without.

    A probe with neighbours on several encoders is a `JOINT` one. None for other models, of which there is no evidence.
    """
    n_encoders = bool(options.get("encoder")) + len(options.get("encoders") or [])
    if model != "linear_probe" or not n_encoders:
        return None
    if options.get("smooth"):
        return JOINT if n_encoders > 1 else NEIGHBOURS
    return JOINED if n_encoders > 1 else PLAIN
