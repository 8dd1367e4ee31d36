"""Send a push: the dataset uploaded, the notebook pushed, each once whatever is killed or lost in between.

The dataset's file is named by its content, and the notebook's source holds the token of the push: what Kaggle has
tells whether an earlier call, or one whose answer was lost, has arrived.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.config.competition import Competition
from kit.core.errors import InputError, some
from kit.core.files import hash_file, write_json
from kit.core.installed import pip_command
from kit.core.process import count_threads
from kit.core.rounding import find_openblas, list_kernels
from kit.core.terminal import note, stage, warn
from kit.data.prepared import Prepared
from kit.kaggle.bundle.notebook import slug_of
from kit.kaggle.client.failures import KaggleFailure, KaggleRefusal, find_notebook_refusal
from kit.kaggle.client.session import Kaggle
from kit.kaggle.remote.contents import OUTBOX, Plan
from kit.kaggle.remote.script import NEEDED
from kit.kaggle.remote.state import Push, list_tokens, new_token, now, read_push, remote_folder, write_push

SCRIPT = Path(__file__).with_name("script.py")
CODE_FILE = "train.py"
SESSION_HOURS = 12.0  # that Kaggle gives a session
LONGEST_HOURS = 11.5  # that a training may take of them: the rest unpacks, installs and packs
GRACE_SECONDS = 900.0  # after its time limit, until a training that goes on is ended
QUOTA_SPARE_HOURS = 0.25  # of the week's hours that a training leaves
READY_SECONDS = 1800.0  # that a dataset may take to be ready
LAG_SECONDS = 60.0  # that the list of a dataset's files may be behind its version
LOOK_SECONDS = 5.0
GOING_ON = ("queued", "running", "new_script")
ACTIVE = (*GOING_ON, "cancel_requested")


def describe_quota(quota: dict[str, Any] | None) -> str:
    """Say how many hours of GPU are left this week."""
    if quota is None:
        return "the hours of GPU that are left this week are not known"
    if (gpu := quota["gpu"]) is None:
        return "Kaggle says nothing of hours of GPU"
    renewed = f"; counted anew {quota['renewed'][:16].replace('T', ' ')} UTC" if quota["renewed"] else ""
    return f"{gpu['left']:.1f} of {gpu['allowed']:.0f} hours of GPU are left this week{renewed}"


def ask_quota(kaggle: Kaggle) -> dict[str, Any] | None:
    """Return the week's hours; None, with a warning, where they cannot be asked for: a push does without."""
    try:
        quota = kaggle.read("quota")
    except (KaggleFailure, KaggleRefusal) as error:
        warn(str(error))
        return None
    if quota is None:
        warn(
            "this kaggle client tells neither the hours of GPU that are left nor the log of a session that runs: "
            f"kaggle 2.2.3 or newer does; {pip_command('-U kaggle')}"
        )
    return quota


def read_hours(quota: dict[str, Any] | None, hours: float, with_gpu: bool) -> float:
    """Return the hours that a training may take: those asked for, or what the week's quota leaves.

    InputError where it leaves none, or where the session would end before the time limit.
    """
    if hours > LONGEST_HOURS:
        raise InputError(
            f"--time-limit {hours:g}h: a session of Kaggle ends after {SESSION_HOURS:g} hours, and packing takes some; "
            f"{LONGEST_HOURS:g}h at most"
        )
    gpu = (quota or {}).get("gpu")
    if not with_gpu or gpu is None:
        return hours
    left = gpu["left"] - QUOTA_SPARE_HOURS
    if left <= 0:
        raise InputError(
            f"{describe_quota(quota)}: too few to train; nothing was sent. Wait, or push to a CPU: --accelerator none"
        )
    if left < hours:
        warn(f"the week's quota ends before {hours:g} h: the time limit is {left:.1f} h")
    return min(hours, left)


def send_push(
    kaggle: Kaggle,
    prepared: Prepared,
    plan: Plan,
    file: Path,
    hours: float,
    accelerator: str,
    internet: bool,
    changes: Sequence[str] = (),
    seed: int | None = None,
    before: int = 0,
) -> Push:
    """Upload what `pack` wrote and push the notebook; return the push as Kaggle took it. Call it under `pushing`.

    `before` is the version of the notebook that the push was decided upon; 0 where there was none. Where another
    workspace has pushed meanwhile, a warning says so.

    Raises
    ------
    InputError
        When something of it is refused; says what to do.
    KaggleFailure
        When a call fails; the same call goes on.
    """
    competition = prepared.competition
    push = Push(
        token=new_token(),
        stage="packed",
        runs=plan.runs,
        dataset=f"{kaggle.username}/{slug_of(competition.name, '-push')}",
        notebook=name_notebook(kaggle, competition),
        pack=file.name,
        sha256=hash_file(file),
        n_bytes=file.stat().st_size,
        accelerator=accelerator,
        internet=internet,
        competition="" if plan.carries_data else competition.facts.slug or "",
        seconds=3600 * hours,
        changes=list(changes),
        seed=seed,
        begun=now(),
    )
    push = write_push(competition, push)
    push = write_push(competition, _upload(kaggle, push, file))
    push = _push_notebook(kaggle, prepared, push)
    _warn_of_replaced(push, before)
    shutil.rmtree(remote_folder(competition) / OUTBOX, ignore_errors=True)
    return push


def _warn_of_replaced(push: Push, before: int) -> None:
    """Say which versions of a notebook a push has replaced that were not there when it was decided upon."""
    if replaced := list(range(before + 1, push.notebook_version or 0)):
        versions = f"version{'s' if len(replaced) > 1 else ''} {', '.join(map(str, replaced))}"
        warn(
            f"{push.notebook}: another workspace pushed {versions} while this push was under way, and version "
            f"{push.notebook_version} replaces {'them' if len(replaced) > 1 else 'it'}: no pull there can take what its"
            f" session leaves, which stays at https://www.kaggle.com/code/{push.notebook} under Versions; push there "
            "again once this push is taken"
        )


def name_notebook(kaggle: Kaggle, competition: Competition) -> str:
    """Return OWNER/SLUG of the notebook that trains a competition's runs."""
    return f"{kaggle.username}/{slug_of(competition.name, '-remote')}"


@dataclass(frozen=True)
class Earlier:
    """Hold the newest push of this workspace, and what Kaggle has of the notebook.

    Parameters
    ----------
    push
        None where there is none.
    notebook
        OWNER/SLUG.
    status
        Kaggle's word; empty where there is no such notebook.
    version
        Its newest version's number; 0 where there is no such notebook.
    is_ours
        Whether its newest version is the push.
    is_known
        Whether its newest version was pushed from this workspace.
    """

    push: Push | None
    notebook: str
    status: str
    version: int
    is_ours: bool
    is_known: bool


def find_earlier(kaggle: Kaggle, competition: Competition) -> Earlier:
    """Look for the newest push at Kaggle, which tells whether it arrived, whatever was lost; nothing is written."""
    notebook, push = name_notebook(kaggle, competition), read_push(competition)
    found = kaggle.read("find_notebook", notebook=notebook)
    if found is None:
        is_ours = is_known = False
    else:
        is_ours = push is not None and push.token in found["source"]
        is_known = is_ours or any(token in found["source"] for token in list_tokens(competition))
    if push is not None and push.stage in ("packed", "uploaded", "sending"):
        if found and is_ours:
            push = push.at("sent", notebook_version=found["version"])
        elif push.stage == "sending":
            push = push.at("uploaded")
    status, version = (found["status"], found["version"]) if found else ("", 0)
    return Earlier(push, notebook, status, version, is_ours, is_known)


def check_earlier(competition: Competition, earlier: Earlier, replaces: bool = False) -> None:
    """Refuse a push before the earlier one has ended and was taken; InputError says what is first.

    With `replaces` the ended session of another workspace gives way.
    """
    push, status, notebook = earlier.push, earlier.status, earlier.notebook
    if push is not None and push.stage == "sent" and earlier.is_ours:
        of = f"the push of {push.begun} UTC ({some(push.runs)})"
        if status in ACTIVE:
            raise InputError(
                f"{of} is {status} at Kaggle: nothing was sent; {competition.command('remote status')} shows it"
            )
        raise InputError(
            f"{of} has ended and was not taken: nothing was sent; {competition.command('remote pull')} first, or "
            f"{competition.command('remote pull', '--discard')} where it cannot be taken"
        )
    if status in ACTIVE and not earlier.is_ours:
        raise InputError(
            f"{notebook} is {status} at Kaggle, pushed from another workspace: nothing was sent; wait for it "
            f"to end, or stop it at https://www.kaggle.com/code/{notebook}"
        )
    if status and not earlier.is_known and not replaces:
        raise InputError(
            f"{notebook} at Kaggle was pushed from another workspace, and what its session left may not be taken yet: "
            f"nothing was sent; pull there first, or {competition.command('remote push', '--replace')}"
        )


def _upload(kaggle: Kaggle, push: Push, file: Path) -> Push:
    """Upload the file as the dataset's newest version, unless it is there; return the push once Kaggle has it ready."""
    found = kaggle.read("find_dataset", dataset=push.dataset)
    if found is not None:
        _check_private(found, push)
    if not _has(found, push):
        stage("upload", f"{push.n_bytes / 1e6:,.1f} MB to the private dataset {push.dataset}")
        title = push.dataset.partition("/")[2].replace("-", " ")
        facts = {"id": push.dataset, "title": title, "licenses": [{"name": "other"}]}
        write_json(file.parent / "dataset-metadata.json", facts)
        asked = {"folder": str(file.parent), "is_new": found is None, "notes": push.pack}
        reply = kaggle.write("upload_dataset", push.n_bytes, **asked)
        if reply["error"]:
            raise RuntimeError(f"Kaggle did not take the dataset {push.dataset}: {reply['error']}; push again")
        found = _wait(kaggle, push, 0 if found is None else found["version"])
    else:
        stage("upload", f"{push.dataset} at Kaggle has it already")
    assert found is not None
    _check_private(found, push)
    return push.at("uploaded", dataset_version=found["version"])


def _check_private(found: dict[str, Any], push: Push) -> None:
    """Refuse a dataset that everyone may read, before anything is uploaded into it."""
    if not found["is_private"]:
        raise InputError(
            f"the dataset {push.dataset} is public, so the push stopped: make it private at "
            f"https://www.kaggle.com/datasets/{push.dataset}/settings, then push again"
        )


def _has(found: dict[str, Any] | None, push: Push) -> bool:
    """Return whether Kaggle has the file ready; its name is its content, and the script checks its SHA-256."""
    return found is not None and found["status"] == "ready" and push.pack in found["files"]


def _wait(kaggle: Kaggle, push: Push, before: int) -> dict[str, Any]:
    """Wait until the version of the dataset that follows `before` is ready; return it."""
    until, lacking_since = time.monotonic() + READY_SECONDS, math.inf
    while not _has(found := kaggle.read("find_dataset", dataset=push.dataset), push):
        status, version = (found["status"], found["version"]) if found else ("absent", 0)
        is_lacking = status == "ready" and version > before
        lacking_since = min(lacking_since, time.monotonic()) if is_lacking else math.inf
        if status == "failed" or time.monotonic() - lacking_since > LAG_SECONDS:
            raise RuntimeError(
                f"the upload did not arrive whole: {push.dataset} is {status} without {push.pack}; push again"
            )
        if time.monotonic() > until:
            raise RuntimeError(
                f"the dataset {push.dataset} is not ready after {READY_SECONDS / 60:.0f} minutes ({status}); push "
                "again later: what was uploaded is not sent twice"
            )
        time.sleep(LOOK_SECONDS)
    assert found is not None  # else it would not have the file
    return found


def _push_notebook(kaggle: Kaggle, prepared: Prepared, push: Push) -> Push:
    """Push the notebook, which starts its session; return the push as Kaggle took it."""
    competition = prepared.competition
    push = write_push(competition, push.at("sending"))
    with tempfile.TemporaryDirectory(prefix=".notebook.", dir=remote_folder(competition)) as made:
        write_notebook(Path(made), push)
        try:
            reply = kaggle.write("push_notebook", folder=made)
        except (KaggleRefusal, KaggleFailure) as error:
            if error.failure.is_refusal:
                write_push(competition, push.at("uploaded"))
                raise
            found = kaggle.read("find_notebook", notebook=push.notebook)  # the push may have arrived all the same
            if found is None or push.token not in found["source"]:
                raise  # it stays "sending": Kaggle may show it later
            note(f"the answer was lost ({error.failure.kind}), but Kaggle has the push")
            url = f"https://www.kaggle.com/code/{push.notebook}"
            reply = {"version": found["version"], "url": url, "error": "", "refused": {}}
    if reply["error"]:
        write_push(competition, push.at("uploaded"))
        cause = find_notebook_refusal(reply["error"])
        raise InputError(
            f"Kaggle did not start the notebook: {cause or 'see its words'} (Kaggle says: {reply['error']}); push "
            "again then, the dataset is there"
        )
    push = push.at("sent", notebook_version=reply["version"], url=reply["url"])
    if any(reply["refused"].values()):
        write_push(competition, push.at("refused"))
        (remote_folder(competition) / push.token).mkdir(exist_ok=True)  # known as this workspace's from here on
        raise InputError(_explain_refused(push, reply["refused"]))
    return write_push(competition, push)


def _explain_refused(push: Push, refused: dict[str, list[str]]) -> str:
    """Say which sources Kaggle left out of a notebook that it started all the same."""
    lines = []
    if refused.get("competition"):
        rules = f"https://www.kaggle.com/competitions/{push.competition}/rules"
        lines.append(f"the data of {some(refused['competition'])} (accept the rules first: {rules})")
    if refused.get("dataset"):
        lines.append(f"the dataset {some(refused['dataset'])} (is it there? https://www.kaggle.com/{push.dataset})")
    return (
        f"Kaggle started the notebook without {' and '.join(lines)}, so that it ends at once and trains nothing; mend "
        "that and push again: the dataset is not uploaded twice"
    )


def write_notebook(folder: Path, push: Push) -> None:
    """Write the script of a push and the metadata with which Kaggle's client pushes it: private, sources attached."""
    told = {"token": push.token, "pack": push.pack, "sha256": push.sha256, "seconds": push.seconds}
    told |= {"internet": push.internet, "grace": GRACE_SECONDS, "threads": count_threads(), "core": find_openblas()}
    if told["core"] not in NEEDED:
        note(
            f"Kaggle's session cannot be given the linear algebra of this machine ({list_kernels()['blas']}): its "
            "predictions may differ in the last digits from those made here"
        )
    script = SCRIPT.read_text(encoding="utf-8").replace("PUSH = {}", f"PUSH = {told!r}", 1)
    (folder / CODE_FILE).write_text(script, encoding="utf-8")
    facts = {
        "id": push.notebook,
        "title": push.notebook.partition("/")[2].replace("-", " "),
        "code_file": CODE_FILE,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": bool(push.accelerator),
        "enable_tpu": False,
        "enable_internet": push.internet,
        "dataset_sources": [push.dataset],
        "competition_sources": [push.competition] if push.competition else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    if push.accelerator:
        facts["machine_shape"] = push.accelerator
    write_json(folder / "kernel-metadata.json", facts)
