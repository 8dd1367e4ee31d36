"""Take what a session left: its log, its finished runs after the checks of `verify`, what goes on with the next push.

Writes ``runs/NAME/remote/TOKEN/``: the log, and the output until it is taken.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.config.competition import Competition
from kit.core.errors import InputError, LeakFound
from kit.core.files import hash_file, read_object, write_atomic
from kit.core.terminal import Progress, warn
from kit.data.prepared import Prepared
from kit.kaggle.client.failures import KaggleFailure, KaggleRefusal
from kit.kaggle.client.session import Kaggle
from kit.kaggle.remote.sending import ACTIVE, GOING_ON
from kit.kaggle.remote.state import (
    FAILED,
    NEXT,
    OUTPUT,
    RUNS,
    UNFINISHED,
    Push,
    describe_place,
    place_of,
    read_push,
    remote_folder,
    write_push,
)
from kit.kaggle.remote.unfinished import check_unfinished, keep_unfinished
from kit.runs.share import Merged, merge_runs

LOG = "log.txt"
LAST_LINES = 12  # of a log that are shown
LOG_SECONDS = 5.0  # that the log of a session that runs is listened to
LOOK_SECONDS = 5.0  # between two looks at a session that was asked to end
STOP_SECONDS = 30.0  # in which it says so
MEGABYTE = 10**6


@dataclass(frozen=True)
class Look:
    """Hold how a session is.

    Parameters
    ----------
    status
        Kaggle's word: queued, running, complete, error, cancel_acknowledged; ``"gone"`` where the notebook is not of
        this push any more.
    message
        Why it failed, in Kaggle's words.
    lines
        The last that it printed.
    """

    status: str
    message: str
    lines: list[str]

    @property
    def is_active(self) -> bool:
        """Return whether it has not ended."""
        return self.status in ACTIVE


@dataclass(frozen=True)
class Taken:
    """Hold what was taken of a push.

    Parameters
    ----------
    ended
        ``"done"``; ``"cut"``, by the time limit or the end of the session; ``"failed"``.
    message
        Why not all runs are finished; empty where they are.
    merged, checks
        As `merge_runs` gives them, of the runs that were pushed.
    kept
        Files of unfinished runs that were taken, by run.
    lines
        The last of the log, where the session failed.
    place
        What decides the last digits, as the session told it, where it is another than here: both, as ``"2 (here 4)"``.
    """

    ended: str
    message: str
    merged: list[Merged]
    checks: list[str]
    kept: dict[str, int]
    lines: list[str]
    log: str
    place: dict[str, str]


def look_at(kaggle: Kaggle, push: Push) -> Look:
    """Return how the session of a push is."""
    found = kaggle.read("find_notebook", notebook=push.notebook)
    if found is None or push.token not in found["source"]:
        return Look("gone", "", [])
    lines: list[str] = []
    if found["status"] != "queued":
        try:
            pieces = kaggle.read("read_log", notebook=push.notebook, seconds=LOG_SECONDS)
            lines = read_lines("".join(pieces))
        except KaggleFailure as error:
            warn(str(error))
    return Look(found["status"], found["message"], lines[-LAST_LINES:])


def read_lines(log: str) -> list[str]:
    """Return the lines of a log: JSON as Kaggle keeps it, one list or an object a line, with text in ``data``; or text.

    Empty lines are left out.
    """
    for read in (json.loads, lambda text: [json.loads(line) for line in text.splitlines()]):
        with contextlib.suppress(ValueError):
            events = read(log)
            if isinstance(events, list) and all(isinstance(event, dict) for event in events):
                log = "".join(str(event.get("data", "")) for event in events)
                break
    return [line.rstrip() for line in log.splitlines() if line.strip()]


def stop_session(kaggle: Kaggle, push: Push) -> Look:
    """Ask Kaggle to cancel the session of a push, which runs or waits; return how it is then.

    RuntimeError where it goes on, half a minute after a request that was accepted; says how the site stops it.
    """
    until = time.monotonic() + STOP_SECONDS
    try:
        told = kaggle.write("stop_session", notebook=push.notebook)
        why = told["error"] if told["is_found"] else "the number of the session, which it takes to stop it, is not told"
    except (KaggleFailure, KaggleRefusal) as error:
        why = str(error)
    look = look_at(kaggle, push)
    while not why and look.status in GOING_ON and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        look = look_at(kaggle, push)
    if look.status in GOING_ON:
        said = f"Kaggle did not stop it ({why})" if why else "Kaggle was asked to stop it; if it goes on"
        raise RuntimeError(f"the session is {look.status}, {said}: {stop_how(push)}")
    return look


def stop_how(push: Push) -> str:
    """Say how the site stops a session."""
    return (
        f"on https://www.kaggle.com/code/{push.notebook} open View Active Events (below on the left), and stop it "
        "there; what it had packed can be taken then"
    )


@dataclass(frozen=True)
class Output:
    """Hold what was downloaded of a session: where it lies, what it tells of itself, and the lines of its log.

    `told` is None where it left nothing.
    """

    folder: Path
    told: dict[str, Any] | None
    lines: list[str]
    look: Look


def fetch_output(kaggle: Kaggle, competition: Competition, push: Push) -> Output:
    """Download what the session of a push has left, and check its hashes. Call it under `pushing`.

    Raises
    ------
    InputError
        When the session runs, or the notebook is of another push.
    KaggleFailure, RuntimeError
        When a download breaks, or is not what the session wrote, or not there yet; the next call goes on with it.
    """
    look = look_at(kaggle, push)
    if look.is_active:
        raise InputError(f"the session is {look.status} at Kaggle; {competition.command('remote status')} shows it")
    if look.status == "gone":
        raise InputError(
            f"{push.notebook} is not of this push: it was deleted, or another workspace pushed; push again"
        )
    folder = remote_folder(competition) / push.token
    folder.mkdir(parents=True, exist_ok=True)
    log = _fetch(kaggle, push, folder, [OUTPUT])
    lines = read_lines(log) or look.lines
    with write_atomic(folder / LOG, "w") as file:
        file.write("\n".join(lines) + "\n")
    told = read_object(folder / OUTPUT, "token", "ended", "message", "files")
    if told is not None and told["token"] != push.token:
        (folder / OUTPUT).unlink()
        raise RuntimeError(
            f"Kaggle still shows the output of an earlier push ({told['token']}): pull again in a minute"
        )
    if told is None and look.status == "complete":  # the script ends well only where it has packed
        raise RuntimeError(
            f"Kaggle does not show the output yet: pull again in a minute; if it never comes, "
            f"{competition.command('remote pull', '--discard')}, then push again"
        )
    if told is not None:
        _fetch_checked(kaggle, push, folder, told["files"])
    return Output(folder, told, lines, look)


def take_output(prepared: Prepared, push: Push, output: Output) -> Taken:
    """Take the runs of what was downloaded, and what goes on with the next push. Call it with the workspace held.

    Raises
    ------
    InputError
        When a file is not what a session writes; nothing is taken.
    LeakFound
        When a run saw labels that it must not have seen; nothing is taken.
    """
    competition, folder, told = prepared.competition, output.folder, output.told
    last = output.lines[-LAST_LINES:]
    if told is None:
        write_push(competition, push.at("taken"))
        cause = f"Kaggle says {output.look.status!r}, {output.look.message or 'it ended before it had packed anything'}"
        return Taken(FAILED, cause, [], [], {}, last, str(folder / LOG), {})
    try:
        if UNFINISHED in told["files"]:
            check_unfinished(folder / place_of(told["files"], UNFINISHED))
        merged, checks = [], []
        if RUNS in told["files"]:
            merged, checks = merge_runs(prepared, folder / place_of(told["files"], RUNS))
    except (InputError, LeakFound) as error:
        given_up = f"nothing was taken; {competition.command('remote pull', '--discard')} gives the push up"
        raise (LeakFound if isinstance(error, LeakFound) else InputError)(f"{error}; {given_up}") from error
    kept = {}
    if UNFINISHED in told["files"]:
        kept = keep_unfinished(prepared, folder / place_of(told["files"], UNFINISHED))
    write_push(competition, push.at("taken"))
    _clear(folder)
    ended, message = told["ended"], told["message"] or output.look.message
    of_push = [each for each in merged if each.name in push.runs]
    lines = last if ended == FAILED else []
    return Taken(ended, message, of_push, checks, kept, lines, str(folder / LOG), compare_place(told.get("place", {})))


def compare_place(place: dict[str, str]) -> dict[str, str]:
    """Return what decides the last digits where it is another here: what a session told, and what is here."""
    here = describe_place()
    return {name: f"{told} (here {here[name]})" for name, told in place.items() if here.get(name, told) != told}


def discard_push(kaggle: Kaggle, competition: Competition, push: Push) -> str:
    """Give a push up whose output cannot be taken; return its log's file. At Kaggle all stays as it is.

    Call it under `pushing`. InputError where the session runs.
    """
    look = look_at(kaggle, push)
    if look.is_active:
        raise InputError(f"the session is {look.status}, so it was not given up: {stop_how(push)}")
    folder = remote_folder(competition) / push.token
    folder.mkdir(parents=True, exist_ok=True)
    lines = look.lines
    if look.status != "gone":
        try:
            lines = read_lines(_fetch(kaggle, push, folder, [])) or lines
        except KaggleFailure as error:
            warn(str(error))
    if lines or not (folder / LOG).exists():
        with write_atomic(folder / LOG, "w") as file:
            file.write("\n".join(lines) + "\n")
    write_push(competition, push.at("discarded"))
    _clear(folder)
    return str(folder / LOG)


def _clear(folder: Path) -> None:
    """Delete what was downloaded of a push, but its log."""
    for name in (OUTPUT, RUNS, UNFINISHED, NEXT + RUNS, NEXT + UNFINISHED):
        for file in (folder / name, folder / f"{name}.part"):
            file.unlink(missing_ok=True)


def _fetch(kaggle: Kaggle, push: Push, folder: Path, names: list[str], n_bytes: int = 0) -> str:
    """Download files of the output, going on with those that an earlier call has begun; return the log."""
    shown = 0
    with Progress("pull MB", max(1, n_bytes // MEGABYTE)) as bar:

        def progress() -> int:
            nonlocal shown
            done = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            if done // MEGABYTE > shown:
                bar.advance(done // MEGABYTE - shown)
                shown = done // MEGABYTE
            return done

        asked: dict[str, Any] = {"notebook": push.notebook, "folder": str(folder), "names": names}
        return kaggle.read("fetch_output", progress=progress, **asked)["log"]


def _fetch_checked(kaggle: Kaggle, push: Push, folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Download the packed files and check their hashes; one that is not whole is fetched anew, once."""
    files = {place_of(files, name): files[name] for name in files if name in (RUNS, UNFINISHED)}
    names, n_bytes = list(files), sum(told["size"] for told in files.values())
    _fetch(kaggle, push, folder, names, n_bytes)
    broken = [name for name in names if not _is_whole(folder / name, files[name])]
    if broken:
        warn(f"{', '.join(broken)}: not as the session wrote it (SHA-256); fetching it again from the beginning")
        for name in broken:
            (folder / name).unlink(missing_ok=True)
        _fetch(kaggle, push, folder, broken, n_bytes)
    for name in broken:
        if not _is_whole(folder / name, files[name]):
            (folder / name).unlink(missing_ok=True)
            raise RuntimeError(f"{name} came damaged twice; nothing was taken: pull again later")


def _is_whole(file: Path, told: dict[str, Any]) -> bool:
    """Return whether a file has the size and the hash that the session noted."""
    return file.is_file() and file.stat().st_size == told["size"] and hash_file(file) == told["sha256"]


def find_push(competition: Competition) -> Push:
    """Return the newest push; InputError where none came to Kaggle."""
    push = read_push(competition)
    if push is None or push.stage in ("packed", "uploaded"):
        begun = "" if push is None else f" (one was begun {push.begun} UTC)"
        raise InputError(f"nothing of {competition.name} was pushed yet{begun}; {competition.command('remote push')}")
    return push
