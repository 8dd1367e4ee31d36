"""Write a bundle, and try it out before it is handed over.

Reads finished runs; writes ``runs/NAME/bundle/WHAT/``, whole or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit import __version__
from kit.core.errors import InputError
from kit.core.files import hash_file
from kit.core.names import ENSEMBLE
from kit.core.wheel import write_wheel
from kit.data.prepared import Prepared
from kit.data.table.sources import name_key
from kit.features.cache import GIVEN
from kit.kaggle.bundle.contents import Contents
from kit.kaggle.bundle.manifest import FORMAT, Bundle, CarriedDecision, Member, write_manifest
from kit.kaggle.bundle.members import BundledRun, choose_members
from kit.kaggle.bundle.notebook import write_notebook
from kit.kaggle.bundle.trial import BundleTrial, try_out
from kit.kaggle.bundle.wheels import OF_OPEN_CLIP, PINNED, fetch_wheels, pin, versions_of
from kit.kaggle.submission import class_prior
from kit.runs.store import Result

PACKAGES = ("torch", "torchvision", "timm", "scikit-learn", "scipy", "numpy", "pandas", "pyarrow", "pydantic")
PACKAGES += ("pillow", "safetensors", "rich", "filelock")  # all that the kit imports to predict
OF_BOTH = ("regex", "wcwidth", "huggingface_hub")  # what those import, and other packages of Kaggle's image too
HEAD = "# what Kaggle's image is {how} to lack or to have in another version; inference.py checks it first\n"


@dataclass(frozen=True)
class WrittenBundle:
    """Point to a bundle, and tell how the trial went.

    Parameters
    ----------
    members
        Weight by run.
    addresses
        ``dataset`` and ``kernel``: OWNER/SLUG at Kaggle.
    wanted
        Pinned packages that Kaggle's image lacks, as far as known; empty where their wheels are in the bundle.
    """

    folder: Path
    members: dict[str, float]
    addresses: dict[str, str]
    wanted: list[str]
    n_bytes: int
    trial: BundleTrial


def write_bundle(
    prepared: Prepared,
    results: list[Result],
    owner: str,
    drop: bool = False,
    with_wheels: bool = False,
    what: str = ENSEMBLE,
    lacks: Sequence[str] | None = None,
) -> WrittenBundle:
    """Write a bundle of one run, or of an ensemble's members, and try it out.

    Parameters
    ----------
    drop
        Leave out members that cannot go.
    with_wheels
        Fetch the wheels that Kaggle's image lacks.
    what
        Name of a bundle of several runs; a single run gives the bundle its name.
    lacks
        Packages that Kaggle's image lacks, in place of those that are assumed; an empty name means none.

    Raises
    ------
    InputError
        When there is no run or no test image, a run cannot go, or a wheel cannot be fetched.
    MissingWeights
        When an encoder's weights are not on this machine as safetensors.
    RuntimeError
        When the bundle does not predict what the runs predicted.
    """
    if not results:
        raise InputError(f"no finished run to bundle; {prepared.competition.command('all')} makes them")
    if not len(prepared.split("test")):
        raise InputError(f"{name_key(prepared.competition, 'test')} names no images: a bundle predicts such ones")
    members, whole = choose_members(prepared, results, drop)
    if whole is not None and prepared.competition.decision.encoder == GIVEN:
        raise InputError('[decision] encoder = "given": new test images have no such embeddings; name another encoder')
    what = results[0].name if len(results) == 1 else what
    home = prepared.competition.workspace.runs(prepared.competition.name) / "bundle"
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(".*.part"):  # of a call that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=f".{what}.", suffix=".part", dir=home) as made:
        folder = Path(made) / what
        folder.mkdir()
        addresses, wanted = _write(prepared, members, whole, what, folder, owner, with_wheels, lacks)
        trial = try_out(prepared, members, whole, folder)
        shutil.rmtree(home / what, ignore_errors=True)
        folder.replace(home / what)
    n_bytes = sum(file.stat().st_size for file in (home / what).rglob("*") if file.is_file())
    weights = {member.result.name: member.weight for member in members}
    return WrittenBundle(home / what, weights, addresses, wanted, n_bytes, trial)


def _write(
    prepared: Prepared,
    members: list[BundledRun],
    whole: Result | None,
    what: str,
    folder: Path,
    owner: str,
    with_wheels: bool,
    lacks: Sequence[str] | None,
) -> tuple[dict[str, str], list[str]]:
    """Write everything; return the addresses at Kaggle and the wheels that are wanted."""
    contents, parts, decision = gather(prepared, members, whole, folder)
    libraries = {encoder.text.partition(":")[0] for encoder in contents.encoders}
    pinned = pin([name for key in sorted(libraries) for name in PINNED[key]] if lacks is None else lacks)
    head = HEAD.format(how="assumed" if lacks is None else "said")
    (folder / "requirements.txt").write_text(head + "".join(f"{line}\n" for line in pinned), encoding="utf-8")
    write_wheel(folder / "wheels")
    if with_wheels and pinned:
        fetch_wheels(folder / "wheels", folder / "requirements.txt", "go without --wheels")
    competition = prepared.competition
    name = f"{competition.name} {what}"
    addresses = write_notebook(folder, owner, name, competition.facts.slug, bool(contents.encoders))
    names = [*PACKAGES, *(OF_OPEN_CLIP + OF_BOTH if "open_clip" in libraries else ())]
    write_manifest(folder, describe_contents(prepared, contents, parts, decision, what, folder, versions_of(names)))
    return addresses, [] if with_wheels else pinned


def gather(
    prepared: Prepared, members: list[BundledRun], whole: Result | None, folder: Path
) -> tuple[Contents, list[Member], CarriedDecision]:
    """Write what the members and the decisions need into a folder; return how bundle.json names it."""
    contents = Contents(prepared, folder)
    parts, decision = contents.add(members), contents.decide(whole)
    contents.add_metric()
    return contents, parts, decision


def describe_contents(
    prepared: Prepared,
    contents: Contents,
    members: list[Member],
    decision: CarriedDecision,
    what: str,
    folder: Path,
    versions: dict[str, str],
) -> Bundle:
    """Return the content of bundle.json."""
    competition, hierarchy = prepared.competition, prepared.hierarchy
    needed = sorted(file for file in folder.rglob("*") if file.is_file() and file.parent != folder)
    return Bundle(
        format=FORMAT,
        kit=__version__,
        competition=competition.name,
        facts=competition.facts,
        data=competition.data.model_copy(
            update={"embedded": None, "solution": None, "embeddings": None, "greys": prepared.greys}
        ),
        submission=competition.submission,
        what=what,
        classes=list(prepared.classes),
        parents=hierarchy.parents.tolist() if hierarchy is not None and prepared.pool.is_multilabel else None,
        prior=class_prior(prepared).tolist(),
        decision=decision,
        members=members,
        encoders=contents.encoders,
        words=contents.words,
        training=contents.training,
        requirements=versions,
        files={file.relative_to(folder).as_posix(): hash_file(file) for file in needed},
    )
