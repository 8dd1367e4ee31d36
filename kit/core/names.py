"""Names that several wings share: the two tasks, the file of a competition, the run that combines the others."""

from __future__ import annotations

MULTICLASS, MULTILABEL = "multiclass", "multilabel"
FILE = "competition.toml"
ENSEMBLE = "ensemble"
