"""Sections of the report, one file each: ADD A SECTION with a file and a line in `SECTIONS`.

``build(evidence)`` returns a `Section`, or None where its data does not exist.
"""

from __future__ import annotations

from collections.abc import Callable

from kit.report.page.evidence import Evidence
from kit.report.page.parts import Section
from kit.report.page.sections import (
    board,
    clusters,
    correlation,
    data,
    decisions,
    ensemble,
    examples,
    explanations,
    failures,
    headline,
    prompts,
    rounds,
    runs,
    settings,
    suspicious,
    times,
)

SECTIONS: tuple[Callable[[Evidence], Section | None], ...] = (
    headline.build,
    board.build,
    data.build,
    examples.build,
    explanations.build,
    suspicious.build,
    runs.build,
    ensemble.build,
    decisions.build,
    rounds.build,
    settings.build,
    prompts.build,
    correlation.build,
    clusters.build,
    times.build,
    failures.build,
)
