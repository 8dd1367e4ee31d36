"""Mine labels: compare the unlabelled images with the exemplars, and give each its nearest class.

Reads the pool that ``[data]`` names and the exemplars of ``[mining]``; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kit.config.competition import Competition, Mining
from kit.core.errors import InputError
from kit.core.shapes import Ids, Rows, Vectors
from kit.core.terminal import note, stage
from kit.curate.mining.exemplars import (
    check_embedded,
    check_exemplar_classes,
    mining_plan,
    place_exemplars,
    read_exemplars,
)
from kit.curate.mining.similarity import Nearest, find_nearest
from kit.data.audit.facts import audit_files
from kit.data.greys import settle_greys
from kit.data.images import Pool
from kit.data.table import read_pool, read_table
from kit.data.table.embeddings import read_embeddings
from kit.features.cache import GIVEN, encode_images

DECIMALS = 4  # of a similarity in a file


@dataclass(frozen=True)
class Mined:
    """Hold the nearest class of every image of the pool; labels follow from a threshold.

    Parameters
    ----------
    classes
        Names of the classes that have exemplars, sorted.
    ids, paths, nearest
        The images that may be mined, their files, and their nearest exemplars.
    """

    competition: Competition
    classes: tuple[str, ...]
    ids: Ids
    paths: Ids
    nearest: Nearest
    exemplar_paths: dict[str, list[str]]

    @property
    def plan(self) -> Mining:
        """Return ``[mining]`` of the competition."""
        return mining_plan(self.competition)

    @property
    def thresholds(self) -> list[float]:
        """Return the thresholds to show, the one to use among them, ascending."""
        return sorted({*self.plan.thresholds, self.plan.threshold})

    def at(self, threshold: float) -> Rows:
        """Return the positions of the images that a threshold labels, nearest first."""
        chosen = self.nearest.cosine >= threshold
        if self.plan.mutual:
            chosen &= self.nearest.is_mutual
        rows = np.flatnonzero(chosen)
        return rows[np.argsort(-self.nearest.cosine[rows], kind="stable")]

    def rows(self, threshold: float) -> list[tuple[str, str, str]]:
        """Return id, label and similarity of the images that a threshold labels, sorted by id."""
        chosen = self.at(threshold)
        labels = [self.classes[code] for code in self.nearest.codes[chosen]]
        similarities = [f"{cosine:.{DECIMALS}f}" for cosine in self.nearest.cosine[chosen]]
        return sorted(zip(self.ids[chosen].tolist(), labels, similarities, strict=True))

    def sweep(self) -> list[dict[str, Any]]:
        """Return what each threshold labels.

        Returns
        -------
        list
            Per threshold: how many are ``mined``; of these how many ``per_class``, how many are ``mutual`` nearest
            neighbours of their exemplar, and how many are ``contested`` by another class above the threshold; how many
            get ``none``.
        """
        rows = []
        for threshold in self.thresholds:
            chosen = self.at(threshold)
            counts = np.bincount(self.nearest.codes[chosen], minlength=len(self.classes))
            rows.append(
                {
                    "threshold": threshold,
                    "mined": len(chosen),
                    "per_class": dict(zip(self.classes, counts.tolist(), strict=True)),
                    "mutual": int(self.nearest.is_mutual[chosen].sum()),
                    "contested": int((self.nearest.runner_up[chosen] >= threshold).sum()),
                    "none": len(self.ids) - len(chosen),
                }
            )
        return rows


def mine_labels(competition: Competition) -> Mined:
    """Compare every unlabelled image with the exemplars.

    Raises
    ------
    InputError
        When an exemplar is not there, cannot be read or has an unknown class, or nothing is left to be mined.
    """
    exemplars = read_exemplars(competition)
    table = read_pool(competition) if competition.data.labels_are_mined else read_table(competition)
    check_exemplar_classes(competition, table, exemplars)
    embeddings = read_embeddings(competition, table)
    table, rows = place_exemplars(competition, table, exemplars)
    plan = mining_plan(competition)
    if plan.encoder == GIVEN:
        check_embedded(competition, embeddings, exemplars, rows)
    facts = audit_files(table, competition.workspace.cache(competition.name))
    for each, row in zip(exemplars, rows, strict=True):
        if pd.notna(facts["problem"].iloc[row]):
            raise InputError(f"{each.place}: {table['path'].iloc[row]} cannot be read ({facts['problem'].iloc[row]})")
    settled = settle_greys(table, facts, competition.workspace.cache(competition.name), competition.data.greys)
    candidates = _find_candidates(table, facts, rows)
    labels = [each.label for each in exemplars]
    classes = tuple(sorted(set(labels)))
    used = np.union1d(candidates, rows)
    seen = table.assign(path=settled.paths, digest=settled.digests)
    pool = _make_pool(competition, seen, classes, used, embeddings)
    values, targets = (
        encode_images(pool.select(np.searchsorted(used, part)), plan.encoder, plan.encoder_args).values
        for part in (candidates, rows)
    )
    codes, floor = np.array([classes.index(label) for label in labels]), min([*plan.thresholds, plan.threshold])
    nearest = find_nearest(values, targets, codes, plan.n_neighbors, floor)
    paths: Ids = table["path"].to_numpy(dtype=object)
    shown: dict[str, list[str]] = {name: [] for name in classes}
    for row, label in zip(rows, labels, strict=True):
        shown[label].append(str(paths[row]))
    ids = table["id"].to_numpy(dtype=object)[candidates]
    stage("mine", f"{competition.name}: {len(exemplars)} exemplars of {len(classes)} classes, {len(ids)} images")
    return Mined(competition, classes, ids, paths[candidates], nearest, shown)


def _find_candidates(table: pd.DataFrame, facts: pd.DataFrame, exemplars: Rows) -> Rows:
    """Return the positions of the images that may be mined: usable, unlabelled, no test image and no exemplar."""
    split, ids, digests = (column.to_numpy(dtype=object) for column in (table["split"], table["id"], facts["digest"]))
    is_test = split == "test"
    is_tested = pd.Series(ids).isin(ids[is_test].tolist()) | pd.Series(digests).isin(digests[is_test].tolist())
    is_shown = pd.Series(digests).isin(digests[exemplars].tolist()).to_numpy()
    possible = (split == "unlabeled") & facts["problem"].isna().to_numpy()
    if n_tested := int((possible & is_tested).sum()):
        note(f"{n_tested} unlabelled images have the id or the bytes of a test image; they are not mined")
    possible &= ~is_tested.to_numpy() & ~is_shown
    if not possible.any():
        raise InputError("there is no image to mine: every unlabelled one is a test image, an exemplar or broken")
    return np.flatnonzero(possible)


def _make_pool(
    competition: Competition,
    table: pd.DataFrame,
    classes: tuple[str, ...],
    rows: Rows,
    embeddings: Vectors | None,
) -> Pool:
    """Return the images at `rows` as a pool that encoders read; a file beside the table has no embedding."""
    if embeddings is not None:
        beside = np.full((len(table) - len(embeddings), embeddings.shape[1]), np.nan, dtype=np.float32)
        embeddings = np.concatenate([embeddings, beside])[rows]
    return Pool(
        ids=table["id"].to_numpy(dtype=object)[rows],
        splits=table["split"].to_numpy(dtype=object)[rows],
        paths=table["path"].to_numpy(dtype=object)[rows],
        digests=table["digest"].to_numpy(dtype=object)[rows],
        groups=np.arange(len(rows)),
        classes=classes,
        cache=competition.workspace.cache(competition.name),
        prompts=competition.folder / "prompts",
        lookup=competition.lookup,
        embeddings=embeddings,
    )
