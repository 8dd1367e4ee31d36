"""Choose by probes on the labels: how to read a file of weights, which encoders are joined, what they see of an image.

A strict load proves nothing, and few labels prove little: what helped on many sets they must show to harm.
Reads labelled images; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.core.files import key_of
from kit.core.shapes import Groups, Labels, Mask, Vectors
from kit.curate.plan.facts import PlanFacts
from kit.curate.plan.folder import Candidate, FoundWeights
from kit.data.folds import split_rows
from kit.features.weights import EncoderSpec, parse_encoder

C = 30.0  # as the linear probe's
N_FOLDS = 5
JOIN_MARGIN = 0.05  # of accuracy, below the best probe
WHOLE = {"crop_pct": 1.0, "crop_mode": "squash"}  # in timm's words
WHOLE_GAIN, WHOLE_GAIN_SD = 0.02, 0.016  # of accuracy over the middle: mean and deviation over sets, by kit/bench
OVERLAY = "pretrained_cfg_overlay"


@dataclass(frozen=True)
class Choice:
    """Hold the way that was chosen, and what is to be said of the choice; nothing where a file decides."""

    candidate: Candidate
    sentence: str = ""


def choose_candidate(found: FoundWeights, facts: PlanFacts) -> Choice:
    """Return the way to read a file by which a probe names most of the held-out labelled images right."""
    if len(found.candidates) == 1:
        return Choice(found.candidates[0])
    labels, groups, paths = comparable_labels(facts)
    if not len(labels):
        return Choice(
            found.candidates[0], f"{found.path}: {_list(found)}; the first is taken, no label can compare them"
        )
    specs = [parse_encoder(each.encoder, each.encoder_args, facts.lookup) for each in found.candidates]
    scores = [oof_accuracy(facts.encode(spec, paths), labels, groups) for spec in specs]
    best = int(np.argmax(scores))
    spelled = ", ".join(f"{each.words} {score:.3f}" for each, score in zip(found.candidates, scores, strict=True))
    said = f"{found.path}: nothing beside it says how it wants its images; out of fold on {len(labels)} labels: "
    return Choice(found.candidates[best], f"{said}{spelled}; the best is taken")


def choose_joined(scores: dict[str, float]) -> set[str]:
    """Return the encoders to join, by their probes' accuracy: the two best, and others nearly as good as the best.

    A weak one takes away more than it adds (trashnet, 15 labels per class, 8 draws, labels diffused: the two that pip
    brings .748, with a MobileNetV2 .746, with a small CLIP too .739). A second one adds, though a few labels may show
    its own probe far below (the better of pip's two alone instead of both, 2 to 5 draws: trashnet -0.7, CIFAR-10 with 4
    labels per class -3.2, groceries with 5 -4.4 points).
    """
    ranked = sorted(scores, key=lambda name: -scores[name])
    return {name for i, name in enumerate(ranked) if i < 2 or scores[name] >= scores[ranked[0]] - JOIN_MARGIN}


def whole_args(spec: EncoderSpec) -> dict[str, Any] | None:
    """Return the arguments with which a timm encoder sees the whole image, squashed into its square.

    None where it does already, and for encoders that are not timm's, of which nothing was measured.
    """
    from kit.features.encoders import preprocessing_of

    geometry = preprocessing_of(spec).geometry
    if spec.library != "timm" or (geometry.resize == "squash" and geometry.crop_share == 1):
        return None
    return {**spec.args, OVERLAY: {**spec.args.get(OVERLAY, {}), **WHOLE}}


def middle_args(args: dict[str, Any]) -> dict[str, Any]:
    """Return a timm encoder's arguments without what `whole_args` adds: it crops the middle, as its makers did."""
    overlay = {key: value for key, value in args.get(OVERLAY, {}).items() if key not in WHOLE}
    others = {key: value for key, value in args.items() if key != OVERLAY}
    return {**others, OVERLAY: overlay} if overlay else others


def weigh_views(middle: Mask, whole: Mask) -> tuple[float, float]:
    """Return how much better encoders that see the whole image are taken to be, and what the labels alone say of it.

    What the labels say is drawn towards what other data sets showed, the more the fewer they are.

    Parameters
    ----------
    middle, whole
        (n_encoders, n_images) which labels a probe named right out of fold.
    """
    differences = whole.mean(axis=0) - middle.mean(axis=0)  # of each image, paired
    n_images, said = len(differences), float(differences.mean())
    variance = (float(differences.var()) + 1 / n_images) / n_images  # as if one more image said the opposite
    of_sets = WHOLE_GAIN_SD**2
    return (WHOLE_GAIN / of_sets + said / variance) / (1 / of_sets + 1 / variance), said


def oof_hits(features: Vectors, labels: Labels, groups: Groups) -> Mask:
    """Return which labels a logistic regression names right that saw no image of their groups, (n_images,)."""
    from sklearn.linear_model import LogisticRegression

    n_smallest = int(np.bincount(labels)[np.unique(labels)].min())
    folds = split_rows(labels, groups, min(N_FOLDS, n_smallest, len(np.unique(groups))), seed=0)
    is_hit = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        here = folds == fold
        if len(np.unique(labels[~here])) > 1:
            probe = LogisticRegression(C=C, max_iter=300).fit(features[~here], labels[~here])
            is_hit[here] = probe.predict(features[here]) == labels[here]
    return is_hit


def oof_accuracy(features: Vectors, labels: Labels, groups: Groups) -> float:
    """Return how many labels a logistic regression names right that saw no image of their groups, 0..1."""
    return float(oof_hits(features, labels, groups).mean())


class Labeled:
    """Hold the labelled images on which encoders are compared; each encoder is asked once.

    `labels` is empty where there are not two classes to compare by.
    """

    def __init__(self, facts: PlanFacts) -> None:
        self.labels, self._groups, self._paths = comparable_labels(facts)
        self._encode = facts.encode
        self._hits: dict[str, Mask] = {}

    def hits(self, spec: EncoderSpec) -> Mask:
        """Return which labels a probe on an encoder names right out of fold, (n_images,)."""
        key = key_of(spec.text, spec.args)
        if key not in self._hits:
            self._hits[key] = oof_hits(self._encode(spec, self._paths), self.labels, self._groups)
        return self._hits[key]


def _can_be_read(path: str) -> bool:
    """Return whether an image is whole: broken ones are told of by `check`."""
    from kit.data.decoding import decode_image

    try:
        decode_image(path)
    except OSError:
        return False
    return True


def comparable_labels(facts: PlanFacts) -> tuple[Labels, Groups, list[str]]:
    """Return class numbers, groups and paths of labelled images on which encoders are compared.

    Images that cannot be read are left out, and classes of a single image or of a single group, which no fold can hold
    out; none are left where there are not two classes.
    """
    readable = [i for i, path in enumerate(facts.labeled) if _can_be_read(path)]
    labels, groups = (np.array(values, dtype=np.int64)[readable] for values in (facts.labels, facts.groups))
    in_class = [groups[labels == label] for label in labels]
    is_kept = np.array([len(set(each.tolist())) > 1 for each in in_class], dtype=bool)
    if len(np.unique(labels[is_kept])) < 2:
        return labels[:0], groups[:0], []
    paths = [facts.labeled[i] for i, kept in zip(readable, is_kept, strict=True) if kept]
    return labels[is_kept], groups[is_kept], paths


def _list(found: FoundWeights) -> str:
    """Return the candidates in words."""
    return " or ".join(each.words for each in found.candidates)
