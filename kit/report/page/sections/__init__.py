"""Sections of the report, one file each. ADD A SECTION: write ``NAME.py`` beside this file, and NAME in `ORDER`.

The file holds one public function, ``build(evidence: Evidence) -> Section | None``: it makes the section of the parts
in `kit.report.page.parts`, and returns None where its data does not exist. What it needs is in `Evidence`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Section

ORDER = """
headline
board
data
examples
explanations
suspicious
runs
curves
ensemble
decisions
rounds
settings
prompts
correlation
clusters
times
failures
""".split()

Build = Callable[[Evidence], Section | None]
SECTIONS: tuple[Build, ...] = tuple(import_module(f"{__name__}.{name}").build for name in ORDER)  # in the page's order
