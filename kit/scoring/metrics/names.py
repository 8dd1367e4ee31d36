"""The metrics by name: those of the kit, those with a number in their name, and a user's function by dotted path."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError, nearest
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Labels, Scores
from kit.scoring.metrics import decisions, probabilities
from kit.scoring.metrics.custom import CUSTOM_NAME, read_custom
from kit.scoring.metrics.metric import Metric

ONE, SEVERAL = (MULTICLASS,), (MULTILABEL,)
LARGEST_K = 1000
AT_K = re.compile(r"(map@|top_)(\d+)")
LEADING_NUMBER = re.compile(r"\d+")
EXAMPLES = {"map@5": (MULTICLASS, MULTILABEL), "top_3": ONE}  # of the names with a number, for hints


def _mean_of(name: str, per_image: Callable[[Labels, np.ndarray], Scores], **facts: Any) -> Metric:
    """Return a metric that is a mean over images."""
    return Metric(name, lambda labels, predicted: float(per_image(labels, predicted).mean()), per_image, **facts)


def _count_metric(name: str, of: Callable[[decisions.Counts], float], **facts: Any) -> Metric:
    """Return a metric of how many images are rightly decided, labelled and decided per class."""
    return Metric(name, decisions.of_counts(of), share=decisions.share_counts(of), needs="labels", **facts)


_KIT = (
    _mean_of("accuracy", decisions.equals, needs="labels"),
    _count_metric("balanced_accuracy", decisions.balanced_accuracy, tasks=ONE),
    _count_metric("macro_f1", decisions.macro_f1),
    _count_metric("micro_f1", decisions.micro_f1),
    _count_metric("weighted_f1", decisions.weighted_f1),
    _mean_of("samples_f1", decisions.f1_of_images, needs="labels", tasks=SEVERAL),
    _mean_of("hamming_accuracy", decisions.share_of_classes, needs="labels", tasks=SEVERAL),
    Metric("mcc", decisions.mcc, needs="labels", tasks=ONE),
    Metric("quadratic_kappa", decisions.quadratic_kappa, needs="labels", tasks=ONE),
    _mean_of("log_loss", probabilities.negative_log_proba, greater_is_better=False),
    Metric("macro_auc", probabilities.macro_auc, share=probabilities.share_auc, left_out=probabilities.lacks_either),
    Metric(
        "map",
        probabilities.macro_average_precision,
        share=probabilities.share_average_precision,
        left_out=probabilities.lacks_positives,
    ),
)
METRICS = {metric.name: metric for metric in _KIT}


def find_metric(name: str | Metric, folders: Sequence[Path] = ()) -> Metric:
    """Return a metric by name.

    Parameters
    ----------
    name
        A name in `METRICS`; ``map@K`` or ``top_K`` for K in 1..1000; or the dotted path ``module.function`` of a
        user's function. A metric is returned as it is.
    folders
        Where the file of a user's function is looked for, in order.

    Raises
    ------
    InputError
        When there is no such metric; names the nearest.
    """
    if isinstance(name, Metric):
        return name
    if name in METRICS:
        return METRICS[name]
    if match := AT_K.fullmatch(name):
        return _at_k(match[1], int(match[2]))
    if CUSTOM_NAME.fullmatch(name):
        return read_custom(name, folders)
    raise InputError(f"{name!r} is not a metric; {nearest(name, {*METRICS, *EXAMPLES})}")


def check_metric_name(name: str, task: str) -> None:
    """Refuse a metric that does not exist or is not of this task; a user's function is read later, by who computes it.

    A ValueError says which name is nearest, or which metrics the task has.
    """
    if name not in METRICS and CUSTOM_NAME.fullmatch(name):
        return
    suited = [known for known, metric in METRICS.items() if task in metric.tasks]
    suited += [example for example, tasks in EXAMPLES.items() if task in tasks]
    if name not in METRICS and not AT_K.fullmatch(name):
        raise ValueError(f"metric: {name!r} is not a metric; {nearest(name, suited)}")
    try:
        metric = find_metric(name)
    except InputError as error:
        raise ValueError(f"metric: {error}") from error
    if task not in metric.tasks:
        raise ValueError(f"metric: {name!r} is no metric of task = {task!r}, which has {', '.join(sorted(suited))}")


def check_metric_classes(metric: Metric, classes: tuple[str, ...]) -> None:
    """Refuse a metric that is the same for every prediction of these classes, or needs them in another order.

    An InputError says what is wrong with which classes.
    """
    match = AT_K.fullmatch(metric.name)
    if match and match[1] == "top_" and int(match[2]) >= len(classes):
        raise InputError(f"metric {metric.name!r} of {len(classes)} classes is always 1; take a smaller number")
    if metric.name == "quadratic_kappa":
        _check_order(classes)


def _check_order(classes: tuple[str, ...]) -> None:
    """Refuse classes that do not begin with numbers which ascend as the text does: sorted, they are in no order."""
    grades = [match for name in classes if (match := LEADING_NUMBER.match(name))]
    if len(grades) < len(classes):
        name = next(name for name in classes if not LEADING_NUMBER.match(name))
        raise InputError(
            f"metric 'quadratic_kappa' needs classes in their order, and nothing says where {name!r} stands; let each "
            f'begin with its number, such as merge = {{ "0 {name}" = ["{name}"] }} under [data] for the lowest'
        )
    numbers = [int(grade[0]) for grade in grades]
    if numbers != sorted(numbers):
        first = next(name for name, n, place in zip(classes, numbers, sorted(numbers), strict=True) if n != place)
        raise InputError(
            f"metric 'quadratic_kappa' needs classes in their order, and as text {first!r} is not in its place; "
            "write the numbers with as many digits each (02, 10)"
        )


@functools.cache
def _at_k(family: str, k: int) -> Metric:
    """Return a metric of the first `k` classes."""
    name = f"{family}{k}"
    if not 1 <= k <= LARGEST_K:
        raise InputError(f"{name!r} is not a metric; the number must be 1..{LARGEST_K}")
    if family == "top_":
        return _mean_of(name, functools.partial(probabilities.is_among_first, k=k), tasks=ONE)
    return _mean_of(name, functools.partial(probabilities.average_precision_at, k=k))
