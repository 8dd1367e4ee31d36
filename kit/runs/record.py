"""The record of runs: what members of their kind cost on other data sets, beside a joint probe of the same encoders.

Reads what run.json says of their settings; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kit.features.joint import encoders_of
from kit.models.trust import JOINT, RECORD, Known, Trust, role_of
from kit.runs.store.result import Result
from kit.scoring.chances import UNKNOWN, Record


def record_of(members: Sequence[Result]) -> Record | None:
    """Return what other data sets say of runs; None where none of them is a joint probe with neighbours."""
    return record_of_kinds(kinds_of(members))


def kinds_of(members: Sequence[Result]) -> list[str | None]:
    """Return the kinds of runs of which there is a record; None for the others.

    It holds for runs whose encoders are all in the joint probe, of several the first of the most encoders. Nothing is
    known of the others: of imports, networks, rounds, further joint probes, and probes on an encoder that it lacks.
    """
    roles = [
        None if member.record.pseudo else role_of(member.record.model, member.record.options) for member in members
    ]
    joints = [member for member, role in zip(members, roles, strict=True) if role == JOINT]
    if not joints:
        return [None] * len(members)
    reference = max(joints, key=lambda member: len(encoders_of(member.record.options)))
    inside = encoders_of(reference.record.options)
    return [
        role
        if role
        and (role != JOINT or member is reference)
        and all(each in inside for each in encoders_of(member.record.options))
        else None
        for member, role in zip(members, roles, strict=True)
    ]


def record_of_kinds(kinds: Sequence[str | None], record: Mapping[str, Known] = RECORD) -> Record | None:
    """Return what a record says of members of such kinds; None where no joint probe is among them, or is known."""
    if JOINT not in kinds or JOINT not in record:
        return None
    nothing = Known(Trust(0.0, UNKNOWN), Trust(0.0, UNKNOWN), record[JOINT].share)
    known = [record.get(kind, nothing) if kind else nothing for kind in kinds]
    alike = [kinds.count(kind) if kind in record else 1 for kind in kinds]
    rows = [(each.error.excess, each.error.sd, each.loss.excess, each.loss.sd, each.share / n)
            for each, n in zip(known, alike, strict=True)]  # fmt: skip
    return Record(*np.array(rows, dtype=np.float64).T)
