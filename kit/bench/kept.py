"""Kept draws: what members predict on one draw of labels, so that ways of mixing them are compared in seconds.

Writes one npz per draw. What code it was made by is part of its name: of other code other figures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.core.files import key_of, write_atomic
from kit.core.shapes import Folds, Groups, Labels, Proba, Rows, Texts
from kit.data.prepared import Prepared
from kit.models.trust import RECORD, Known
from kit.runs.record import kinds_of, record_of_kinds
from kit.runs.store.result import Result
from kit.runs.store.score import oof_rows
from kit.runs.store.source import hash_code
from kit.scoring.chances import Record
from kit.scoring.mixing import Mixture, find_copies, fit_weighed

KIT = Path(__file__).parents[1]
Rule = Callable[[Labels, Proba, Groups, Record | None], Mixture]


@dataclass(frozen=True)
class Kept:
    """Hold what members predict on one draw of labels.

    Parameters
    ----------
    names
        The members'; a round's is its run's with ``.0`` and on.
    kinds
        Of each member as `kit.runs.record.kinds_of` tells it; empty where nothing is known.
    oof, test
        (n_members, n_labeled, n_classes) and (n_members, n_test, n_classes) float32.
    labels, truth
        Class codes of the labelled images and of the hidden ones.
    """

    names: Texts
    kinds: Texts
    oof: Proba
    test: Proba
    labels: Labels
    truth: Labels
    folds: Folds
    groups: Groups

    def take(self, names: Sequence[str]) -> Kept:
        """Return the same draw with these members alone, in this order."""
        at = [self.names.tolist().index(name) for name in names]
        return replace(self, names=self.names[at], kinds=self.kinds[at], oof=self.oof[at], test=self.test[at])


def read_kept(file: Path) -> Kept:
    """Return a draw as it was kept."""
    with np.load(file, allow_pickle=False) as arrays:
        return Kept(**{name: arrays[name] for name in arrays.files})


def keep(file: Path, draw: Kept) -> None:
    """Write a draw."""
    with write_atomic(file) as out:
        np.savez(out, **{name: getattr(draw, name) for name in Kept.__dataclass_fields__})


def keep_results(laid: Prepared, truth: Labels, results: Sequence[Result]) -> Kept:
    """Return what finished runs of a draw predict."""
    rows, test_ids = laid.scored_rows, laid.pool.ids[laid.split("test")]
    return Kept(
        names=np.array([result.name for result in results]),
        kinds=np.array([kind or "" for kind in kinds_of(results)]),
        oof=np.stack([oof_rows(laid, result.predictions("oof"))[1] for result in results]),
        test=np.stack([result.predictions("test").at(test_ids).proba for result in results]),
        labels=laid.labels[rows],
        truth=truth,
        folds=laid.folds[rows],
        groups=laid.scored_groups,
    )


def mix(draw: Kept) -> Proba:
    """Return what the members' ensemble says of the hidden images, copies left out as `kit.runs.ensemble` does."""
    return mix_by(draw, fit_weighed)


def mix_by(draw: Kept, rule: Rule, record: Mapping[str, Known] = RECORD) -> Proba:
    """Return what the members say of the hidden images where a rule weighs them by images and record."""
    oof, test = draw.oof.astype(np.float64), draw.test.astype(np.float64)
    alone = without_copies(oof)
    known = record_of_kinds([kind or None for kind in draw.kinds[alone].tolist()], record)
    return rule(draw.labels, oof[alone], draw.groups, known)(test[alone])


def without_copies(oof: Proba) -> Rows:
    """Return which members are no copies of another, by their predictions (n_members, n_labeled, n_classes) float64."""
    return np.setdiff1d(np.arange(len(oof)), list(find_copies(oof)))


def code_key(rooms: Collection[str], without: Collection[str] = ()) -> str:
    """Return the hash of the code of rooms of the kit, files or folders; comments and prose are nothing to it."""
    paths = [KIT / room for room in rooms]
    files = sorted(file for path in paths for file in ([path] if path.suffix else path.rglob("*.py")))
    named = [(str(file.relative_to(KIT)), file) for file in files]
    return key_of([(name, hash_code(file.read_text(encoding="utf-8"))) for name, file in named if name not in without])
