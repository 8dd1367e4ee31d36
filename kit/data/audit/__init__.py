"""The check of a competition's files: which are broken or odd, which are duplicates, whether test looks like train.

Reads the facts of the files and the clusters of near-duplicates; writes nothing but what `kit.data.audit.facts` keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.config.competition import Competition
from kit.core import terminal
from kit.core.names import MULTILABEL
from kit.core.shapes import Groups
from kit.data.audit.drift import Probe, tell_apart
from kit.data.audit.duplicates import find_clusters, list_images, name_some_images
from kit.data.audit.facts import audit_files
from kit.data.audit.image_file import SEPARATOR
from kit.data.folds import fold_groups
from kit.data.images import SPLITS
from kit.data.table.labels import split_labels
from kit.data.table.listing import list_unnamed

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from rich.table import Table

N_SHOWN = 5  # lines of each kind in the report: five kinds, 25 lines in all
N_CLASSES = 25  # whose images are counted one by one
NO_LABEL = "(no label)"  # stands for images of which is known that they show no class


@dataclass(frozen=True)
class Audit:
    """Hold what the check of a competition's files found.

    Parameters
    ----------
    classes
        Number of labelled images of each class that can be used.
    broken
        ``id, split, label, path, problem`` of each image that cannot be used.
    unnamed
        Image files in a listing's folder that no row of any CSV names.
    remarks
        How many images each remark concerns.
    exact, near
        Clusters of equal files, and of near-duplicates that are not all equal: lists of ``id, split, label``.
    across
        Those of either that hold labelled and test images.
    contradictions
        Those of either that hold different labels.
    refused
        Clusters too large to be duplicates, and so not grouped.
    probe
        Whether test looks like train; None where the probe did not run.
    """

    competition: str
    splits: dict[str, int]
    classes: dict[str, int]
    broken: list[dict[str, Any]]
    unnamed: list[str]
    remarks: dict[str, int]
    exact: list[list[dict[str, Any]]]
    near: list[list[dict[str, Any]]]
    across: list[list[dict[str, Any]]]
    contradictions: list[list[dict[str, Any]]]
    refused: list[list[dict[str, Any]]]
    probe: Probe | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-like values."""
        return asdict(self)

    def print(self) -> None:
        """Print the report on stdout."""
        terminal.out.print(_table_of_classes(self), _table_of_findings(self))
        _print_some("broken", map(_name_broken, self.broken))
        _print_some("no row names it", self.unnamed)
        _print_some("different labels", map(name_some_images, self.contradictions))
        _print_some("labelled and test", map(name_some_images, self.across))
        _print_some("too large to be duplicates, not grouped", map(name_some_images, self.refused))
        if self.probe:
            terminal.out.print(self.probe.verdict, highlight=False)


def audit(competition: Competition, table: pd.DataFrame) -> Audit:
    """Audit the files of a competition's image table; its cache keeps what is measured.

    InputError where no image, or none of a class, can be read.
    """
    cache = competition.workspace.cache(competition.name)
    facts = audit_files(table, cache)
    clusters, refused = find_clusters(table, facts, cache)
    return replace(
        summarise_audit(competition, table, facts, clusters),
        unnamed=list_unnamed(competition, table["path"]),
        refused=[list_images(table.iloc[rows]) for rows in refused],
        probe=ask_probe(table, facts, cache, fold_groups(table, clusters)),
    )


def ask_probe(table: pd.DataFrame, facts: pd.DataFrame, cache: Path, groups: Groups) -> Probe:
    """Return whether the usable test images look like the labelled ones; `groups` are of all images, (n_images,)."""
    compared = (facts["problem"].isna() & table["split"].isin(["labeled", "test"])).to_numpy()
    return tell_apart(table.loc[compared], facts.loc[compared], cache, groups[compared])


def summarise_audit(competition: Competition, table: pd.DataFrame, facts: pd.DataFrame, clusters: Groups) -> Audit:
    """Return what follows from the facts of the files and their clusters at no cost: no file is read, no probe run."""
    usable = facts["problem"].isna()
    exact, near = _list_clusters(table, facts, clusters)
    either = exact + near
    return Audit(
        competition=competition.name,
        splits={split: table["split"].tolist().count(split) for split in SPLITS},
        classes=_count_classes(competition, table.loc[usable & (table["split"] == "labeled"), "label"]),
        broken=_list_broken(table.loc[~usable], facts.loc[~usable]),
        unnamed=[],
        remarks=_count(facts["remark"].dropna().str.split(SEPARATOR).explode()),
        exact=exact,
        near=near,
        across=[cluster for cluster in either if {"labeled", "test"} <= {image["split"] for image in cluster}],
        contradictions=[cluster for cluster in either if len({image["label"] for image in cluster} - {None}) > 1],
        refused=[],
    )


def _count_classes(competition: Competition, labels: pd.Series) -> dict[str, int]:
    """Count the images of each class; with several labels per image also those without any."""
    if competition.facts.task != MULTILABEL:
        return _count(labels)
    nothing = int((labels == "").sum())
    return _count(labels.map(split_labels).explode().dropna()) | ({NO_LABEL: nothing} if nothing else {})


def _count(values: pd.Series) -> dict[str, int]:
    """Count each value, in alphabetical order."""
    return {str(value): int(n) for value, n in values.value_counts().sort_index().items()}


def _list_broken(table: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the images that cannot be used, each with its file and what is wrong with it."""
    rows = zip(list_images(table), table["path"], facts["problem"], strict=True)
    return [image | {"path": path, "problem": problem} for image, path, problem in rows]


def _list_clusters(table: pd.DataFrame, facts: pd.DataFrame, clusters: Groups) -> tuple[list[Any], list[Any]]:
    """Return the clusters of equal files and those of near-duplicates, as lists of images."""
    rows = np.flatnonzero(np.bincount(clusters)[clusters] > 1)
    images = table.iloc[rows].assign(digest=facts["digest"].to_numpy()[rows])
    exact, near = [], []
    for _, members in images.groupby(clusters[rows]):
        equal = [same for _, same in members.groupby("digest", sort=False)]
        exact += [list_images(same) for same in equal if len(same) > 1]
        if len(equal) > 1:
            near.append(list_images(members))
    return exact, near


def _name_broken(image: dict[str, Any]) -> str:
    """Return what is wrong with an image that cannot be used, and what becomes of it."""
    fate = "gets the class prior in the submission" if image["split"] == "test" else "left out"
    return f"{image['split']} {image['id']}: {image['problem']}; {fate}"


def _print_some(title: str, findings: Iterable[str]) -> None:
    """Print the first few findings of a kind, and how many more there are."""
    findings = list(findings)
    for finding in findings[:N_SHOWN]:
        terminal.out.print(terminal.escape(f"{title}: {finding}"), highlight=False)
    if len(findings) > N_SHOWN:
        terminal.out.print(f"{title}: ... and {len(findings) - N_SHOWN} more; --json lists all")


def _table_of_classes(report: Audit) -> Table:
    """Return the images per split and class."""
    table = terminal.empty_table(f"{report.competition}: images")
    table.add_column("split")
    table.add_column("class", overflow="fold")
    table.add_column("images", justify="right")
    for name, n_images in list(report.classes.items())[:N_CLASSES]:
        table.add_row("labeled", terminal.escape(name), str(n_images))
    if len(report.classes) > N_CLASSES:
        rest = sum(list(report.classes.values())[N_CLASSES:])
        table.add_row("labeled", f"... and {len(report.classes) - N_CLASSES} more; --json has all", str(rest))
    for split, n_images in report.splits.items():
        table.add_row(split, "all, broken ones too", str(n_images), style="bold")
    return table


def _table_of_findings(report: Audit) -> Table:
    """Return what was found, counted."""
    table = terminal.empty_table("findings")
    table.add_column("what", overflow="fold")
    table.add_column("count", justify="right", overflow="fold")
    for split, n_images in Counter(image["split"] for image in report.broken).items():
        table.add_row(f"broken files, {split}", str(n_images))
    if report.unnamed:
        table.add_row("files that no row names", str(len(report.unnamed)))
    for remark, n_images in report.remarks.items():
        table.add_row(terminal.escape(remark), str(n_images))
    for what, clusters in (
        ("equal files", report.exact),
        ("near-duplicates", report.near),
        ("duplicates across labeled and test", report.across),
        ("duplicates with different labels", report.contradictions),
    ):
        n_images = sum(map(len, clusters))
        table.add_row(what, f"{n_images} in {len(clusters)} clusters" if clusters else "0")
    return table
