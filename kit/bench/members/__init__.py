"""Members: ensembles of unequal members, and rounds of pseudo labels beside their base, on photos and digits.

measure.py fits the members draw by draw and keeps what they predict, so that a second call goes on and another way of
mixing is measured in seconds; compare.py compares ways of mixing, rounds.py rounds with their base, and both derive
what `kit.models.trust` and `kit.runs.store.rounds` hold. The figures that those follow from are committed as
``kit/bench/members.json``.
"""

from kit.bench.members.compare import (
    OfKind,
    Standing,
    compare_planned,
    compare_rules,
    derive_record,
    describe_kinds,
    read_members,
    render_members,
    render_mixing,
    write_members,
)
from kit.bench.members.measure import bench_members
from kit.bench.members.rounds import OfRounds, derive_expected, describe_rounds

__all__ = [
    "OfKind",
    "OfRounds",
    "Standing",
    "bench_members",
    "compare_planned",
    "compare_rules",
    "derive_expected",
    "derive_record",
    "describe_kinds",
    "describe_rounds",
    "read_members",
    "render_members",
    "render_mixing",
    "write_members",
]
