"""The metrics by name: those of the kit, those with a number in their name, and a user's function by dotted path."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.errors import InputError, nearest, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Labels, Mask, Scores, Weights
from kit.scoring.metrics import decisions, probabilities
from kit.scoring.metrics.custom import CUSTOM_NAME, read_custom
from kit.scoring.metrics.metric import Classes, Counts, Metric, ResampledMetric, positive_of

ONE, SEVERAL = (MULTICLASS,), (MULTILABEL,)
LARGEST_K = 1000
LARGEST_BETA = 100
AT_K = re.compile(r"(map@|top_)(\d+)")
LEADING_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)")
F_BETA = re.compile(r"(macro|micro|weighted|samples|binary)_f(\d+(?:\.\d+)?)")  # "f05" and "f0.5" are one
EXAMPLES = {  # of the names with a number, for hints
    "map@5": (MULTICLASS, MULTILABEL),
    "top_3": ONE,
    "macro_f2": (MULTICLASS, MULTILABEL),
    "samples_f2": SEVERAL,
    "binary_f1": ONE,
}
ALIASES = {"gap@1": "gap", "micro_ap": "gap", "global_average_precision": "gap"}  # names of competitions' pages
AVERAGES = {
    "macro": decisions.macro_fbeta,
    "micro": decisions.micro_fbeta,
    "weighted": decisions.weighted_fbeta,
}


def _mean_of(name: str, per_image: Callable[[Labels, np.ndarray], Scores], **facts: Any) -> Metric:
    """Return a metric that is a mean over images."""
    return Metric(name, lambda labels, predicted: float(per_image(labels, predicted).mean()), per_image, **facts)


def _count_metric(name: str, of: Callable[[Counts], Scores], n_classes: int | None = None, **facts: Any) -> Metric:
    """Return a metric of how many images are rightly decided, labelled and decided per class."""
    share = decisions.of_counts_at_once(of, n_classes)
    return Metric(name, decisions.of_counts(of, n_classes), share=share, needs="labels", of_counts=of, **facts)


def _binary_metric(
    name: str,
    of: Callable[[Labels, np.ndarray, int], float],
    share: Callable[[Labels, np.ndarray, int], ResampledMetric],
    left_out: Callable[[Labels, int], Mask],
) -> Metric:
    """Return a metric of the positive one of two classes: the second where nobody says which it is."""

    def at(code: int) -> Metric:
        return Metric(
            name,
            lambda labels, proba: of(labels, proba, code),
            share=lambda labels, proba: share(labels, proba, code),
            tasks=ONE,
            left_out=left_out,
            key=f"{name} {code}",
            bind=lambda _, classes: at(_positive_code(name, classes)),
        )

    return at(1)


def _positive_code(name: str, classes: Classes) -> int:
    """Return the code of the positive class; InputError where there are not two, or none of that name."""
    if len(classes.names) != 2:
        several = {"roc_auc": "macro_auc", "average_precision": "map"}.get(name, "macro_f1")
        cause = f"is of two classes, and here are {len(classes.names)}"
        raise InputError(f"metric {name!r} {cause}: of more classes their mean is {several!r}")
    positive = classes.positive or positive_of(classes.names)[0]
    if positive not in classes.names:
        raise InputError(f"[submission] positive = {positive!r} is no class; {nearest(positive, classes.names)}")
    return classes.names.index(positive)


def _bind_grades(metric: Metric, classes: Classes) -> Metric:
    """Return quadratic kappa of the grades that the classes are."""
    grades = grades_of(classes)
    return replace(
        metric,
        of=functools.partial(decisions.quadratic_kappa, grades=grades),
        key=f"{metric.name} {' '.join(f'{grade:g}' for grade in grades)}",
    )


_KIT = (
    _mean_of("accuracy", decisions.equals, needs="labels"),
    _count_metric("balanced_accuracy", decisions.balanced_accuracy, tasks=ONE),
    _count_metric("macro_f1", decisions.macro_fbeta),
    _count_metric("micro_f1", decisions.micro_fbeta),
    _count_metric("weighted_f1", decisions.weighted_fbeta),
    _mean_of("samples_f1", decisions.fbeta_of_images, needs="labels", tasks=SEVERAL),
    _mean_of("hamming_accuracy", decisions.share_of_classes, needs="labels", tasks=SEVERAL),
    Metric("mcc", decisions.mcc, needs="labels", tasks=ONE, range=(-1, 1)),
    Metric("quadratic_kappa", decisions.quadratic_kappa, needs="labels", tasks=ONE, range=(-1, 1), bind=_bind_grades),
    _mean_of("log_loss", probabilities.negative_log_proba, greater_is_better=False, key="log_loss clipped at 2.2e-16"),
    _mean_of("brier", probabilities.squared_error, greater_is_better=False),
    _binary_metric("roc_auc", probabilities.auc_of_class, probabilities.share_auc_of_class, probabilities.lacks_either),
    _binary_metric(
        "average_precision",
        probabilities.average_precision_of_class,
        probabilities.share_average_precision_of_class,
        probabilities.lacks_positives,
    ),
    Metric("macro_auc", probabilities.macro_auc, share=probabilities.share_auc, left_out=probabilities.lacks_either),
    Metric(
        "map",
        probabilities.macro_average_precision,
        share=probabilities.share_average_precision,
        left_out=probabilities.lacks_positives,
    ),
    Metric(
        "gap", probabilities.global_average_precision, share=probabilities.share_global_average_precision, tasks=ONE
    ),
)
METRICS = {metric.name: metric for metric in _KIT}


def find_metric(name: str | Metric, folders: Sequence[Path] = ()) -> Metric:
    """Return a metric by name.

    Parameters
    ----------
    name
        A name in `METRICS` or `ALIASES`; ``map@K`` or ``top_K`` for K in 1..1000; an F-beta, such as ``samples_f2``,
        ``macro_f05`` or ``binary_f1`` (of the positive class); or the dotted path ``module.function`` of a user's
        function. A metric is returned as it is.
    folders
        Where the file of a user's function is looked for, in order.

    Raises
    ------
    InputError
        When there is no such metric; names the nearest.
    """
    if isinstance(name, Metric):
        return name
    name = ALIASES.get(name, name)
    if name in METRICS:
        return METRICS[name]
    if match := AT_K.fullmatch(name):
        return _at_k(match[1], int(match[2]))
    if match := F_BETA.fullmatch(name):
        return _f_beta(match[1], match[2])
    if CUSTOM_NAME.fullmatch(name):
        return read_custom(name, folders)
    raise InputError(f"{name!r} is not a metric; {nearest(name, {*METRICS, *EXAMPLES, *ALIASES})}")


def check_metric_name(name: str, task: str) -> None:
    """Refuse a metric that does not exist or is not of this task; a user's function is read later, by who computes it.

    A ValueError says which name is nearest, or which metrics the task has.
    """
    if CUSTOM_NAME.fullmatch(name):
        return
    name = ALIASES.get(name, name)
    suited = [known for known, metric in METRICS.items() if task in metric.tasks]
    suited += [example for example, tasks in EXAMPLES.items() if task in tasks]
    if name not in METRICS and not AT_K.fullmatch(name) and not F_BETA.fullmatch(name):
        raise ValueError(f"metric: {name!r} is not a metric; {nearest(name, suited)}")
    try:
        metric = find_metric(name)
    except InputError as error:
        raise ValueError(f"metric: {error}") from error
    if task not in metric.tasks:
        raise ValueError(f"metric: {name!r} is no metric of task = {task!r}, which has {', '.join(sorted(suited))}")


def check_metric_classes(metric: Metric, classes: Classes) -> None:
    """Refuse a metric that is the same for every prediction of these classes, or is not defined on them.

    An InputError says what is wrong with which classes.
    """
    match, n_classes = AT_K.fullmatch(metric.name), len(classes.names)
    if match and match[1] == "top_" and int(match[2]) >= n_classes:
        raise InputError(f"metric {metric.name!r} of {n_classes} classes is always 1; take a smaller number")
    metric.for_classes(classes)


def grades_of(classes: Classes) -> Weights:
    """Return the numbers that ordered classes stand for, (n_classes,): those that their names begin with.

    Where the names are no numbers, each one's place in the declared order.

    Raises
    ------
    InputError
        When neither says it of every class, or two classes are one number.
    """
    if len(numbers := [match for name in classes.names if (match := LEADING_NUMBER.match(name))]) == len(classes.names):
        grades = [float(number[1]) for number in numbers]
    elif classes.order:
        if odd := sorted(set(classes.names) ^ set(classes.order)):
            raise InputError(f"[competition] order must name every class once: {some(map(repr, odd))} differ")
        grades = [float(classes.order.index(name)) for name in classes.names]
    else:
        name = next(name for name in classes.names if not LEADING_NUMBER.match(name))
        raise InputError(
            f"metric 'quadratic_kappa' needs classes in their order, and nothing says where {name!r} stands; write "
            f'order = ["{name}", ...] under [competition], from the lowest to the highest'
        )
    if len(set(grades)) < len(grades):
        twice = next(grade for grade in grades if grades.count(grade) > 1)
        same = [name for name, grade in zip(classes.names, grades, strict=True) if grade == twice]
        raise InputError(f"metric 'quadratic_kappa': classes {some(map(repr, same))} are one grade, {twice:g}")
    return np.array(grades)


@functools.cache
def _f_beta(average: str, digits: str) -> Metric:
    """Return an F-beta; digits that begin with 0 are decimals, as in F05 of Kaggle's pages."""
    name = f"{average}_f{digits}"
    beta = float(f"0.{digits[1:]}") if digits.startswith("0") and digits.isdigit() else float(digits)
    if not 0 < beta <= LARGEST_BETA:
        raise InputError(f"{name!r} is not a metric; beta must lie above 0, at most {LARGEST_BETA}")
    if average == "samples":
        per_image = functools.partial(decisions.fbeta_of_images, beta=beta)
        return _mean_of(name, per_image, needs="labels", tasks=SEVERAL)
    if average == "binary":
        return _binary_f(name, beta, 1)
    return _count_metric(name, functools.partial(AVERAGES[average], beta=beta))


def _binary_f(name: str, beta: float, code: int) -> Metric:
    """Return the F-beta of the positive one of two classes."""
    return _count_metric(
        name,
        functools.partial(decisions.fbeta_of_class, beta=beta, code=code),
        n_classes=2,
        tasks=ONE,
        key=f"{name} {code}",
        bind=lambda _, classes: _binary_f(name, beta, _positive_code(name, classes)),
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
