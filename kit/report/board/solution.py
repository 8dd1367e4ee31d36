"""The scorer of practice competitions: this module alone reads a solution file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.files import hash_file
from kit.core.names import MULTILABEL
from kit.data.prepared import Prepared
from kit.data.table.labels import join_labels, read_label_lists, read_multi_hot
from kit.data.table.scan import read_csv
from kit.data.table.sources import find_file, name_key
from kit.data.table.tree import read_lineage
from kit.kaggle.submission import FormClash, meant_ids, named_classes, read_sample, with_broken
from kit.scoring.metrics import Estimate, estimate
from kit.scoring.predictions import Predictions

Label = int | np.ndarray  # a class code, or (n_classes,) of 0 and 1


def read_solution(prepared: Prepared) -> dict[str, Label] | None:
    """Return the hidden labels of a practice competition by id: class codes, or 0 and 1 per class.

    Several labels are written as those of the labelled images are; parents are added to them too.

    Raises
    ------
    InputError
        When it is missing, lacks a test image or a column, or names unknown classes.
    """
    competition = prepared.competition
    if competition.data.solution is None:
        return None
    path = find_file(competition, "solution", competition.data.solution)
    table = read_csv(path)
    if table.shape[1] < 2:
        raise InputError(f"{path}: only one column; expected an id and a label")
    read_labels = _read_label_sets if competition.facts.task == MULTILABEL else _read_codes
    by_name = read_labels(prepared, path, table)
    tested = {*prepared.pool.ids[prepared.split("test")], *prepared.broken_test}
    ids = meant_ids([*by_name], tested)
    if len(set(ids)) < len(ids):
        raise InputError(f"{path}: ids repeat: {some(ids[pd.Series(ids).duplicated().to_numpy()])}")
    solution = dict(zip(ids, by_name.values(), strict=True))
    if missing := sorted(tested - set(solution)):
        raise InputError(f"{path}: {len(missing)} test images are not in it: {some(missing)}")
    return solution


def solution_hash(prepared: Prepared) -> str | None:
    """Return the SHA-256 of the solution file, for what is made from its scores; None where there is none.

    InputError where it is missing.
    """
    competition = prepared.competition
    if competition.data.solution is None:
        return None
    return hash_file(find_file(competition, "solution", competition.data.solution))


def _read_codes(prepared: Prepared, path: Path, table: pd.DataFrame) -> dict[str, Label]:
    """Read one label per image from the second column."""
    codes = {name: code for code, name in enumerate(named_classes(prepared))}
    ids, labels = table.iloc[:, 0], table.iloc[:, 1].replace(prepared.competition.data.renamed)
    if unknown := sorted(set(labels) - set(codes)):
        raise InputError(f"{path}: labels that are not classes: {some(unknown)}")
    return {image_id: codes[label] for image_id, label in zip(ids, labels, strict=True)}


def _read_label_sets(prepared: Prepared, path: Path, table: pd.DataFrame) -> dict[str, Label]:
    """Read several labels per image, in the form that the labelled images' have."""
    competition, id_name = prepared.competition, table.columns[0]
    given = next((source for source in competition.data.labeled_sources if isinstance(source, Listing)), None)
    listing = Listing(csv=path.name, id=id_name)
    if given is not None:
        asked = [given.label] if isinstance(given.label, str) else given.label or []
        label = given.label if set(asked) <= set(table.columns) else None
        update = {
            "form": given.form,
            "separator": given.separator,
            "value": given.value,
            "label": label,
            "group": given.group,
        }
        listing = listing.model_copy(update=update)
    rows, lists = read_label_lists(table, id_name, listing, name_key(competition, "solution"), path)
    renamed, lineage = competition.data.renamed, read_lineage(competition)
    names = [[renamed.get(label, label) for label in labels] for labels in lists]
    if lineage is not None:
        names = [[above for label in labels for above in lineage.chain(label)] for labels in names]
    if unknown := sorted({label for labels in names for label in labels} - set(prepared.classes)):
        raise InputError(f"{path}: labels that are not classes: {some(unknown)}")
    hot = read_multi_hot([join_labels(labels) for labels in names], prepared.classes)
    return dict(zip(rows[id_name], hot, strict=True))


def local_score(prepared: Prepared, solution: dict[str, Label], test: Predictions) -> Estimate:
    """Return what was decided for the test images, scored as Kaggle would, with standard error and 95 % interval.

    Raises
    ------
    InputError
        When the metric needs probabilities and the submission holds labels alone.
    """
    if reason := why_cv_only(prepared):
        raise InputError(f"{prepared.competition.name}: {reason}")
    test, pool = with_broken(prepared, test), prepared.pool
    labels = np.array([solution[image_id] for image_id in test.ids])
    rows = prepared.split("test")
    group = dict(zip(pool.ids[rows], pool.groups[rows].tolist(), strict=True))
    groups = np.array([group.get(image_id, -1 - row) for row, image_id in enumerate(test.ids)])  # broken ones: alone
    return estimate(prepared.metric, labels, test.proba, groups)


def why_cv_only(prepared: Prepared) -> str | None:
    """Return why a submission cannot be scored here, or None: there is none, or the metric needs more than labels."""
    metric = prepared.metric
    if not len(prepared.split("test")) + len(prepared.broken_test):
        return "there is no test image"
    if metric.needs == "labels":
        return None
    try:
        form = read_sample(prepared).form
        has_room = form.has_numbers or form.kind == "ranked"
    except FormClash:
        has_room = False
    if has_room:
        return None
    return (
        f"{metric.name} needs probabilities and cannot be scored from labels, which are what the submission holds: CV "
        "only; a sample_submission with a column per class asks for probabilities"
    )
