"""Predict a competition's test images with nothing but a bundle: the files of the competition -> submission.csv.

Reads a bundle and the test images; writes the submission, and caches in a temporary folder. Images are predicted in
chunks and models loaded one at a time, so that memory and disk do not grow with the test set, but for about 1 KB per
image and its probabilities. Models that keep no weights are fitted anew, once, on the training images' features in the
bundle. Those that use an image's neighbours have their graph made anew, once all chunks have been encoded: with the
new test images as nodes where the run uses test images.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition, EnsemblePlan, Folds
from kit.config.data import Listing
from kit.core.errors import InputError, nearest, some
from kit.core.files import Workspace, write_atomic
from kit.core.terminal import note, warn
from kit.data.audit.facts import audit_files
from kit.data.greys import settle_greys
from kit.data.prepared import Prepared
from kit.data.table import read_test
from kit.data.table.scan import read_csv
from kit.data.table.sources import list_folders
from kit.kaggle.bundle.manifest import Bundle, read_bundle
from kit.kaggle.bundle.member_predictions import NOBODY, MemberPredictions, hierarchy_of, pool_of
from kit.kaggle.bundle.out_of_distribution import Rejecter
from kit.kaggle.submission import add_broken, check_submission, fill, read_sample, write_table
from kit.scoring.predictions import Predictions
from kit.scoring.thresholds import apply_thresholds

IMAGES_PER_CHUNK = 4096  # images predicted at a time
DATA_DEPTH = 3  # folders below the input in which the competition's files are looked for


def predict_bundle(folder: Path, inputs: Path, output: Path, chunk: int = IMAGES_PER_CHUNK) -> Path:
    """Predict the test images below a folder; write the submission that its sample file asks for, and check it.

    Parameters
    ----------
    inputs
        The folder of the competition's files, or one a few levels above: ``/kaggle/input``.

    Raises
    ------
    InputError
        When the bundle is not whole or was edited, an encoder's preprocessing is another, the competition's files are
        not found, there is no test image, or the table that was written is not what the sample asks for.
    """
    bundle = read_bundle(folder)
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        root = find_data(inputs, bundle)
        competition = as_competition(bundle, folder, root, Path(scratch))
        table = read_test(competition)
        ready = as_prepared(bundle, competition, table)
        sample = read_sample(ready)  # one that does not fit must not be found out after hours
        note(f"{len(table)} test images in {root}; {len(bundle.members)} runs of {len(bundle.members[0].folds)} folds")
        _, decided = predict_table(bundle, competition, table, chunk)
        text = write_table(sample, fill(ready, sample, decided))
        with write_atomic(output, "w") as file:
            file.write(text)
    check_submission(ready, sample, read_csv(output))
    return output


def find_data(inputs: Path, bundle: Bundle) -> Path:
    """Return the folder that holds the competition's test images and sample submission.

    Raises
    ------
    InputError
        When there is none, or several that do not have the competition's name.
    """
    test = bundle.data.test
    wanted = list_folders(test) + ([test.csv] if isinstance(test, Listing) and test.csv else [])
    wanted += [bundle.data.sample_submission] if bundle.data.sample_submission else []
    complete = [path for path in _folders(inputs, DATA_DEPTH) if all((path / name).exists() for name in wanted)]
    slug = (bundle.facts.slug or "").rstrip("/").rpartition("/")[2]
    named = [path for path in complete if slug and slug in path.parts] or complete
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(f"{inputs}: several folders hold {some(wanted)}: {some(named)}; leave one of them")
    present = [path.name for path in inputs.iterdir()] if inputs.is_dir() else []
    raise InputError(
        f"{inputs}: no folder in it holds {some(wanted)}; attach the competition's data; {nearest(slug, present)}"
    )


def as_competition(bundle: Bundle, folder: Path, root: Path, scratch: Path) -> Competition:
    """Return a bundle's competition: its runs and test images, in a workspace that is thrown away."""
    return Competition(
        name=bundle.competition,
        folder=folder.resolve(),
        workspace=Workspace(scratch),
        facts=bundle.facts,
        data=bundle.data.model_copy(update={"root": str(root.resolve())}),
        folds=Folds(),
        runs={member.name: member.run for member in bundle.members},
        ensemble=EnsemblePlan(),
        decision=bundle.decision.plan,
        submission=bundle.submission,
    )


def as_prepared(bundle: Bundle, competition: Competition, table: pd.DataFrame) -> Prepared:
    """Return a bundle's competition with the images of a table, none of which has a label."""
    return Prepared(competition, pool_of(competition, bundle, table), NOBODY, NOBODY, NOBODY, ())


def predict_table(
    bundle: Bundle, competition: Competition, table: pd.DataFrame, chunk: int = IMAGES_PER_CHUNK
) -> tuple[Predictions, Predictions]:
    """Predict the images of a table of id, path and split; return the members' mixture, and the decisions.

    The mixture is of the images that can be read, the decisions of all: broken images get the class prior, and one half
    is the threshold where an image may have several labels.
    """
    cache = competition.workspace.cache(competition.name)
    facts = audit_files(table.assign(label=None), cache)
    broken = facts["problem"].notna().to_numpy()
    rule = bundle.decision.rule
    rejecter = None if rule is None else Rejecter(rule, competition.folder)
    members = MemberPredictions(bundle, competition, rejecter)
    settled = settle_greys(table, facts, cache, competition.data.greys)
    usable = table.assign(path=settled.paths).iloc[np.flatnonzero(~broken)]
    digests = np.array(settled.digests, dtype=object)[~broken]
    for start in range(0, len(usable), chunk):
        part = slice(start, start + chunk)
        members.add(pool_of(competition, bundle, usable.iloc[part], digests[part]))
        for made in ("features", "store"):
            shutil.rmtree(cache / made, ignore_errors=True)
        note(f"{min(start + chunk, len(usable))} of {len(usable)} images predicted")
    mixture = members.mixture()
    decided = _decide(bundle, competition, mixture, rejecter)
    if broken.any():
        shown = some(table["path"].to_numpy()[broken], 3)
        warn(f"{int(broken.sum())} broken test images get the class prior: {shown}")
        decided = add_broken(decided, table["id"].to_numpy(dtype=object)[broken], np.array(bundle.prior))
    return mixture, decided


def _decide(bundle: Bundle, competition: Competition, mixture: Predictions, rejecter: Rejecter | None) -> Predictions:
    """Return the decisions for images as `kit.runs.decide.decisions` makes them, by what the bundle carries."""
    none = competition.decision.none_of_these
    if rejecter is not None and none is not None:
        return rejecter.reject(mixture, none)
    if bundle.decision.thresholds is None:
        return mixture
    proba = apply_thresholds(mixture.proba, np.array(bundle.decision.thresholds), hierarchy_of(bundle))
    return replace(mixture, proba=proba)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield a folder and those below it, down to a depth."""
    if not folder.is_dir():
        return
    yield folder
    if depth:
        with os.scandir(folder) as entries:
            inside = sorted(entry.name for entry in entries if entry.is_dir())
        for name in inside:
            yield from _folders(folder / name, depth - 1)
