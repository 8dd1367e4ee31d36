"""Names that several wings share: tasks, the file of a competition, the run that combines the others, the program."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

MULTICLASS, MULTILABEL = "multiclass", "multilabel"
COMPETITION_FILE = "competition.toml"
ENSEMBLE = "ensemble"
CHECKOUT = Path(__file__).parents[2]
IS_CHECKOUT = (CHECKOUT / "run.sh").is_file()  # else the kit is an installed package
IN_NOTEBOOK = ("JPY_PARENT_PID", "KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG")  # a kernel's environment has one
IS_NOTEBOOK = any(name in os.environ for name in IN_NOTEBOOK) or os.environ.get("MPLBACKEND", "").endswith("inline")
IS_HOSTED = any(name in os.environ for name in IN_NOTEBOOK[1:])  # on Kaggle or Colab


def _program() -> str:
    """Return how the kit is called here: as run.sh was, and behind the mark of a shell's command in a notebook."""
    called = os.environ.get("KIT_PROGRAM", "")  # by run.sh
    if not called:
        is_elsewhere = IS_NOTEBOOK and Path.cwd() != CHECKOUT
        called = f"bash {shlex.quote(str(CHECKOUT / 'run.sh'))}" if is_elsewhere else "./run.sh"
    return ("!" if IS_NOTEBOOK else "") + (called if IS_CHECKOUT else "kit")


PROGRAM = _program()  # in every command that the kit prints


def command_line(*words: str) -> str:
    """Return a call of the kit to copy, as it must be typed here."""
    return f"{PROGRAM} {shlex.join(words)}"


def default_workspace() -> Path:
    """Return the workspace where none is given: the checkout, else (installed, or read-only) where the user stands."""
    return CHECKOUT if IS_CHECKOUT and os.access(CHECKOUT, os.W_OK) else Path.cwd()


def base_of(name: str) -> str:
    """Return the run that a round ``RUN.N`` belongs to; of what is no round its own name."""
    return name.partition(".")[0]


def round_of(name: str) -> int | None:
    """Return the number of a round ``RUN.N``, from 1; None of what is no round."""
    number = name.partition(".")[2]
    return int(number) if number.isdecimal() else None
