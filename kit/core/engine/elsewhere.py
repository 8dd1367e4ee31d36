"""A node that does not see the workspace: files are carried there and back.

Whether a node sees the workspace a token tells: a file that the driver writes into it and a task looks for. Where it is
not seen, a task works in a workspace of the node's own below the system's folder of temporary files; its
``.driver.json`` says where the driver's files lie, so that weights are found by the path that names them there. `Desk`
stands on the driver's machine: it hands out what a task reads and takes what it has written, checkpoints meanwhile.
What is fetched keeps its time of change, by which caches know it; what is carried back does not.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kit.core.files import write_atomic
from kit.core.names import CHECKOUT
from kit.core.terminal import warn

PIECE = 2**26  # bytes of a file that are carried at a time
PATIENCE_SECONDS = 3.0  # for a token that a network file system shows late
COURIER_SECONDS = 5.0  # between two looks for new checkpoints
STALE_SECONDS = 86_400.0  # unused, after which another call's workspace on a node is deleted
CHECKPOINTS = "checkpoint*"
FITTED = "fitted.json"  # says that a fold is done, and its checkpoints are over
TOKEN = ".engine-"
LEFT_OUT = (".lock", ".part", ".rows")  # of processes that write now
PREFIX = "kit-"
ORIGIN = ".driver.json"
OUTSIDE = "outside"  # of the driver's workspace


@dataclass(frozen=True)
class Token:
    """Name the file by which a node sees whether it has the driver's workspace, and what it must hold."""

    path: Path
    content: str

    def is_seen(self) -> bool:
        """Return whether this process sees the workspace that the token was written into."""
        until = time.monotonic() + (0 if self in _unseen else PATIENCE_SECONDS)
        while self.path.parent.is_dir():
            with suppress(OSError):
                if self.path.read_text(encoding="utf-8") == self.content:
                    return True
            if time.monotonic() > until:
                break
            time.sleep(PATIENCE_SECONDS / 10)
        _unseen.add(self)
        return False


_unseen: set[Token] = set()  # for which this process has waited already, in vain


@dataclass(frozen=True)
class Listed:
    """Name a file of the driver: its path there, size in bytes and time of change in nanoseconds."""

    path: str
    size: int
    changed: int


class Desk:
    """Hand out the driver's files and take those that tasks have written; know which tasks run, and where."""

    def __init__(self) -> None:
        self._running: dict[str, str] = {}
        self._half: tuple[str, str] | None = None

    def begin(self, label: str, host: str) -> None:
        """Note that a task runs."""
        self._running[label] = host

    def end(self, label: str) -> None:
        """Note that a task does not run any more."""
        self._running.pop(label, None)

    def running(self) -> dict[str, str]:
        """Return where each task runs, by its label."""
        return dict(self._running)

    def agree(self, half: str, host: str) -> tuple[str, str]:
        """Return the half precision of the first node with a GPU that asks, and that node's name."""
        self._half = self._half or (half, host)
        return self._half

    def list(self, places: Sequence[Path], hidden: Sequence[Path] = ()) -> list[Listed]:
        """Return the files of these names and below these folders, but the `hidden` and those now written."""
        secret = [path.stat() for path in hidden if path.is_file()]
        files = [file for place in places for file in list_files(place)]
        return [_describe(file) for file in files if not any(os.path.samestat(file.stat(), each) for each in secret)]

    def read(self, path: str, start: int) -> bytes:
        """Return a piece of a file."""
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(PIECE)

    def keep(self, path: str, piece: bytes, start: int, is_last: bool, sender: str) -> None:
        """Take a piece of a file that a sender carries; the last one puts it in its place.

        What says that a fold is done makes its checkpoints needless: they are deleted.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{sender}.carried")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if is_last:
            os.replace(part, target)
        if is_last and target.name == FITTED:
            for left in [*target.parent.glob(CHECKPOINTS), *target.parent.glob(f".{CHECKPOINTS}.carried")]:
                left.unlink(missing_ok=True)


class Counter(Protocol):
    """A desk as a node reaches it: the same calls, answered from the driver's machine."""

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method of the desk; return what it returns."""
        ...


def list_files(place: Path) -> Iterator[Path]:
    """Give a file, or the files below a folder, the oldest first; nothing of what is not there. Links are followed."""
    if place.is_file():
        yield place
    found = [file for file in _walk(place) if not _is_left_out(file) and file.is_file()]
    yield from sorted(found, key=lambda file: (file.stat().st_mtime_ns, file.name == FITTED, file.name))


def _walk(folder: Path) -> Iterator[Path]:
    """Give what is in a folder and in those below it, behind links too; a link to what it lies in is left alone."""
    outer: dict[Path, tuple[tuple[int, int], ...]] = {}  # of a folder itself and those that it lies in
    for name, folders, files in os.walk(folder, followlinks=True):
        with suppress(FileNotFoundError):  # it was deleted meanwhile
            facts = (path := Path(name)).stat()
            here, above = (facts.st_dev, facts.st_ino), outer.get(path.parent, ())
            outer[path] = (*above, here)
            if here in above:
                folders.clear()
                files.clear()
        yield from (Path(name, file) for file in files)


def _is_left_out(file: Path) -> bool:
    return file.name.startswith(".") or file.suffix in LEFT_OUT


def _describe(file: Path) -> Listed:
    facts = file.stat()
    return Listed(str(file), facts.st_size, facts.st_mtime_ns)


def make_mover(root: Path, installed: Path, home: Path) -> Callable[[str | Path], Path]:
    """Return what says where a file of the driver lies on this node.

    Parameters
    ----------
    root
        The driver's workspace, for which `home` stands here; no absolute path leads out of `home`, whatever its dots.
    installed
        Where the driver's kit lies; what is below it comes with this node's kit.
    """

    def move(path: str | Path) -> Path:
        path = Path(os.path.normpath(path))
        if path.is_relative_to(installed / "kit"):
            return CHECKOUT / path.relative_to(installed)
        if path.is_relative_to(root):
            return home / path.relative_to(root)
        return home / OUTSIDE / path.relative_to(path.anchor) if path.is_absolute() else path

    return move


def list_places(path: str | Path, folders: Sequence[Path]) -> list[Path]:
    """Return where a file that the user named may lie, in the order in which it is looked for.

    On a node to which files were carried, the places that they were carried to come first.

    Parameters
    ----------
    path
        As the user wrote it: absolute, or below one of the `folders`.
    folders
        In which a relative path is looked up; of which one may be this node's workspace.
    """
    places = [Path(path)] if Path(path).is_absolute() else [folder / path for folder in folders]
    for home in folders:
        with suppress(OSError, ValueError):
            origin = json.loads((home / ORIGIN).read_text(encoding="utf-8"))
            root, installed = Path(origin["root"]), Path(origin["installed"])
            move = make_mover(root, installed, home)
            there = [_move_back(folder, root, installed, home) for folder in folders]
            places = [move(folder / path) for folder in there] + places
            break
    return list(dict.fromkeys(places))


def _move_back(folder: Path, root: Path, installed: Path, home: Path) -> Path:
    """Return where a folder of this node lies on the driver's machine: what undoes `make_mover`."""
    for here, there in ((home / OUTSIDE, Path(root.anchor)), (home, root), (CHECKOUT / "kit", installed / "kit")):
        if folder.is_relative_to(here):
            return there / folder.relative_to(here)
    return folder


def make_home(session: str, root: Path, installed: Path) -> Path:
    """Return this node's workspace of a driver's call; those that were not used for a day are deleted.

    `root` and `installed` are of `make_mover`.
    """
    for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/.used"):
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(other.parent, ignore_errors=True)
    home = Path(tempfile.gettempdir()) / f"{PREFIX}{session}"
    home.mkdir(exist_ok=True)
    (home / ".used").touch()
    with write_atomic(home / ORIGIN, "w") as file:
        json.dump({"root": str(root), "installed": str(installed)}, file)
    return home


def drop_stale_tokens(root: Path) -> None:
    """Delete the tokens in a workspace whose drivers were killed: a driver that lives touches its own."""
    for token in root.glob(f"{TOKEN}*"):
        with suppress(OSError):
            if time.time() - token.stat().st_mtime > STALE_SECONDS:
                token.unlink()


def fetch(
    desk: Counter, places: Sequence[Path], move: Callable[[str | Path], Path], hidden: Sequence[Path] = ()
) -> None:
    """Bring the driver's files of these places that this node lacks, but never the `hidden` ones."""
    for listed in desk.ask("list", tuple(places), tuple(hidden)):
        target = move(listed.path)
        with suppress(FileNotFoundError):
            facts = target.stat()
            if (facts.st_size, facts.st_mtime_ns) == (listed.size, listed.changed):
                continue
        if target.is_relative_to(CHECKOUT / "kit"):  # this node's own
            continue
        with write_atomic(target) as file:
            for start in range(0, listed.size, PIECE):
                file.write(desk.ask("read", listed.path, start))
        os.utime(target, ns=(listed.changed, listed.changed))


def send(desk: Counter, file: Path, path: str) -> None:
    """Carry a file of this node to its place on the driver's machine."""
    sender = secrets.token_hex(4)  # two nodes may carry a file of one name
    with open(file, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for start in range(0, max(size, 1), PIECE):
            desk.ask("keep", path, opened.read(PIECE), start, start + PIECE >= size, sender)


def send_folder(desk: Counter, folder: Path, there: Path) -> None:
    """Carry all files of a folder in the order in which they were written: what says that all is done comes last."""
    for file in list_files(folder):
        send(desk, file, str(there / file.relative_to(folder)))


@contextmanager
def courier(desk: Counter, home: Path, places: dict[Path, Path]) -> Iterator[None]:
    """Carry checkpoints to the driver while a task runs, so that they outlive this node; `places` here and there.

    The node's workspace, `home`, is marked as used meanwhile.
    """
    over = threading.Event()

    def keep_carrying() -> None:
        sent: dict[Path, int] = {}
        is_told = False
        while not over.wait(COURIER_SECONDS):
            try:
                (home / ".used").touch()
                _carry(desk, places, sent)
            except Exception as error:  # of Ray too: the desk may be restarted
                if not is_told:
                    warn(f"checkpoints are not carried now, which is tried again ({type(error).__name__}: {error})")
                is_told = True

    carrier = threading.Thread(target=keep_carrying, daemon=True, name="courier")
    carrier.start()
    try:
        yield
    finally:
        over.set()
        carrier.join()


def _carry(desk: Counter, places: dict[Path, Path], sent: dict[Path, int]) -> None:
    """Carry the checkpoints that are newer than what was `sent`: their times of change."""
    for place, there in places.items():
        for file in place.glob(CHECKPOINTS) if place.is_dir() else [place]:
            if not file.match(CHECKPOINTS) or _is_left_out(file):
                continue
            with suppress(FileNotFoundError):  # it is not yet there, or deleted as the training is over
                if sent.get(file) != (changed := file.stat().st_mtime_ns):
                    send(desk, file, str(there / file.relative_to(place)))
                    sent[file] = changed
