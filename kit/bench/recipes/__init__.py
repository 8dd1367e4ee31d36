"""Recipes: the kit's joint probe beside what an expert would write in twenty lines, on photos, paired over draws.

measure.py encodes every photo once, lays out draws of labels as competitions and keeps each draw's figures, so that a
second call goes on; evidence.py compares them, and derives from them what `kit.models.trust` holds. The figures that
the defaults follow from are committed as ``kit/bench/evidence.json``.
"""

from kit.bench.recipes.evidence import Evidence, derive_trust, read_evidence, render_recipes, summarise, write_evidence
from kit.bench.recipes.measure import Measured, bench_recipes

__all__ = [
    "Evidence",
    "Measured",
    "bench_recipes",
    "derive_trust",
    "read_evidence",
    "render_recipes",
    "summarise",
    "write_evidence",
]
