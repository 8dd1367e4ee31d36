"""Models of features and pixels, with settings that fit in a moment."""

from __future__ import annotations

from typing import Any

from support.clips import TINY_CLIP

from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.models.classic.forest import Forest
from kit.models.classic.label_spreading import LabelSpreading
from kit.models.classic.svm import SVM
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.zero_shot import ZeroShot

LIGHT = {
    "forest": lambda: Forest(n_trees=10, pixels=4),
    "extra": lambda: Forest(n_trees=10, pixels=4, trees="extra"),
    "svm": lambda: SVM(pixels=4),
    "label_spreading": lambda: LabelSpreading(pixels=4, n_neighbors=3),
    "zero_shot": lambda: ZeroShot(TINY_CLIP),
    "linear_probe": lambda: LinearProbe(TINY_CLIP),
    "linear_probe_prior": lambda: LinearProbe(TINY_CLIP, prompts="names", prior=0.5),
}


def fitted(name: str, prepared: Prepared, labeled: Images | None = None) -> Any:
    """Return a light model, fitted to the images of fold 0 or to others."""
    model = LIGHT[name]()
    return model.fit(prepared.training(0) if labeled is None else labeled, prepared.unlabeled(0, False))
