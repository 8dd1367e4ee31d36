"""The record of a choice of pseudo labels: what it looked like, per fold and over the folds of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kit.core.errors import some

Record = dict[str, Any]


def describe_balance(per_class: np.ndarray) -> dict[str, float | None]:
    """Return how even a choice is over the classes, of which (n_classes,) images were chosen.

    ``max_to_min``: the largest class over the smallest, None where a class has none; ``entropy``: 0 (one class alone)
    to 1 (all equal), None where nothing was chosen.
    """
    total = per_class.sum()
    if not total:
        return {"max_to_min": None, "entropy": None}
    share = per_class[per_class > 0] / total
    entropy = float(-(share * np.log(share)).sum() / np.log(max(len(per_class), 2)))
    ratio = float(per_class.max() / per_class.min()) if per_class.min() else None
    return {"max_to_min": ratio, "entropy": round(entropy, 4)}


def compare_rounds(now: dict[str, int], before: dict[str, int], today: dict[str, int]) -> dict[str, float | None]:
    """Return how this round's choice differs from the last one's; each is a class code by name of image.

    `today` is what this round's teachers predict for every image, chosen or not. ``overlap``: share of the last choice
    that is chosen again; ``agreement``: of the images in both, the share whose label is the same; ``contradicted``:
    share of the last choice whose class the teachers now predict otherwise. None where there is nothing to compare.
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


def average_records(records: list[Record]) -> Record:
    """Return the mean of the folds' records: numbers, and the classes that lacked something in any fold."""
    classes = records[0]["per_class"]
    per_class = {name: _mean(record["per_class"][name] for record in records) for name in classes}
    rounds = [record["before"] for record in records if record["before"]]
    teachers = records[0].get("teachers", {})
    return {
        "n_pool": _mean(record["n_pool"] for record in records),
        "n_chosen": _mean(record["n_chosen"] for record in records),
        "keep_rate": _mean(record["keep_rate"] for record in records),
        "max_confidence": max(record["max_confidence"] for record in records),
        "per_class": per_class,
        "balance": describe_balance(np.array(list(per_class.values()))),
        "lifted": sorted({name for record in records for name in record["lifted"]}),
        "short": sorted({name for record in records for name in record["short"]}),
        "teachers": {name: _mean(record["teachers"][name] for record in records) for name in teachers},
        "before": {key: _mean(each[key] for each in rounds) for key in rounds[0]} if rounds else None,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def list_remarks(mean: Record, plan: dict[str, Any]) -> list[str]:
    """Return what a user must know of the folds' mean choice, one sentence each; nothing where all went as asked."""
    remarks = []
    if not mean["n_pool"]:
        return ["the pool of unlabelled images is empty: there are no pseudo labels, the labelled images stand alone"]
    if not mean["n_chosen"]:
        remarks.append(f"nothing passes: no image is kept, the labelled images stand alone; {_remedy(mean, plan)}")
    if mean["lifted"]:
        remarks.append(f"no teacher ever names {some(mean['lifted'])}: lifted to the share of the labelled images")
    if plan["strategy"] == "top_k" and mean["short"]:
        counts = [f"{name} ({mean['per_class'][name]:g})" for name in mean["short"]]
        remarks.append(f"fewer images than the {plan['k']} asked for in {some(counts)}: all there are were taken")
    return remarks


def _remedy(mean: Record, plan: dict[str, Any]) -> str:
    """Say what to change where nothing passes: the threshold if that kept images out, else what is asked besides."""
    if mean["max_confidence"]:
        return f"the surest has a probability of {mean['max_confidence']:.3f}: lower threshold"
    return "set agree = false" if plan["cores"] is None else "leave out cores, or set agree = false"
