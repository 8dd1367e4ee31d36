"""Fill the sample submission: each of its rows gets the decision for its test image.

Reads the sample submission; writes nothing. Images that cannot be read get the class prior of the labelled ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from kit.core.shapes import Ids, Proba, Weights
from kit.core.terminal import escape, warn
from kit.data.prepared import Prepared
from kit.kaggle.submission.check import check_submission
from kit.kaggle.submission.form import Form
from kit.kaggle.submission.sample import Sample, read_sample
from kit.scoring.metrics import decide, rescale
from kit.scoring.predictions import Predictions, concatenate

DIGITS = 9  # of a probability in one of several columns


def fill_sample(prepared: Prepared, test: Predictions) -> pd.DataFrame:
    """Return the submission as a table with the sample file's columns, ids and order.

    `test` are decisions from `kit.runs.decide.decisions`; broken images get the class prior, rows of the sample that
    mean no image the mean of all. What the sample leaves to guess is told. InputError as of `read_sample` and
    `check_submission`.
    """
    return fill(prepared, read_sample(prepared), test)


def fill(prepared: Prepared, sample: Sample, test: Predictions) -> pd.DataFrame:
    """Return the submission that `fill_sample` returns, for a sample that was read."""
    for text in sample.notes:
        warn(escape(text))
    test = with_broken(prepared, test)
    proba = np.tile(test.proba.mean(axis=0, dtype=np.float64), (len(sample.ids), 1))
    asked, places = np.unique(sample.ids[sample.is_known].astype(str), return_inverse=True)
    proba[sample.is_known] = test.at(asked.astype(object)).proba[places]
    table = sample.rows.copy()
    for at, cells in zip(sample.form.values, _write_cells(prepared, sample, test.classes, proba), strict=True):
        table.isetitem(at, cells)
    check_submission(prepared, sample, table)
    _tell_of_zeros(prepared, sample.form, proba)
    return table


def write_table(sample: Sample, table: pd.DataFrame) -> str:
    """Return a finished table as the text of a CSV, quoted as the sample is."""
    columns = [[_text(cell) for cell in table.iloc[:, at]] for at in range(table.shape[1])]
    return sample.style.write([str(name) for name in table.columns], columns)


def _write_cells(
    prepared: Prepared, sample: Sample, classes: tuple[str, ...], proba: Proba
) -> Sequence[Sequence[object] | np.ndarray]:
    """Return what stands in each column that is filled in, for probabilities (n_rows, n_classes) of `classes`."""
    form, spelling = sample.form, dict(sample.form.spelling)
    several = prepared.pool.is_multilabel
    spelled = np.array([spelling.get(name, name) for name in classes], dtype=object)
    if form.kind in ("probabilities", "zero_one"):
        return _class_columns(prepared, form, classes, proba)
    if form.kind == "probability":
        return [rescale(proba)[:, classes.index(form.positive or classes[-1])]]
    if form.kind == "rows":
        values = _decide(proba, several) if spelling else proba
        numbers = values[np.arange(len(values)), sample.codes]
        return [[spelling[str(number)] for number in numbers] if spelling else _round(numbers)]
    if form.kind == "ranked":
        best = np.argsort(-proba, axis=1, kind="stable")[:, : form.n_ranked]
        return [[form.join(ranked) for ranked in spelled[best]]]
    if form.kind == "labels":
        return [_label_cells(prepared, proba, form)]
    labels, certainty = spelled[proba.argmax(axis=1)], _round(proba.max(axis=1))
    if form.kind == "label":
        return [labels if form.listed is None else [form.join([label]) for label in labels]]
    if len(form.values) == 2:
        return [labels, certainty]
    return [[f"{label}{form.separator}{sure}" for label, sure in zip(labels, map(_text, certainty), strict=True)]]


def _class_columns(
    prepared: Prepared, form: Form, classes: tuple[str, ...], proba: Proba
) -> Sequence[Sequence[object] | np.ndarray]:
    """Return each class's probability, or 0 and 1; with several labels also that of having none."""
    several, none = prepared.pool.is_multilabel, prepared.competition.decision.none_of_these
    is_decided = form.kind == "zero_one"
    values = _decide(proba, several) if is_decided else _round(proba if several else rescale(proba))
    by_class = dict(zip(classes, values.T, strict=True))
    if several and none is not None and none not in by_class:
        by_class[none] = 1 - values.max(axis=1)
    nothing = np.zeros(len(proba), dtype=np.int8)
    columns = [nothing if name is None else by_class.get(name, nothing) for name in form.classes]
    spelling = dict(form.spelling)
    if not is_decided or spelling == {"0": "0", "1": "1"}:
        return columns
    return [[spelling[str(number)] for number in column] for column in columns]


def _decide(proba: Proba, several: bool) -> np.ndarray:
    """Return what is decided as 0 and 1, (n_rows, n_classes): every class from one half, or the most probable one."""
    if several:
        return decide(proba, True)
    return np.eye(proba.shape[1], dtype=np.int8)[decide(proba, False)]


def _label_cells(prepared: Prepared, proba: Proba, form: Form) -> list[str]:
    """Return each image's labels as one cell; of a path only its end, for the end names the parents."""
    has, hierarchy = decide(proba, True) == 1, prepared.hierarchy
    plan, tree = prepared.competition.decision, prepared.competition.data.hierarchy
    with_parents = plan.parents if plan.parents is not None else tree is None or tree.separator is None
    named = has.copy()
    if hierarchy is not None and not with_parents:
        for child in np.flatnonzero(hierarchy.parents >= 0):
            named[:, hierarchy.parents[child]] &= ~has[:, child]
    names, empty = np.array(prepared.classes, dtype=object), [plan.none_of_these] if plan.none_of_these else []
    return [form.join(names[row] if row.any() else empty) for row in named]


def _tell_of_zeros(prepared: Prepared, form: Form, proba: Proba) -> None:
    """Warn of probabilities of exactly 0 where the log-loss is what counts: one that is wrong costs 36."""
    if prepared.metric.name != "log_loss" or not form.has_numbers:
        return
    is_certain = (proba <= 0) | ((proba >= 1) & prepared.pool.is_multilabel)
    if n_rows := int(is_certain.any(axis=1).sum()):
        warn(
            f"{n_rows} of {len(proba)} images have a class of probability exactly 0; where that is wrong the log-loss "
            "of the image is 36: an ensemble, or a model that is never certain, costs less"
        )


def _round(values: np.ndarray) -> np.ndarray:
    """Return probabilities with nine digits that count, however small they are."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.where(values > 0, values, 1))))
    return np.round(values * scale) / scale


def _text(cell: object) -> str:
    """Return a cell as text: the shortest that reads back as the same number."""
    return cell if isinstance(cell, str) else repr(cell.item()) if isinstance(cell, np.generic) else str(cell)


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
