"""A custom metric: a function in a Python file beside competition.toml or in the workspace.

``metric = "scoring.cost"`` is the function ``cost(labels, proba) -> float`` of ``scoring.py``; ``"scores.birds.cost"``
that in ``scores/birds.py``. The file may import what is installed, and nothing beside it. Attributes of the function
tell what it is: ``cost.greater_is_better = False`` of a loss, ``cost.needs = "labels"`` to be given class codes (with
several labels per image, 0 and 1 per class) in place of probabilities.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError, nearest
from kit.core.shapes import Labels
from kit.scoring.metrics.metric import Metric

CUSTOM_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
NEEDS = ("proba", "labels")


def read_custom(name: str, folders: Sequence[Path]) -> Metric:
    """Return the custom metric ``package.module.function``, whose file is looked for in the folders in order.

    Raises
    ------
    InputError
        When the file is not there or cannot be run, it has no such function, or an attribute of it is not understood.
    """
    folder, relative = locate_custom(name, folders)
    path, function = folder / relative, name.rpartition(".")[2]
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return _load(name, path, function, text)


def locate_custom(name: str, folders: Sequence[Path]) -> tuple[Path, Path]:
    """Return the folder that holds a custom metric, and its file relative to it; InputError where none does."""
    relative = Path(*name.split(".")[:-1]).with_suffix(".py")
    for folder in folders:
        if (folder / relative).is_file():
            return folder, relative
    places = ", ".join(str(folder) for folder in folders) or "no folder"
    raise InputError(f"metric {name!r}: no file {relative} in {places}; put it beside competition.toml")


@functools.lru_cache(maxsize=16)
def _load(name: str, path: Path, function: str, text: bytes) -> Metric:
    """Run a file and return a function of it as a metric; a file that was edited since is run again."""
    digest = hashlib.sha256(text).hexdigest()[:16]
    module = types.ModuleType(f"own_metric_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickles look their module up there
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no result of a command
            exec(compile(text, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: cannot be run ({type(error).__name__}: {error})") from error
    metric = getattr(module, function, None)
    if not callable(metric):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise InputError(f"{path}: no function {function!r}; {nearest(function, functions)}")
    needs, greater_is_better = getattr(metric, "needs", "proba"), getattr(metric, "greater_is_better", True)
    if needs not in NEEDS:
        raise InputError(f"{path}: {function}.needs = {needs!r}; {nearest(str(needs), NEEDS)}")
    if not isinstance(greater_is_better, bool):
        raise InputError(f"{path}: {function}.greater_is_better = {greater_is_better!r} must be True or False")
    return Metric(
        name, _checked(metric, f"{path}: {function}"), greater_is_better=greater_is_better, needs=needs,
        range=(-math.inf, math.inf), key=f"{name} {digest}",
    )  # fmt: skip


def _checked(metric: Callable[..., Any], place: str) -> Callable[[Labels, np.ndarray], float]:
    """Return a user's function; an error in it names the file."""

    def score(labels: Labels, predicted: np.ndarray) -> float:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no result of a command
                value = metric(labels, predicted)
        except (Exception, SystemExit) as error:
            raise InputError(f"{place} failed ({type(error).__name__}: {error})") from error
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{place} returned {value!r}, not a number") from error

    return score
