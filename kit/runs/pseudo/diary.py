"""Diary: what a choice of pseudo labels looked like, per fold and over the folds of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from kit.core.errors import some


def describe_balance(per_class: np.ndarray) -> dict[str, float | None]:
    """Return how even a choice is over the classes.

    Parameters
    ----------
    per_class
        (n_classes,) chosen images.

    Returns
    -------
    dict
        ``max_to_min``: the largest class over the smallest, None where a class has none; ``entropy``: 0 (one class
        alone) to 1 (all equal), None where nothing was chosen.
    """
    total = per_class.sum()
    if not total:
        return {"max_to_min": None, "entropy": None}
    share = per_class[per_class > 0] / total
    entropy = float(-(share * np.log(share)).sum() / np.log(max(len(per_class), 2)))
    ratio = float(per_class.max() / per_class.min()) if per_class.min() else None
    return {"max_to_min": ratio, "entropy": round(entropy, 4)}


def compare_rounds(now: dict[str, int], before: dict[str, int], today: dict[str, int]) -> dict[str, float | None]:
    """Return how a choice differs from the last round's.

    Parameters
    ----------
    now, before
        Class code by name of image, of this round's choice and of the last one's.
    today
        What this round's teachers say of every image, chosen or not.

    Returns
    -------
    dict
        ``overlap``: share of the last choice that is chosen again; ``agreement``: of the images in both, the share
        whose label is the same; ``contradicted``: share of the last choice that the teachers now name otherwise. None
        where there is nothing to compare.
    """
    both = now.keys() & before.keys()
    known = before.keys() & today.keys()
    return {
        "overlap": _share(len(both), len(before)),
        "agreement": _share(sum(now[name] == before[name] for name in both), len(both)),
        "contradicted": _share(sum(today[name] != before[name] for name in known), len(known)),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def summarise(diaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the folds' diaries: numbers, and the classes that lacked something in any fold.

    Parameters
    ----------
    diaries
        One per fold.
    """
    per_class = {name: _mean([own["per_class"][name] for own in diaries]) for name in diaries[0]["per_class"]}
    rounds = [own["before"] for own in diaries if own["before"]]
    return {
        "n_pool": _mean([own["n_pool"] for own in diaries]),
        "n_chosen": _mean([own["n_chosen"] for own in diaries]),
        "keep_rate": _mean([own["keep_rate"] for own in diaries]),
        "max_confidence": max(own["max_confidence"] for own in diaries),
        "per_class": per_class,
        "balance": describe_balance(np.array(list(per_class.values()))),
        "lifted": sorted({name for own in diaries for name in own["lifted"]}),
        "short": sorted({name for own in diaries for name in own["short"]}),
        "before": {key: _mean([own[key] for own in rounds]) for key in rounds[0]} if rounds else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def remarks(summary: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return what a user must know of a choice, one sentence each; nothing where all went as asked.

    Parameters
    ----------
    summary
        From `summarise`.
    plan
        The keys of ``pseudo``.
    """
    said = []
    if not summary["n_pool"]:
        return ["the pool of unlabelled images is empty: there are no pseudo labels, the labelled images stand alone"]
    if not summary["n_chosen"]:
        said.append(f"nothing passes: no image is kept, the labelled images stand alone; {_remedy(summary, plan)}")
    if summary["lifted"]:
        said.append(f"no teacher ever names {some(summary['lifted'])}: lifted to the share of the labelled images")
    if plan["strategy"] == "top_k" and summary["short"]:
        there = [f"{name} ({summary['per_class'][name]:g})" for name in summary["short"]]
        said.append(f"fewer images than the {plan['k']} asked for in {some(there)}: all there are were taken")
    return said


def _remedy(summary: dict[str, Any], plan: dict[str, Any]) -> str:
    """Say what to change where nothing passes: the threshold if that kept images out, else what is asked besides."""
    if summary["max_confidence"]:
        return f"the surest has a probability of {summary['max_confidence']:.3f}: lower threshold"
    return "set agree = false" if plan["cores"] is None else "leave out cores, or set agree = false"
