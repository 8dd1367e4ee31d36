"""Images to look at: the most confident mistakes, the least confident test images, an ordinary sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kit.core.shapes import Labels
from kit.report.board import rank_mistakes
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Gallery, Part, Section, Text, Tile
from kit.scoring.metrics import decide
from kit.scoring.predictions import Predictions

SHOWN = 18  # tiles of a gallery
MOST_NAMES = 4  # labels named below a tile


def build(evidence: Evidence) -> Section:
    """Return three galleries of the run that is to be sent."""
    result = evidence.headline
    parts: list[Part] = [Text(f"Of {result.name}.", "note"), _mistakes(evidence)]
    parts += _test_images(evidence)
    return Section("examples", "Images to look at", parts)


def _mistakes(evidence: Evidence) -> Part:
    """Show what the model was surest of and wrong about; a wrong label is often among them."""
    ranked = rank_mistakes(evidence.prepared, evidence.headline)
    labels, order = ranked.labels, ranked.order
    if not len(order):
        return Text("No labelled image is mistaken out of fold.")
    tiles = [
        _tile(
            evidence,
            int(evidence.scored[i]),
            _name(evidence, ranked.predicted[i]),
            f"label {_name(evidence, labels[i])}",
            float(ranked.sureness[i]),
            "bad",
        )
        for i in order[:SHOWN]
    ]
    caption = f"{len(order)} of {len(labels)} labelled images; a wrong label is often among the surest."
    return Gallery("Most confident mistakes", tiles, caption)


def _test_images(evidence: Evidence) -> Sequence[Part]:
    """Show the test images the model is least sure of, and a random sample of all, as they are decided."""
    prepared = evidence.prepared
    rows = prepared.split("test")
    if not len(rows):
        return []
    test = evidence.decided.at(prepared.pool.ids[rows])
    sureness = test.proba.max(axis=1)
    if evidence.labels.ndim == 2:
        sureness = np.abs(test.proba - 0.5).min(axis=1) + 0.5
    least = np.argsort(sureness, kind="stable")[:SHOWN]
    sample = np.random.default_rng(0).permutation(len(rows))[:SHOWN]
    return [
        Gallery(title, [_test_tile(evidence, test, int(rows[i]), i, sureness[i]) for i in positions])
        for title, positions in (
            ("Least confident test images", least),
            ("An ordinary sample of test images", sample),
        )
    ]


def _test_tile(evidence: Evidence, test: Predictions, row: int, i: int, sureness: float) -> Tile:
    """Return a test image with what is predicted of it, and what else was nearest."""
    proba, classes = test.proba[i], test.classes
    predicted = _name(evidence, decide(proba[None], evidence.labels.ndim == 2)[0], classes)
    if evidence.labels.ndim == 2:
        second = f"least sure of {evidence.spell(classes)[int(np.abs(proba - 0.5).argmin())]}"
    elif predicted == evidence.prepared.competition.decision.none_of_these:
        pool = evidence.prepared.pool
        return Tile(str(pool.paths[row]), [f"said {predicted}", str(pool.ids[row])])
    else:
        second = f"else {evidence.spell(classes)[int(np.argsort(-proba)[1])]}"
    return _tile(evidence, row, predicted, second, sureness, "plain")


def _tile(evidence: Evidence, row: int, predicted: str, second: str, sureness: float, tone: str) -> Tile:
    pool = evidence.prepared.pool
    return Tile(str(pool.paths[row]), [f"said {predicted}, {sureness:.2f}", second, str(pool.ids[row])], tone)


def _name(evidence: Evidence, code: Labels, classes: Sequence[str] | None = None) -> str:
    """Return the class, or the classes, that a code or a row of zeros and ones stands for; of a tree the deepest."""
    classes, tree = evidence.spell(classes or evidence.prepared.classes), evidence.prepared.hierarchy
    if code.ndim == 0:
        return classes[int(code)]
    codes = np.flatnonzero(code) if tree is None else tree.deepest(code)
    names = [classes[i] for i in codes.tolist()]
    return ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "") or "nothing"
