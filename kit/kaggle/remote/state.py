"""One push: what was sent, how far it came; the lock against a second one.

Reads and writes ``runs/NAME/remote/push.json``; beside it a folder per push holds its log.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.files import read_json, write_json
from kit.core.held import Held, hold
from kit.core.rounding import describe_rounding
from kit.features.device import device_name
from kit.runs.share.manifest import PLACE

FOLDER, STATE = "remote", "push.json"
RUNS, UNFINISHED, OUTPUT = "runs.zip", "unfinished.zip", "output.json"  # what a session leaves
NEXT = "next_"  # before the name of a zip that was packed while output.json named the one without
DONE, CUT, FAILED = "done", "cut", "failed"  # how it ended: all runs; the time limit came before; an error
TOKEN_BYTES = 6
TOKEN = re.compile(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}")
Stage = Literal["packed", "uploaded", "sending", "sent", "refused", "taken", "discarded"]
CHECKPOINT = re.compile(r"runs/[A-Za-z0-9][\w-]*(?:\.\d+)?/[0-9a-f]{16}/[\w/]*checkpoint[\w-]*\.pt", re.ASCII)


class Push(BaseModel):
    """Hold what is known of a push.

    Parameters
    ----------
    token
        In the notebook's source and in what its session leaves: tells this push from every other.
    stage
        ``"packed"``: nothing is at Kaggle. ``"uploaded"``: the dataset is. ``"sending"``: the notebook was on its way
        when this was written. ``"sent"``: Kaggle took it. ``"refused"``: took it without its data, so that nothing is
        trained. ``"taken"``: its output was taken. ``"discarded"``: it was given up.
    runs
        That it trains.
    dataset, notebook
        OWNER/SLUG at Kaggle.
    pack, sha256, n_bytes
        The file of the dataset.
    dataset_version, notebook_version
        At Kaggle; None while it is not known.
    accelerator
        As Kaggle names it; empty for a CPU.
    competition
        Kaggle's name of the competition whose data are attached; empty where the push carries its own.
    seconds
        The time limit of the training.
    changes, seed
        Of the call: ``--set`` and ``--seed``.
    begun
        When it was packed, in UTC.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    token: str
    stage: Stage
    runs: list[str]
    dataset: str
    notebook: str
    pack: str
    sha256: str
    n_bytes: int
    dataset_version: int | None = None
    notebook_version: int | None = None
    url: str = ""
    accelerator: str
    internet: bool = False
    competition: str = ""
    seconds: float
    changes: list[str] = []
    seed: int | None = None
    begun: str

    def at(self, stage: Stage, **facts: object) -> Push:
        """Return the push at another stage."""
        return Push.model_validate(self.model_dump() | facts | {"stage": stage})


def remote_folder(competition: Competition) -> Path:
    """Return the folder of a competition's pushes."""
    return competition.workspace.runs(competition.name) / FOLDER


def place_of(files: dict[str, dict[str, Any]], name: str) -> str:
    """Return under which of its two names a session has left a zip, by the files that its output.json tells of."""
    return NEXT + name if files[name].get("file") == NEXT + name else name


def describe_place() -> dict[str, str]:
    """Return what decides the last digits of all that is computed here: the kind of device, and how sums round."""
    return {"device": device_name().partition(":")[0], **describe_rounding()}


def is_of_run(place: str) -> bool:
    """Return whether a place below the workspace is a file of a run: one that is shared, or a checkpoint."""
    return bool(PLACE.fullmatch(place) or CHECKPOINT.fullmatch(place))


def list_tokens(competition: Competition) -> list[str]:
    """Return the tokens of the pushes that are done with; each has a folder."""
    return [path.name for path in remote_folder(competition).glob("*") if TOKEN.fullmatch(path.name)]


def read_push(competition: Competition) -> Push | None:
    """Return the newest push of this workspace; None where there is none, or its file is no longer readable."""
    try:
        return Push.model_validate(read_json(remote_folder(competition) / STATE))
    except ValidationError:
        return None


def write_push(competition: Competition, push: Push) -> Push:
    """Write the state of a push, and return it."""
    write_json(remote_folder(competition) / STATE, push.model_dump())
    return push


def new_token() -> str:
    """Return a token that no other push has."""
    return secrets.token_hex(TOKEN_BYTES)


def now() -> str:
    """Return the time in UTC, as a state holds it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


@contextlib.contextmanager
def pushing(competition: Competition) -> Iterator[None]:
    """Hold the pushes of a competition alone; InputError while another call holds them: waiting would send twice."""
    folder = remote_folder(competition)
    folder.mkdir(parents=True, exist_ok=True)
    is_ours = False
    try:
        with hold(folder, None):
            is_ours = True
            yield
    except Held as error:
        raise InputError(
            f"pushes of {competition.name} are held by {error}, so nothing was sent; wait for it to end, then look: "
            f"{competition.command('remote status')}"
        ) from None
    finally:
        if is_ours:
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove the folder of pushes, and the one above, where a refused push left nothing in them but the lock."""
    with contextlib.suppress(OSError):
        if all(path.name == ".lock" for path in folder.iterdir()):
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
            folder.parent.rmdir()
