"""The hierarchy that ``[data] hierarchy`` names: by labels that are paths, or by a CSV file.

Reads the CSV; writes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.config.data import Tree
from kit.core.errors import InputError, some
from kit.core.names import MULTILABEL
from kit.data.table.scan import read_column, read_csv, refuse_empty
from kit.data.table.sources import find_file, name_key
from kit.scoring.hierarchy import NO_PARENT, Hierarchy, Level

HIERARCHY_KEY = "hierarchy"


@dataclass(frozen=True)
class Lineage:
    """Hold what stands above each label.

    Parameters
    ----------
    tree
        ``[data] hierarchy`` of competition.toml.
    file
        The CSV, or competition.toml where labels are paths.
    parents
        The parent of every class that has one, by the CSV.
    known
        All classes that the CSV names; None where it need not name those without a parent.
    level_names
        Names of the CSV's levels above the classes, the coarsest first.
    of_level
        Per class its cell at each of these levels.
    """

    tree: Tree
    file: Path
    parents: dict[str, str]
    known: frozenset[str] | None = None
    level_names: Sequence[str] = ()
    of_level: dict[str, tuple[str, ...]] | None = None

    def chain(self, label: str) -> list[str]:
        """Return a label with all that stands above it, the coarsest first, itself last.

        InputError where a part of a path is empty, or the CSV does not name the label.
        """
        if self.tree.separator is not None:
            parts = label.split(self.tree.separator)
            if not all(part.strip() for part in parts):
                raise InputError(f"label {label!r} has an empty part; write one {self.tree.separator!r} between parts")
            return [self.tree.separator.join(parts[:n]) for n in range(1, len(parts) + 1)]
        if self.known is not None and label not in self.known:
            raise InputError(f"label {label!r} is not in {self.file}; add a row for it")
        chain = [label]
        while chain[0] in self.parents:
            chain.insert(0, self.parents[chain[0]])
        return chain


def read_lineage(competition: Competition) -> Lineage | None:
    """Read what stands above the labels; None where no hierarchy is named.

    Raises
    ------
    InputError
        When the CSV or a column is missing, a child stands under two parents or above itself, or a parent is unknown.
    """
    tree = competition.data.hierarchy
    if tree is None:
        return None
    if tree.csv is None:
        return Lineage(tree, competition.file, {})
    file = find_file(competition, f"{HIERARCHY_KEY}.csv", tree.csv)
    rows = read_csv(file)
    if tree.levels is not None:
        return _read_levels(competition, tree, tree.levels, file, rows)
    return _read_pairs(competition, tree, file, rows)


def read_hierarchy(competition: Competition, classes: tuple[str, ...], is_multilabel: bool) -> Hierarchy | None:
    """Return the hierarchy of a competition's classes, or None.

    Raises
    ------
    InputError
        As `read_lineage`; also when a class is in no row of the CSV, or `levels` names another number of levels.
    """
    lineage = read_lineage(competition)
    if lineage is None:
        return None
    chains = [lineage.chain(name) for name in classes]
    if is_multilabel:
        code = {name: i for i, name in enumerate(classes)}
        return Hierarchy(np.array([code[chain[-2]] if len(chain) > 1 else NO_PARENT for chain in chains], np.int64))
    if lineage.of_level is not None:
        cells = [[cell or name for cell in lineage.of_level[name]] for name in classes]
        names = lineage.level_names
    else:
        depth = max(map(len, chains))
        cells = [[chain[min(level, len(chain) - 1)] for level in range(depth - 1)] for chain in chains]
        names = _name_levels(lineage.tree, depth, name_key(competition, f"{HIERARCHY_KEY}.levels"))
    levels = {name: _make_level([of_class[i] for of_class in cells]) for i, name in enumerate(names)}
    return Hierarchy(np.full(len(classes), NO_PARENT, np.int64), levels)


def _read_pairs(competition: Competition, tree: Tree, file: Path, rows: pd.DataFrame) -> Lineage:
    """Read a CSV of children and parents; where one row says that a class has no parent, all such classes need one."""
    named = [name for name in rows.columns if name]
    if len(named) < 2 and tree.parent is None:
        raise InputError(f"{file}: one column only, {some(named)!r}; it needs a child and its parent in every row")
    child = read_column(rows, tree.child or named[0], name_key(competition, f"{HIERARCHY_KEY}.child"), file)
    parent = read_column(rows, tree.parent or named[1], name_key(competition, f"{HIERARCHY_KEY}.parent"), file)
    refuse_empty(child, file, "child")
    parents = _link(file, zip(rows.index, child, parent, strict=True))
    _refuse_circles(file, parents)
    if not (parent.str.strip() == "").any():
        return Lineage(tree, file, parents)
    children = set(child)
    if unknown := [(row, name) for row, name in parent.items() if name.strip() and name not in children]:
        row, name = unknown[0]
        raise InputError(
            f"{file}: row {row}: parent {name!r} is unknown: it is no child in any row, though "
            "rows with an empty parent say which classes have none; correct its name or add a row for it"
        )
    return Lineage(tree, file, parents, frozenset(child))


def _name_levels(tree: Tree, depth: int, key: str) -> list[str]:
    """Return the names of the levels above the classes."""
    if tree.levels is None:
        return [f"level_{level}" for level in range(1, depth)]
    if len(tree.levels) not in (depth - 1, depth):
        raise InputError(f"{key} names {len(tree.levels)} levels; the labels have {depth}, the classes' own the last")
    return tree.levels[: depth - 1]


def _make_level(groups: list[str]) -> Level:
    """Return a level from the group of every class."""
    names, codes = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    return Level(tuple(names.tolist()), codes.astype(np.int64))


def _read_levels(competition: Competition, tree: Tree, levels: list[str], file: Path, rows: pd.DataFrame) -> Lineage:
    """Read a CSV of a column per level; where a cell is empty, a class stands alone at that level."""
    key = name_key(competition, f"{HIERARCHY_KEY}.levels")
    columns = [read_column(rows, name, key, file) for name in levels]
    refuse_empty(columns[-1], file, levels[-1])
    for coarse, fine in pairwise(columns):
        _link(file, (link for link in zip(rows.index, fine, coarse, strict=True) if link[1].strip()))
    of_level = {name: tuple(above) for *above, name in zip(*columns, strict=True)}
    parents: dict[str, str] = {}
    if competition.facts.task == MULTILABEL:  # the levels' names are all classes then, and one name is one class
        cells = zip(rows.index, *columns, strict=True)
        chains = [(row, list(dict.fromkeys(filter(str.strip, names)))) for row, *names in cells]
        links = [(row, *pair) for row, chain in chains for pair in zip(chain, ["", *chain[:-1]], strict=True)]
        parents = _link(file, links)
        _refuse_circles(file, parents)
    return Lineage(tree, file, parents, frozenset(of_level) | frozenset(parents.values()), levels[:-1], of_level)


def _link(file: Path, links: Iterable[tuple[Hashable, str, str]]) -> dict[str, str]:
    """Return the parent of each child by (row, child, parent); refuse two parents of a child."""
    first: dict[str, tuple[Hashable, str]] = {}
    for row, child, parent in links:
        before, other = first.setdefault(child, (row, parent))
        if other != parent:
            under, over = (f"under {name!r}" if name.strip() else "under nothing" for name in (parent, other))
            raise InputError(
                f"{file}: row {row}: {child!r} stands {under}, in row {before} {over}; a class has one parent"
            )
    return {child: parent for child, (_, parent) in first.items() if parent.strip()}


def _refuse_circles(file: Path, parents: dict[str, str]) -> None:
    """Refuse a class that stands above itself."""
    for child in parents:
        chain = [child]
        while (above := parents.get(chain[-1])) is not None:
            if above == child:
                shown = " under ".join(map(repr, [*chain, child]))
                raise InputError(f"{file}: {shown} is a circle; correct one of these rows")
            if above in chain:
                break
            chain.append(above)
