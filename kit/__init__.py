"""Turn a competition's images into a scored, validated Kaggle submission.

Two sentences generate the house:

- A stage is a file, or a room of files where it is large; an extension point is a folder.
- Every model turns images into `Predictions`; everything after only combines `Predictions`.

Twelve wings, each importing only from wings before it (tests/house/test_architecture.py holds the order; README.md
beside this file names every room)::

    core      disk, terminal, errors, names       scoring   arrays in, numbers out: ADD A METRIC
    config    competition.toml as types           data      images, folds, audit: ADD A FILE FORMAT
    features  pixels and words become vectors     models    what learns: ADD A MODEL
    runs      fit, combine, decide, verify        kaggle    all that Kaggle sees or answers
    curate    drafts that a person corrects       report    what a person looks at: ADD A SECTION
    api       what Python calls                   cli       one command, one function
    (bench    measurements; competitions: ADD A COMPETITION)

The pipeline, in the order in which ``./run.sh all`` walks it; every stage leaves files that the next one reads::

    competition.toml          facts and runs                    config/
      -> image table, audit   id, path, label, split            data/table/, data/audit/
      -> folds/NAME.csv       the only split there is           data/folds/
      -> store, features      decode once, encode once          data/store.py, features/
      -> runs x folds         oof, test, unlabeled Predictions  models/, runs/fit/
      -> pseudo-label rounds  per fold, from models that        runs/pseudo/
                              never saw the fold
      -> ensemble             temperatures and weights on oof   scoring/mixing.py, runs/ensemble.py
      -> decisions            thresholds, none of these         scoring/thresholds.py, runs/decide/
      -> submissions/NAME/    one validated CSV, a ledger row   kaggle/submission/
      -> leaderboard          CV +- SE, paired tests            report/board/
      -> verify               derives all of it again; a leak   runs/verify/
                              is named, exit code 1
      -> report.html          one page to look at               report/page/

What a model may see is an `Images` selection: pixels, features, and the labels of the training folds alone. Everything
computed lies under ``runs/NAME/``, keyed by what it was made from: re-used when the key matches, made anew when it does
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.api import (
        Competition,
        DamagedFile,
        InputError,
        LeakFound,
        MissingWeights,
        Mistakes,
        Page,
        TeacherMissing,
        TimeIsUp,
        competitions,
        new,
        open,
        silenced,
    )

__version__ = "0.6.0"
__all__ = [
    "Competition",
    "DamagedFile",
    "InputError",
    "LeakFound",
    "Mistakes",
    "MissingWeights",
    "Page",
    "TeacherMissing",
    "TimeIsUp",
    "competitions",
    "new",
    "open",
    "silenced",
]


def __getattr__(name: str) -> object:
    """Find a public name where it is made, once it is asked for: ``import kit`` alone is instant."""
    if name not in __all__:
        raise AttributeError(f"module 'kit' has no attribute {name!r}; it has {', '.join(__all__)}")
    from kit import api
    from kit.core.installed import check_python

    check_python()
    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted([*globals(), *__all__])
