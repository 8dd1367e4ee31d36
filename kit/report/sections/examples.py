"""Images to look at: the most confident mistakes, the least confident test images, an ordinary sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kit.metrics import decide
from kit.report.evidence import Evidence
from kit.report.parts import Gallery, Part, Section, Text, Tile

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
    proba, labels = evidence.oof(evidence.headline), evidence.labels
    said = decide(proba, labels.ndim == 2)
    if labels.ndim == 2:
        missed = np.abs(proba - labels)  # (n_images, n_classes): how far off each decision is
        wrong, sureness = (said != labels).any(axis=1), missed.max(axis=1)
    else:
        wrong, sureness = said != labels, proba.max(axis=1)
    order = np.flatnonzero(wrong)[np.argsort(-sureness[wrong], kind="stable")]
    if not len(order):
        return Text("No labelled image is mistaken out of fold.")
    tiles = [
        _tile(
            evidence,
            evidence.scored[i],
            _name(evidence, said[i]),
            f"label {_name(evidence, labels[i])}",
            sureness[i],
            "bad",
        )
        for i in order[:SHOWN]
    ]
    caption = f"{len(order)} of {len(labels)} labelled images; a wrong label is often among the surest."
    return Gallery("Most confident mistakes", tiles, caption)


def _test_images(evidence: Evidence) -> Sequence[Part]:
    """Show the test images the model is least sure of, and a random sample of all."""
    test = evidence.headline.predictions("test")
    if not len(test):
        return []
    row_of = {
        image_id: row for row in evidence.prepared.split("test") for image_id in (evidence.prepared.pool.ids[row],)
    }
    is_multilabel = evidence.labels.ndim == 2
    said = decide(test.proba, is_multilabel)
    sureness = np.abs(test.proba - 0.5).min(axis=1) + 0.5 if is_multilabel else test.proba.max(axis=1)
    known = np.array([image_id in row_of for image_id in test.ids])
    least = [i for i in np.argsort(sureness, kind="stable") if known[i]][:SHOWN]
    sample = np.random.default_rng(0).permutation(np.flatnonzero(known))[:SHOWN]
    galleries = []
    for title, rows in (("Least confident test images", least), ("An ordinary sample of test images", sample)):
        tiles = []
        for i in rows:
            second = "" if is_multilabel else f"else {_name(evidence, np.argsort(-test.proba[i])[1])}"
            tiles.append(_tile(evidence, row_of[test.ids[i]], _name(evidence, said[i]), second, sureness[i], "plain"))
        galleries.append(Gallery(title, tiles))
    return galleries


def _tile(evidence: Evidence, row: int, said: str, second: str, sureness: float, tone: str) -> Tile:
    pool = evidence.prepared.pool
    return Tile(str(pool.paths[row]), [f"said {said}, {sureness:.2f}", second, str(pool.ids[row])], tone)


def _name(evidence: Evidence, code: np.ndarray | int) -> str:
    """Return the class, or the classes, that a code or a row of zeros and ones stands for."""
    classes = evidence.prepared.classes
    if np.ndim(code) == 0:
        return classes[int(code)]
    names = [classes[i] for i in np.flatnonzero(code)]
    return ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "") or "nothing"
