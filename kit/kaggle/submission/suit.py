"""Bring a sample's form and the metric together: what each leaves open the other decides, and what clashes is refused.

A metric that needs probabilities never gets labels. Works on the sample's rows; reads and writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from kit.core.errors import InputError
from kit.kaggle.submission.cells import is_switch, spell_classes, spell_switch
from kit.kaggle.submission.form import Form, Kind, choose_positive, spell_two
from kit.scoring.metrics import Metric
from kit.scoring.metrics.custom import CUSTOM_NAME


class FormClash(InputError):
    """Report that the sample has no room for what the metric reads."""


RANKED = re.compile(r"(?:map@|top_)(\d+)")
STATED = '[submission] form = "{}" says that it is so'


def suit_form(
    form: Form,
    metric: Metric,
    sample: pd.DataFrame,
    classes: tuple[str, ...],
    positive: str | None = None,
    is_stated: bool = False,
) -> Form:
    """Return the form in which a metric reads a sample submission.

    A number per image of two classes is a probability where the metric needs one, though the sample shows 0 or 1; a
    cell holds K guesses where the metric is ``map@K``; columns that show 0 and 1 hold probabilities where those are
    read, and the other way round. A form that `is_stated`, or whose metric is the user's own, stays what it is.

    Raises
    ------
    FormClash
        When the metric needs probabilities and the sample has room for labels alone, or the other way round; the
        remedy is the metric, the sample, or ``[submission] form``.
    """
    if match := RANKED.fullmatch(metric.name):
        return _suit_ranked(form, int(match[1]), is_stated)
    if is_stated or CUSTOM_NAME.fullmatch(metric.name):
        return form  # a user's function knows what it makes of probabilities
    if metric.needs == "proba":
        return _suit_probabilities(form, metric, sample, classes, positive)
    return _suit_labels(form, metric, sample, classes, positive)


def state_form(
    form: Form, kind: Kind, sample: pd.DataFrame, classes: tuple[str, ...], positive: str | None = None
) -> Form:
    """Return the form that ``[submission] form`` says, with what else the sample shows of it.

    InputError where the sample has other columns than it needs.
    """
    if kind == form.kind:
        return form
    n_columns = {"probabilities": len(form.values), "zero_one": len(form.values), "confidence": 2, "rows": 0}
    if len(form.values) != n_columns.get(kind, 1) and not (kind == "confidence" and form.separator):
        raise InputError(f'[submission] form = "{kind}" does not fit the sample, which has {len(form.values)} columns')
    cells = sample.iloc[:, form.values[0]].tolist()
    if kind == "probability":
        return _one_number(form, sample, classes, positive)
    if kind == "zero_one":
        return replace(form, kind=kind, spelling=_switches(sample, form))
    if kind == "label":
        return replace(form, kind=kind, spelling=spell_classes(cells, classes), guess="")
    if kind in ("labels", "ranked"):
        return replace(form, kind=kind, n_ranked=form.n_ranked or 1)
    return replace(form, kind=kind)


def _suit_ranked(form: Form, n_ranked: int, is_stated: bool) -> Form:
    """Return the form of the likeliest classes in one cell; a probability of every class ranks them too."""
    if form.has_numbers or (is_stated and form.kind != "ranked"):
        return form
    if form.kind == "zero_one":
        return replace(form, kind="probabilities", spelling=())
    if form.kind in ("label", "labels", "ranked"):
        return replace(form, kind="ranked", n_ranked=n_ranked)
    raise FormClash(
        f"the metric ranks {n_ranked} guesses, and the sample asks for one and its confidence; mend metric under "
        "[competition], or " + STATED.format("ranked")
    )


def _suit_probabilities(
    form: Form, metric: Metric, sample: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> Form:
    """Return the form that holds probabilities, or refuse one that holds labels alone."""
    if form.has_numbers or (form.kind == "confidence" and metric.name == "gap"):
        return form
    if form.kind == "zero_one":
        return replace(form, kind="probabilities", spelling=())
    if form.kind == "label" and len(classes) == 2:
        return _one_number(form, sample, classes, positive)
    raise FormClash(
        f"metric {metric.name!r} needs probabilities, and the sample has room for labels alone (column "
        f"{sample.columns[form.values[0]]!r}): take a metric of labels (accuracy, macro_f1) under [competition] if "
        "that is what the Evaluation page says, or a sample with a column per class; else " + STATED.format(form.kind)
    )


def _suit_labels(
    form: Form, metric: Metric, sample: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> Form:
    """Return the form that holds what is decided, or refuse one number that is a probability."""
    if form.kind in ("probabilities", "rows") and _are_switches(sample, form):
        kind = "zero_one" if form.kind == "probabilities" else form.kind
        return replace(form, kind=kind, spelling=_switches(sample, form))
    if form.kind != "probability":
        return form
    cells = sample.iloc[:, form.values[0]].tolist()
    if not all(map(is_switch, cells)):
        raise FormClash(
            f"metric {metric.name!r} reads labels, and the sample asks for a probability (column "
            f"{sample.columns[form.values[0]]!r} holds {cells[0]}): take a metric of probabilities (roc_auc, log_loss) "
            "under [competition] if that is what the Evaluation page says; else " + STATED.format("label")
        )
    if spelling := spell_classes(cells, classes):
        return replace(form, kind="label", positive=None, spelling=spelling, guess="")
    return spell_two(form, sample.columns[form.values[0]], cells, classes, positive)


def _one_number(form: Form, sample: pd.DataFrame, classes: tuple[str, ...], positive: str | None) -> Form:
    """Return the form of the positive class's probability."""
    if len(classes) != 2:
        raise InputError(f"one probability per image is of two classes, and here are {len(classes)}")
    name, guess = choose_positive(sample.columns[form.values[0]], classes, positive)
    return replace(form, kind="probability", positive=name, spelling=(), guess=guess)


def _are_switches(sample: pd.DataFrame, form: Form) -> bool:
    """Return whether the cells to fill in are all written as whole 0 and 1, or as False and True."""
    return all(is_switch(cell) and "." not in cell for at in form.values for cell in sample.iloc[:, at])


def _switches(sample: pd.DataFrame, form: Form) -> tuple[tuple[str, str], ...]:
    """Return how the sample writes no and yes."""
    cells = [cell for at in form.values for cell in sample.iloc[:, at] if is_switch(cell)]
    return tuple(zip("01", spell_switch(cells), strict=True))
