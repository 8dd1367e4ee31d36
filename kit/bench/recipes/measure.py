"""Measure ways to classify photos with a few labels, draw by draw.

Reads the folders below ``--data`` and the weights below ``--weights``. Writes features and ``draws.json`` below
``runs/bench-recipes``; a draw that is there is not measured again. Hidden labels are opened by the scoring here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.bench.semi import PhotoSetting, lay_out, read_photos
from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.files import Workspace, hold, read_json, write_json
from kit.core.shapes import Labels, Proba, Vectors
from kit.core.terminal import stage, warn
from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.features.joint import Joined, encode_jointly
from kit.models.heads.linear_probe import LinearProbe
from kit.models.trust import TRUSTED
from kit.scoring.metrics import hits

SETTINGS = (
    PhotoSetting("trashnet", 15),
    PhotoSetting("trashnet", 5),
    PhotoSetting("trashnet", 40),
    PhotoSetting("grocery", 5, "coarse"),
    PhotoSetting("cifar10", 4, n_per_class=300),
    PhotoSetting("cifar10", 25, n_per_class=300),
)
N_DRAWS = 8
BASELINE, JOINT, TWENTY = "best encoder, logistic regression", "joint probe, as by default", "twenty lines"
TEMPERATURES = np.exp(np.arange(-2.0, 2.75, 0.25))
TINY = 1e-7  # probability: the logarithm of a certain error stays finite
MOBILENET = "mobilenetv2_100/model.safetensors"  # below --weights; the others come with pip
ENCODERS: tuple[Joined, ...] = (
    ("timm:tf_efficientnet_lite0@pip", {}),
    ("timm:tf_efficientnet_lite2@pip", {}),
    (
        f"timm:mobilenetv2_100@{MOBILENET}",
        {"pad_type": "same", "pretrained_cfg_overlay": {"mean": [0.5] * 3, "std": [0.5] * 3}},
    ),
)


@dataclass(frozen=True)
class Measured:
    """Hold the result of one way on the hidden images of one draw.

    Parameters
    ----------
    way
        What was tried; ``smooth = 0.5`` and so on: the joint probe at that share.
    accuracy
        0..1.
    log_loss
        At the temperature that is best for it, in nats.
    """

    setting: str
    draw: int
    way: str
    accuracy: float
    log_loss: float


def bench_recipes(
    data: Path, weights: Path | None, workspace: Workspace, draws: Sequence[int] = range(N_DRAWS)
) -> list[Measured]:
    """Measure every way on every setting whose photos are there.

    Parameters
    ----------
    data
        A folder with ``trashnet`` and ``cifar10`` (class folders) and ``grocery`` (labels.csv and images).
    weights
        A folder with ``mobilenetv2_100/model.safetensors``; None for the encoders of pip alone.
    workspace
        Results lie in its runs/bench-recipes.

    Raises
    ------
    InputError
        When none of the folders of photos is there.
    """
    available = [setting for setting in SETTINGS if (data / setting.name).is_dir()]
    if not available:
        wanted = ", ".join(dict.fromkeys(f"{setting.name}/" for setting in SETTINGS))
        raise InputError(f"{data}: none of {wanted} is there; bench recipes needs folders of photos")
    encoders = _find_encoders(weights)
    home = Workspace(workspace.root / "runs" / "bench-recipes")
    file = home.root / f"draws-{len(encoders)}.json"  # other encoders, other figures
    measured = [Measured(**each) for each in read_json(file) or []]
    done = {(each.setting, each.draw) for each in measured}
    with hold(home.root, warn):
        for setting in available:
            waiting = [draw for draw in draws if (_label(setting), draw) not in done]
            everything = _with_encoders(read_photos(data, setting, home), encoders) if waiting else None
            for draw in waiting:
                measured += _measure(everything, setting, draw, encoders)
                write_json(file, [asdict(each) for each in measured])
                stage("bench", f"{_label(setting)}, draw {draw}")
    asked = {(_label(setting), draw) for setting in available for draw in draws}
    return [each for each in measured if (each.setting, each.draw) in asked]


def _label(setting: PhotoSetting) -> str:
    return f"{setting.name} {setting.shots}"


def _find_encoders(weights: Path | None) -> list[Joined]:
    """Return the encoders that are at hand, with absolute paths."""
    if weights is None:
        return list(ENCODERS[:2])
    if not (weights / MOBILENET).is_file():
        raise InputError(f"--weights {weights}: {MOBILENET} is not there; leave out --weights for pip's encoders alone")
    return [(text.replace(f"@{MOBILENET}", f"@{(weights / MOBILENET).resolve()}"), args) for text, args in ENCODERS]


def _with_encoders(everything: Prepared, encoders: Sequence[Joined]) -> Prepared:
    """Give a competition the one run whose encoders are to be had of every draw."""
    tables = [{"encoder": text, "encoder_args": args} for text, args in encoders]
    run = Run(name="joint", model="linear_probe", options={"encoders": tables})
    competition = everything.competition.model_copy(update={"runs": {run.name: run}})
    return replace(everything, competition=competition)


def _measure(
    everything: Prepared | None, setting: PhotoSetting, draw: int, encoders: Sequence[Joined]
) -> list[Measured]:
    """Measure all ways on one draw."""
    if everything is None:
        return []
    laid, truth = lay_out(everything, setting, draw)
    pool = laid.pool
    labeled = pool.select(laid.labeled, laid.labels)
    others, test = pool.select(np.flatnonzero(pool.splits != "labeled")), pool.select(laid.split("test"))
    scored = {way: score(truth, proba) for way, proba in _predict(labeled, others, test, encoders).items()}
    return [Measured(_label(setting), draw, way, *values) for way, values in scored.items()]


def _predict(labeled: Images, others: Images, test: Images, encoders: Sequence[Joined]) -> dict[str, Proba]:
    """Return what each way says of the test images, which are among the unlabelled ones."""
    joined: list[str | dict[str, Any]] = [{"encoder": text, "encoder_args": args} for text, args in encoders]
    alone = [LinearProbe(*encoder, smooth=0.0) for encoder in encoders]
    best = max(alone, key=lambda probe: _accuracy_within(probe, labeled))
    twenty = LinearProbe(encoders=joined, smooth=0.8, n_neighbors=10, self_training=0.0)
    proba = {BASELINE: best.fit(labeled, others).predict_proba(test)}
    proba[TWENTY] = twenty.fit(labeled, others).predict_proba(test)
    probe = LinearProbe(encoders=joined, smooth="nested", self_training=0.3).fit(labeled, others)
    for setting, swept in zip(probe.sweep_values(), probe.predict_sweep(test), strict=True):
        proba[f"smooth = {setting['smooth']}"] = swept
        if setting["smooth"] == next(iter(TRUSTED["smooth"])):
            proba[JOINT] = swept
    everything = labeled.join(others)
    values, is_test = encode_jointly(everything, encoders), np.isin(everything.rows, test.rows)  # both in one order
    for name, learner in _of_scikit_learn().items():
        proba[name] = _ask(learner, values, everything.labels, labeled.n_classes)[is_test]
    return proba


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
        "LabelSpreading (scikit-learn)": lambda: LabelSpreading(kernel="knn", n_neighbors=7, max_iter=200),
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


def score(truth: Labels, proba: Proba) -> tuple[float, float]:
    """Return the accuracy of probabilities, and their log-loss at the temperature that is best for it."""
    from scipy.special import log_softmax

    logits = np.log(np.maximum(proba, TINY))
    rows = np.arange(len(truth))
    losses = [-log_softmax(logits / temperature, axis=1)[rows, truth].mean() for temperature in TEMPERATURES]
    return float(hits(truth, proba).mean()), float(min(losses))
