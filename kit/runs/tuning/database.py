"""The file of a search: an Optuna study in SQLite, opened and closed; what is wrong with it is said in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kit.core.errors import InputError
from kit.runs.seen import TUNE

if TYPE_CHECKING:
    import optuna

LOCK_SECONDS = 60  # to wait for SQLite's lock, on slow disks
SOUND = "ok"  # SQLite's word for a file without a fault
FULL = "SQLITE_FULL"
PLACE = ("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY")  # not the file: where it lies


@contextlib.contextmanager
def opened(file: Path, sign: int) -> Iterator[optuna.Study]:
    """Open the study; a new one is made under another name, so that a kill leaves none that is half made.

    Parameters
    ----------
    file
        The SQLite file; its folder is made.
    sign
        1 where larger scores are better, -1 where smaller ones are.

    Raises
    ------
    InputError
        When the file is damaged, or no search.
    OSError
        When the disk is full.
    RuntimeError
        When the disk cannot be written for another reason.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _explained(file):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.unlink(missing_ok=True)
            with _storage(part) as storage:
                optuna.create_study(study_name=TUNE, storage=storage, direction="maximize" if sign > 0 else "minimize")
            os.replace(part, file)
        _check_sound(file)
        with _storage(file) as storage:
            yield optuna.load_study(study_name=TUNE, storage=storage, pruner=optuna.pruners.MedianPruner())


def _check_sound(file: Path) -> None:
    """Refuse a file that SQLite finds damaged, or that holds no study: Optuna would say it in many ways, or never."""
    with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as connection:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        names = connection.execute("SELECT study_name FROM studies").fetchall() if verdict == SOUND else []
    if (TUNE,) not in names:
        raise _damaged(file, "no study is in it" if verdict == SOUND else verdict)


@contextlib.contextmanager
def _storage(file: Path) -> Iterator[optuna.storages.RDBStorage]:
    """Open the database and close it."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Say what SQLite could not do, whatever the libraries above it raise."""
    try:
        yield
    except Exception as error:
        cause = _find_cause(error)
        if cause is None:
            raise
        name = getattr(cause, "sqlite_errorname", "")
        if name == FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        if name.startswith(PLACE):
            remedy = "what was written before is whole, free some space or choose another --workspace"
            raise RuntimeError(f"{file}: {cause}; {remedy}") from error
        raise _damaged(file, str(cause)) from error


def _find_cause(error: BaseException | None) -> sqlite3.Error | None:
    """Return SQLite's own complaint among the causes of an error."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    return error


def _damaged(file: Path, cause: str) -> InputError:
    """Say that a file is no search any more."""
    return InputError(f"{file}: cannot be read as a search ({cause}); delete {file.parent} and call again")
