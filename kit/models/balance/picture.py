"""The picture of a balance: how many images of each class there are, and how much each class then counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kit.core.figures import empty_figure, png_of
from kit.core.shapes import Weights

INCHES_PER_CLASS = 0.3
WITH_NUMBERS = 40  # classes: more bars carry no numbers


def draw_distribution(before: Weights, after: Weights, classes: Sequence[str], title: str = "labelled images") -> bytes:
    """Return a PNG of the classes' sizes before and after weights or resampling, the largest class first.

    Raises
    ------
    ValueError
        When there are not as many numbers as classes.
    """
    if not len(before) == len(after) == len(classes):
        raise ValueError(f"{len(before)} sizes before and {len(after)} after, for {len(classes)} classes")
    order = np.argsort(-np.asarray(before), kind="stable")
    places = np.arange(len(classes))
    figure = empty_figure(max(5.0, INCHES_PER_CLASS * len(classes) + 2), 4.0)
    panel = figure.subplots()
    for shift, name, sizes in ((-0.2, "before", before), (0.2, "after", after)):
        bars = panel.bar(places + shift, np.asarray(sizes)[order], 0.4, label=name)
        if len(classes) <= WITH_NUMBERS:
            panel.bar_label(bars, fmt="%.4g", fontsize=6, rotation=90, padding=2)
    panel.set_xticks(places, [classes[int(i)] for i in order], rotation=90, parse_math=False)
    panel.set_ylabel("images, by weight")
    panel.margins(y=0.15)
    panel.legend()
    panel.set_title(title, parse_math=False)
    return png_of(figure)
