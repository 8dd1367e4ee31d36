"""Recipes: what a person gets who writes nothing, beside what an expert would write, paired over draws of labels.

File by file::

    sets.py      photo sets, and one draw of labels as the competition that `new` would have planned
    ways.py      the planned runs untouched, the baselines, the joint probe at other settings
    measure.py   draw by draw, so that a second call goes on
    evidence.py  means and paired gains, and what the defaults should be by them

The figures that the defaults follow from are committed as ``kit/bench/evidence.json``.
"""

from kit.bench.recipes.evidence import (
    Evidence,
    derive_default,
    derive_trust,
    derive_whole_gain,
    read_evidence,
    render_recipes,
    summarise,
    write_evidence,
)
from kit.bench.recipes.measure import Measured, bench_recipes, read_planned

__all__ = [
    "Evidence",
    "Measured",
    "bench_recipes",
    "derive_default",
    "derive_trust",
    "derive_whole_gain",
    "read_evidence",
    "read_planned",
    "render_recipes",
    "summarise",
    "write_evidence",
]
