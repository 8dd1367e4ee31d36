"""Ways to classify the hidden images of one draw: the plan untouched, what an expert would write, other settings.

Each gives probabilities of the test images, (n_test, n_classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from kit.bench.kept import Kept, keep_results
from kit.bench.recipes.sets import Draw, list_encoders, share_features
from kit.core.names import ENSEMBLE
from kit.core.shapes import Labels, Proba, Vectors
from kit.curate.plan.choose import middle_args, whole_args
from kit.data.images import Images
from kit.features.joint import Joined, encode_jointly
from kit.features.weights import spec_of
from kit.models.heads.linear_probe import LinearProbe
from kit.runs.store.build import build_model
from kit.runs.train import find_members, train_runs
from kit.scoring.metrics import hits

SPREADING = "LabelSpreading (scikit-learn)"
BASELINE, TWENTY = "best encoder, logistic regression", "twenty lines"
JOINT, RUN = "joint probe, fitted once", "run "
"""The planned joint probe on all labels at once, with which its settings are compared; what names a planned run."""
WHOLE, MIDDLE = "view = whole image", "view = its middle"
"""What the joint probe's encoders see of an image."""
TRIED: dict[str, tuple[float, ...]] = {
    "smooth": (0.0, 0.5, 0.9),
    "power": (0.3, 0.7, 1.0),
    "whiten": (0.0, 0.25, 0.75, 1.0),
    "self_training": (0.0, 0.1, 1.0),
    "n_neighbors": (3, 4, 7, 10),
    "C": (3.0, 10.0, 100.0),
}
"""Of each setting of the joint probe the values tried beside the planned one."""
ENSEMBLED = f"{RUN}{ENSEMBLE}"
WORDED = "open_clip:"  # encoders that read words, which the twenty lines leave out


def run_plan(draw: Draw) -> Kept:
    """Return what the planned runs say, trained as `all` trains them but for models that no prediction comes from."""
    laid = replace(draw.laid, fits_idle_pairs=False)
    _, skipped = train_runs(laid, laid.competition.default_runs, strict=True)
    return keep_results(laid, draw.truth, find_members(laid, told=skipped))


def run_baselines(draw: Draw) -> dict[str, Proba]:
    """Return what an expert's twenty lines and the best encoder's regression say."""
    encoders = _see_middle(draw)
    alone = [LinearProbe(*encoder, smooth=0.0) for encoder in encoders]
    best = max(alone, key=lambda probe: _accuracy_within(probe, draw.labeled))
    taught = [each for each in encoders if not each[0].startswith(WORDED)] or encoders
    twenty = LinearProbe(encoders=_tables(taught), smooth=0.8, n_neighbors=10)
    return {BASELINE: _predict(best, draw), TWENTY: _predict(twenty, draw)}


def ask_scikit_learn(draw: Draw) -> dict[str, Proba]:
    """Return what scikit-learn's semi-supervised methods say, which takes a quarter of all the time."""
    encoders, proba = _see_middle(draw), {}
    everything = draw.labeled.join(draw.others)
    values, is_test = encode_jointly(everything, encoders), np.isin(everything.rows, draw.test.rows)  # in one order
    for name, learner in _of_scikit_learn().items():
        proba[name] = _ask(learner, values, everything.labels, draw.labeled.n_classes)[is_test]
    return proba


def _see_middle(draw: Draw) -> list[Joined]:
    """Return a plan's encoders that see of an image what their makers let them see, not what a plan has chosen."""
    encoders = [(encoder, middle_args(args)) for encoder, args in list_encoders(draw.laid)]
    share_features(draw.pool, draw.full, encoders)
    return encoders


def try_settings(draw: Draw) -> dict[str, Proba]:
    """Return what the planned joint probe says, and the same with one setting changed; nothing where none is joint."""
    if (joint := _find_joint(draw)) is None:
        return {}
    proba = {JOINT: _predict(joint, draw)} | _try_views(joint, draw)
    for name, values in TRIED.items():
        planned = getattr(joint, name)
        proba[spell(name, planned)] = proba[JOINT]
        for value in values:
            if value != planned:
                proba[spell(name, value)] = _predict(replace(joint, **{name: value}), draw)
    return proba


def encode_views(draw: Draw) -> None:
    """Encode the whole set as all of these ways see it."""
    _see_middle(draw)
    if (joint := _find_joint(draw)) is not None:
        _list_views(joint, draw)


def _find_joint(draw: Draw) -> LinearProbe | None:
    """Return the planned joint probe; None where none is joint."""
    run = draw.laid.competition.runs.get("joint")
    joint = None if run is None else build_model(draw.laid.competition, run)
    assert joint is None or isinstance(joint, LinearProbe)
    return joint


def _list_views(joint: LinearProbe, draw: Draw) -> dict[str, list[Joined]]:
    """Return the joint probe's encoders as they see the whole image, and its middle; the set is encoded by them."""
    specs = [spec_of(draw.test.pool, *encoder) for encoder in joint.encoders_used]
    views = {
        WHOLE: [(spec.text, whole_args(spec) or spec.args) for spec in specs],
        MIDDLE: [(spec.text, middle_args(spec.args)) for spec in specs],
    }
    for encoders in views.values():
        share_features(draw.pool, draw.full, encoders)
    return views


def _try_views(joint: LinearProbe, draw: Draw) -> dict[str, Proba]:
    """Return what the joint probe says where its encoders see the whole image, and where they see its middle."""
    probes = {
        way: replace(joint, encoder=None, encoder_args={}, encoders=_tables(encoders))
        for way, encoders in _list_views(joint, draw).items()
    }
    return {way: _predict(probe, draw) for way, probe in probes.items()}


def spell(setting: str, value: float) -> str:
    """Return how a setting's value is called in tables."""
    return f"{setting} = {value:g}"


def _predict(probe: LinearProbe, draw: Draw) -> Proba:
    return probe.fit(draw.labeled, draw.others).predict_proba(draw.test)


def _tables(encoders: list[Joined]) -> list[str | dict[str, Any]]:
    return [{"encoder": text, "encoder_args": args} for text, args in encoders]


def _accuracy_within(probe: LinearProbe, labeled: Images) -> float:
    """Return the accuracy of a regression in two halves of the labelled images, each class in both."""
    half = np.zeros(len(labeled), dtype=bool)
    for code in np.unique(labeled.labels):
        half[np.flatnonzero(labeled.labels == code)[::2]] = True
    parts = labeled.take(np.flatnonzero(half)), labeled.take(np.flatnonzero(~half))
    nobody = labeled.take(np.zeros(0, dtype=np.int64))
    right = [
        hits(scored.labels, probe.fit(shown, nobody).predict_proba(scored)) for shown, scored in (parts, parts[::-1])
    ]
    return float(np.concatenate(right).mean())


def _of_scikit_learn() -> dict[str, Callable[[], Any]]:
    """Return scikit-learn's semi-supervised methods, as one would call them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

    return {
        SPREADING: lambda: LabelSpreading(kernel="knn", n_neighbors=7, max_iter=200),
        "SelfTrainingClassifier (scikit-learn)": lambda: SelfTrainingClassifier(
            LogisticRegression(C=90.0, max_iter=500), threshold=0.75
        ),
    }


def _ask(learner: Callable[[], Any], values: Vectors, labels: Labels, n_classes: int) -> Proba:
    """Return a learner's probabilities of all images; evenly spread where none was reached."""
    fitted = learner().fit(values, labels)
    with np.errstate(invalid="ignore"):
        said = np.nan_to_num(fitted.predict_proba(values), nan=0.0)
    proba = np.zeros((len(values), n_classes))
    proba[:, fitted.classes_] = said
    reached = proba.sum(axis=1, keepdims=True)
    return np.where(reached > 0, proba / np.where(reached > 0, reached, 1), 1 / n_classes)
