"""Why the models decided, where `explain` has laid it out."""

from __future__ import annotations

from kit.core.names import PROGRAM
from kit.report.explain import latest_sheets
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Part, Picture, Section, Text

SHOWN = 4  # sheets, the latest: each is as large as a hundred thumbnails


def build(evidence: Evidence) -> Section | None:
    """Return the latest contact sheets and the command that makes more."""
    sheets = latest_sheets(evidence.prepared)
    if not sheets:
        return None
    name = evidence.prepared.competition.name
    parts: list[Part] = [
        Text(
            "Each image is explained by the model of the fold that held it out. Green speaks for the class below a "
            f"picture, red against it; in Grad-CAM bright speaks for it. {PROGRAM} explain {name} RUN makes others.",
            "note",
        )
    ]
    parts += [Picture(sheet.stem, str(sheet)) for sheet in sheets[:SHOWN]]
    if len(sheets) > SHOWN:
        parts.append(Text(f"{len(sheets) - SHOWN} more lie in {sheets[0].parent.name}/.", "note"))
    return Section("explanations", "Why they decided", parts)
