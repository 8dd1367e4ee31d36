"""Fill the sample submission: each of its rows gets the decision for its test image.

Reads the sample submission; writes nothing. Images that cannot be read get the class prior of the labelled ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from kit.core.shapes import Ids, Proba, Scores, Weights
from kit.data.prepared import Prepared
from kit.kaggle.submission.check import check_submission
from kit.kaggle.submission.sample import form_of, read_sample
from kit.scoring.metrics import decide
from kit.scoring.predictions import Predictions, concatenate


def fill_sample(prepared: Prepared, test: Predictions) -> pd.DataFrame:
    """Return the submission as a table with the sample file's columns, ids and order.

    `test` are decisions from `kit.runs.decide.decisions`; broken images get the class prior. InputError as of
    `read_sample`, `form_of` and `check_submission`.
    """
    sample, ids = read_sample(prepared)
    rows, form = with_broken(prepared, test).at(ids), form_of(prepared, sample)
    id_column, *others = sample.columns
    if form.kind == "columns":
        by_class = _class_columns(prepared, rows, form.is_binary)
        values = {name: by_class.get(name, np.zeros(len(rows), dtype=np.int8)) for name in others}
        table = pd.DataFrame({id_column: sample[id_column], **values})
    else:
        names = np.array(rows.classes, dtype=object)
        if form.n_ranked:
            best = np.argsort(-rows.proba, axis=1, kind="stable")[:, : form.n_ranked]
            cells = [form.separator.join(ranked) for ranked in names[best]]
        elif form.kind == "labels":
            cells = _label_cells(prepared, rows.proba, form.separator)
        else:
            cells = names[rows.proba.argmax(axis=1)]
        table = sample.assign(**{others[0]: cells})
    check_submission(prepared, sample, table)
    return table


def _class_columns(prepared: Prepared, rows: Predictions, is_binary: bool) -> dict[str, Scores]:
    """Return each class's probability, or 0 and 1; with several labels also that of having none."""
    values = decide(rows.proba, True) if is_binary else rows.proba
    columns, none = dict(zip(rows.classes, values.T, strict=True)), prepared.competition.decision.none_of_these
    return columns if none is None else {none: 1 - values.max(axis=1)} | columns


def _label_cells(prepared: Prepared, proba: Proba, separator: str) -> list[str]:
    """Return each image's labels as one cell; of a path only its end, for the end names the parents."""
    has, hierarchy = decide(proba, True) == 1, prepared.hierarchy
    plan, tree = prepared.competition.decision, prepared.competition.data.hierarchy
    with_parents = plan.parents if plan.parents is not None else tree is None or tree.separator is None
    named = has.copy()
    if hierarchy is not None and not with_parents:
        for child in np.flatnonzero(hierarchy.parents >= 0):
            named[:, hierarchy.parents[child]] &= ~has[:, child]
    names, empty = np.array(prepared.classes, dtype=object), plan.none_of_these or ""
    return [separator.join(names[row]) or empty for row in named]


def with_broken(prepared: Prepared, test: Predictions) -> Predictions:
    """Return predictions of all test images: those that cannot be read get the class prior of the labelled ones."""
    ids = np.array(prepared.broken_test, dtype=object)
    return add_broken(test, ids, class_prior(prepared)) if len(ids) else test


def class_prior(prepared: Prepared) -> Weights:
    """Return the share of the labelled images that have each class, (n_classes,)."""
    labels, n_classes = prepared.labels, len(prepared.classes)
    return labels.mean(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=n_classes) / len(labels)


def add_broken(test: Predictions, ids: Ids, prior: Weights) -> Predictions:
    """Return predictions with those of broken images: the class prior (n_classes,), and 0 for none of the classes."""
    prior = np.append(prior, np.zeros(len(test.classes) - len(prior)))
    return concatenate([test, replace(test, ids=ids, proba=np.tile(prior, (len(ids), 1)))])
