"""Names that several wings share: tasks, the file of a competition, the run that combines the others, the program."""

from __future__ import annotations

from pathlib import Path

MULTICLASS, MULTILABEL = "multiclass", "multilabel"
COMPETITION_FILE = "competition.toml"
ENSEMBLE = "ensemble"
IS_CHECKOUT = (Path(__file__).parents[2] / "run.sh").is_file()  # else the kit is an installed package
PROGRAM = "./run.sh" if IS_CHECKOUT else "kit"  # how the kit is called, in every command that it prints


def base_of(name: str) -> str:
    """Return the run that a round ``RUN.N`` belongs to; of what is no round its own name."""
    return name.partition(".")[0]


def round_of(name: str) -> int | None:
    """Return the number of a round ``RUN.N``, from 1; None of what is no round."""
    number = name.partition(".")[2]
    return int(number) if number.isdecimal() else None
