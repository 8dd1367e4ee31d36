"""Names that several wings share: tasks, the file of a competition, the run that combines the others, the program."""

from __future__ import annotations

MULTICLASS, MULTILABEL = "multiclass", "multilabel"
COMPETITION_FILE = "competition.toml"
ENSEMBLE = "ensemble"
PROGRAM = "./run.sh"  # how the kit is called, in every command that it prints
