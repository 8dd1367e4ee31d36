"""Prepare a competition: from its files to what runs need, the pool of usable images, their labels and folds.

Reads the data folder, the audit's cache and the fold file (written where there is none). Every command that computes
begins here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import HOME, Competition
from kit.core.errors import InputError, nearest, some
from kit.core.files import Workspace, key_of
from kit.core.names import MULTILABEL
from kit.core.shapes import Folds, Groups, Labels, Rows, Vectors
from kit.core.terminal import stage, warn
from kit.data.audit import Audit, summarise_audit
from kit.data.audit.duplicates import group_near_duplicates
from kit.data.audit.facts import audit_files
from kit.data.folds import fold_groups, scored_folds
from kit.data.folds.file import join_copies, read_folds, read_groups
from kit.data.greys import Range, settle_greys
from kit.data.images import SPLITS, Images, Pool
from kit.data.table import read_classes, read_table
from kit.data.table.embeddings import read_embeddings
from kit.data.table.labels import read_multi_hot
from kit.data.table.sources import check_root
from kit.data.table.tree import read_hierarchy
from kit.scoring.hierarchy import Hierarchy
from kit.scoring.metrics import Classes, Metric, check_metric_classes


@dataclass(frozen=True)
class Prepared:
    """Hold a prepared competition: its files are read and checked, its images have folds, runs can begin.

    The pool holds all usable images without labels. Labels and folds stand apart from it, in the order of `labeled`.

    Parameters
    ----------
    labeled
        Positions of the labelled images in the pool.
    labels
        (n_labeled,) class codes; with several labels per image (n_labeled, n_classes) int8 of 0 and 1.
    scored
        The folds that are scored.
    broken_test
        Ids of test images that cannot be read; the submission gives them the class prior.
    findings
        What the audit of the files found, without the probe; None where no files were audited.
    greys
        The values of black and white where images have greys of more than 8 bits, else None.
    originals
        The files that such images came as, by those that the pool names.
    fits_idle_pairs
        Whether models of pairs of folds (`kit.runs.store.pairs`) are fitted where they have nothing to choose: those
        with a single setting. What such a run predicts stays the same without; what is expected of what is sent, and
        how an ensemble's score is nested, is then as of runs without pairs.
    """

    competition: Competition
    pool: Pool
    labeled: Rows
    labels: Labels
    folds: Folds
    scored: tuple[int, ...]
    broken_test: tuple[str, ...] = ()
    findings: Audit | None = None
    greys: Range | None = None
    originals: dict[str, str] = field(default_factory=dict)
    fits_idle_pairs: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.pool.classes

    @property
    def metric(self) -> Metric:
        """Return the metric, which knows of the classes what it has to; InputError where it is not defined on them."""
        return self.competition.metric.for_classes(describe_classes(self.competition, self.classes))

    @property
    def hierarchy(self) -> Hierarchy | None:
        """Return the hierarchy of the classes, or None."""
        return self.pool.hierarchy

    @property
    def fold_key(self) -> str:
        """Return the key of labels, folds and which of them are scored."""
        ids, groups = self.pool.ids[self.labeled], self.pool.groups[self.labeled]
        _, groups = np.unique(groups, return_inverse=True)  # they decide the hold-outs of early stopping
        parts = (list(ids), self.labels.tolist(), self.folds.tolist(), groups.tolist(), self.scored, self.classes)
        return key_of(*parts)

    @property
    def scored_rows(self) -> Rows:
        """Return the positions, within the labelled images, of those that are scored."""
        return np.flatnonzero(np.isin(self.folds, self.scored))

    @property
    def scored_groups(self) -> Groups:
        """Return the groups of the scored images, in the order of `scored_rows`."""
        return self.pool.groups[self.labeled[self.scored_rows]]

    @property
    def root(self) -> Path:
        """Return the folder of the workspace."""
        return self.competition.workspace.root

    @property
    def hidden(self) -> tuple[Path, ...]:
        """Return the files that no task may read, wherever it runs: the solution, or the archive that it lies in."""
        if self.competition.data.solution is None:
            return ()
        file = self.competition.root / self.competition.data.solution
        return file, *(parent for parent in file.parents if parent.is_file())

    def moved(self, move: Callable[[str | Path], Path]) -> Prepared:
        """Return the competition as it lies on another machine; `move` says where a file lies there."""
        workspace = Workspace(move(self.root))
        competition = self.competition.model_copy(
            update={"folder": move(self.competition.folder), "workspace": workspace}
        )
        pool = replace(
            self.pool,
            paths=np.array([str(move(path)) for path in self.pool.paths], dtype=object),
            cache=workspace.cache(competition.name),
            prompts=competition.folder / "prompts",
            lookup=competition.lookup,
        )
        return replace(self, competition=competition, pool=pool)

    def split(self, name: str) -> Rows:
        """Return the pool's positions of one split."""
        return np.flatnonzero(self.pool.splits == name)

    def fold_labels(self, fold: int) -> Labels:
        """Return the labels of a fold's images."""
        return self.labels[self.folds == fold]

    def training(self, fold: int) -> Images:
        """Return the labelled images outside a fold, with their labels."""
        outside = self.folds != fold
        return self.pool.select(self.labeled[outside], self.labels[outside])

    def held_out(self, fold: int) -> Images:
        """Return a fold's images, labels withheld."""
        return self.pool.select(self.labeled[self.folds == fold])

    def unlabeled(self, fold: int, use_test_images: bool) -> Images:
        """Return the unlabelled images; with `use_test_images` the test images and the fold's images join them."""
        rows = self.split("unlabeled")
        if use_test_images:
            rows = np.concatenate([rows, self.split("test"), self.labeled[self.folds == fold]])
        return self.pool.select(rows)


def prepare(competition: Competition, keep_folds: bool = True, groups: dict[str, str] | None = None) -> Prepared:
    """Read the files of a competition, leave out what is broken, and read or assign its folds.

    Folds that are assigned are written with `keep_folds`; `groups` of look-alikes, by the labelled images' ids, are
    tried in place of those in the file.

    Raises
    ------
    InputError
        When files, labels, ids or the fold file are not in order; names the file and the row.
    """
    metric = competition.metric  # one that the user wrote is opened now, before any work
    make_data(competition)
    check_root(competition)
    _check_files(competition)
    table = read_table(competition)
    cache = competition.workspace.cache(competition.name)
    facts = audit_files(table, cache)
    broken = facts["problem"].notna().to_numpy()
    _report_broken(table.loc[broken], facts)
    settled = settle_greys(table, facts, cache, competition.data.greys)
    seen = table.assign(path=settled.paths, digest=settled.digests)
    usable: pd.DataFrame = table.loc[~broken].reset_index(drop=True)
    clusters = group_near_duplicates(table, facts, cache)
    findings = summarise_audit(competition, table, facts, clusters)
    clusters = join_copies(competition, usable, clusters[~broken])
    is_labeled = (usable["split"] == "labeled").to_numpy()
    task = competition.facts.task
    classes = read_classes(table, task)
    _check_metric(competition, metric, classes)
    labels = _read_codes(usable.loc[is_labeled, "label"], classes, task)
    _announce(competition, usable, classes)
    committed = committed_folds(competition)
    if (alike := read_groups(competition, usable, committed, groups)) is not None:
        clusters = fold_groups(usable.assign(group=alike), clusters)
    broken_ids = {split: tuple(rows["id"]) for split, rows in table.loc[broken].groupby("split")}
    folds = read_folds(competition, usable, clusters, committed, broken_ids.get("labeled", ()), keep_folds)[is_labeled]
    embeddings = read_embeddings(competition, table)
    return Prepared(
        competition,
        _make_pool(
            competition,
            seen.loc[~broken].reset_index(drop=True),
            fold_groups(usable, clusters),
            classes,
            None if embeddings is None else embeddings[~broken],
        ),
        np.flatnonzero(is_labeled),
        labels,
        folds,
        scored_folds(competition, folds),
        broken_ids.get("test", ()),
        findings,
        settled.range,
        settled.originals,
    )


def _make_pool(
    competition: Competition, usable: pd.DataFrame, groups: Groups, classes: tuple[str, ...], embeddings: Vectors | None
) -> Pool:
    """Return the pool of the usable images, rows of the image table with their digests."""
    task = competition.facts.task
    return Pool(
        **{f"{name}s": usable[name].to_numpy(dtype=object) for name in ("id", "split", "path", "digest")},
        groups=groups,
        classes=classes,
        cache=competition.workspace.cache(competition.name),
        prompts=competition.folder / "prompts",
        lookup=competition.lookup,
        embeddings=embeddings,
        task=task,
        hierarchy=read_hierarchy(competition, classes, task == MULTILABEL),
    )


def _announce(competition: Competition, usable: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Say how many images and classes there are."""
    counts = (f"{(usable['split'] == split).sum():,} {split}" for split in SPLITS)
    stage("images", f"{competition.name}: {len(classes)} classes, {', '.join(counts)}")


def _read_codes(labels: pd.Series, classes: tuple[str, ...], task: str) -> Labels:
    """Return the labels of the labelled images as numbers."""
    if task == MULTILABEL:
        return read_multi_hot(labels.tolist(), classes)
    return pd.Categorical(labels, categories=classes).codes.astype(np.int64)


def describe_classes(competition: Competition, names: tuple[str, ...]) -> Classes:
    """Return what competition.toml tells a metric of the classes."""
    return Classes(names, competition.submission.positive, tuple(competition.facts.order or ()))


def _check_metric(competition: Competition, metric: Metric, names: tuple[str, ...]) -> None:
    """Refuse a metric that is not defined on the classes, and a positive class that is none of two."""
    positive = competition.submission.positive
    try:
        if positive is not None and (len(names) != 2 or competition.facts.task == MULTILABEL):
            raise InputError(f"[submission] positive = {positive!r} is of two classes, one per image; take it out")
        if positive is not None and positive not in names:
            raise InputError(f"[submission] positive = {positive!r} is no class; {nearest(positive, names)}")
        check_metric_classes(metric, describe_classes(competition, names))
    except InputError as error:
        raise InputError(f"{competition.file}: {error}") from error


def _check_files(competition: Competition) -> None:
    """Refuse missing files now that are read only at the end; the solution is not opened."""
    for key in ("sample_submission", "solution"):
        name = getattr(competition.data, key)
        if name is not None and not (competition.root / name).is_file():
            files = [path.name for path in competition.root.glob("*.csv")]
            hint = nearest(name, files) if files else "put it there, or leave the key out"
            raise InputError(f"{competition.root / name}: [data] {key} is not there; {hint}")


def make_data(competition: Competition) -> None:
    """Write the data of an embedded competition, once."""
    if competition.data.embedded == "digits":
        from kit.data.digits import write_digits

        write_digits(competition.root)


def committed_folds(competition: Competition) -> Path | None:
    """Return the fold file that came with the kit, for competitions that came with it."""
    return HOME.parents[1] / "folds" / f"{competition.name}.csv" if competition.folder.parent == HOME else None


def _report_broken(table: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Name the images that are left out."""
    for split, rows in table.groupby("split"):
        named = [f"{path} ({facts.at[row, 'problem']})" for row, path in rows["path"].head(5).items()]
        fate = "they get the class prior in the submission" if split == "test" else "left out"
        warn(f"{len(rows)} broken {split} images, {fate}: {some(named)}")
