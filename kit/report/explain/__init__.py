"""Explain: why a model decided, as pictures - what in an image speaks for and against a class, or any words.

`choice` says which images, `subject` what is explained: the model of the fold that held the image out, as a function
of pixels; `lime` asks any model from outside, `gradients` looks into networks; `writing` lays the maps out. Reads a
finished run's kept weights; writes ``runs/NAME/explain/`` RUN.png, and RUN.npz and RUN.json with the numbers; where
more was asked, such as other images or words, RUN+QUESTION in place of RUN.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.core.errors import InputError, nearest
from kit.core.shapes import Pixels
from kit.core.terminal import Progress
from kit.data.prepared import Prepared
from kit.data.sheet import existing_sheets
from kit.data.store import decode_block
from kit.report.explain.choice import Case
from kit.report.explain.gradients import Heat
from kit.report.explain.scratch import Scratch
from kit.report.explain.subject import GRAD_CAM, GRADIENTS, LIME, METHODS, Subject, default_methods, open_subjects
from kit.runs.store import Result

FOLDER = "explain"
N_SAMPLES = 200  # of LIME
METHOD_NAMES = {LIME: "LIME", GRAD_CAM: "Grad-CAM", GRADIENTS: "gradients"}

__all__ = [
    "FOLDER",
    "METHODS",
    "Explained",
    "Question",
    "Map",
    "explain",
    "explain_picture",
    "folder_of",
    "latest_sheets",
]


@dataclass(frozen=True)
class Question:
    """Say what is asked of every image.

    Parameters
    ----------
    methods
        Of `METHODS`; None for those that suit the model.
    words
        Words to explain in place of a class, for CLIP.
    class_name
        A class in place of the predicted one.
    n_samples
        Blanked pictures that LIME asks about.
    """

    methods: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()
    class_name: str | None = None
    n_samples: int = N_SAMPLES
    seed: int = 0


@dataclass(frozen=True)
class Map:
    """Hold one method's map of one picture.

    Parameters
    ----------
    target
        The class, or the words.
    score
        What the model gives the whole picture: a probability, or a cosine to the words.
    values
        (h, w) float32: above 0 for the target, below 0 against it.
    """

    method: str
    target: str
    score: float
    values: Heat


@dataclass(frozen=True)
class Explained:
    """Hold an image and its maps.

    Parameters
    ----------
    image_id, label
        Its id, and its class or classes; empty where it is not known.
    predicted
        The class that the run predicts.
    pixels
        (3, h, w) uint8, as the model sees it.
    """

    case: Case
    image_id: str
    label: str
    predicted: str
    pixels: Pixels
    maps: tuple[Map, ...]


def explain(
    prepared: Prepared, result: Result, cases: Sequence[Case], question: Question
) -> tuple[list[Explained], float]:
    """Explain images, each by the model of the fold that held it out; return them and the seconds that one took.

    The run has passed `kit.report.explain.subject.check_explainable`; cases come from `kit.report.explain.choice`.

    Raises
    ------
    InputError
        When the class is none, or a method does not suit the network.
    """
    if question.class_name is not None and question.class_name not in prepared.classes:
        raise InputError(
            f"--class {question.class_name!r}: no such class; {nearest(question.class_name, prepared.classes)}"
        )
    predicted = _predicted(prepared, result, cases)
    explained: dict[int, Explained] = {}
    import captum.attr  # noqa: F401 - before the clock starts: it takes as long as some images

    seconds = 0.0
    with Scratch(prepared.pool) as scratch, Progress("explain", len(cases)) as progress:
        for fold in dict.fromkeys(case.fold for case in cases):
            subjects = open_subjects(prepared, result, fold, question.words, scratch)
            for i in (i for i, case in enumerate(cases) if case.fold == fold):
                started = time.perf_counter()
                explained[i] = _explain_case(prepared, subjects, cases[i], predicted[i], question)
                seconds += time.perf_counter() - started
                progress.advance()
    return [explained[i] for i in range(len(cases))], seconds / max(len(cases), 1)


def _explain_case(
    prepared: Prepared, subjects: Sequence[Subject], case: Case, predicted: int, question: Question
) -> Explained:
    """Explain one image by the copies of one model."""
    classes = prepared.classes
    pixels = decode_block([prepared.pool.paths[case.row]], subjects[0].geometry)[0].numpy()
    names = question.words or classes
    if question.words:
        targets = list(range(len(names)))
    else:
        targets = [predicted if question.class_name is None else classes.index(question.class_name)]
    return Explained(
        case,
        str(prepared.pool.ids[case.row]),
        _label(prepared, case),
        classes[predicted],
        pixels,
        tuple(explain_picture(subjects, pixels, targets, names, question)),
    )


def explain_picture(
    subjects: Sequence[Subject], pixels: Pixels, targets: list[int], names: Sequence[str], question: Question
) -> list[Map]:
    """Return the maps of one picture, means over the copies of a model.

    `targets` are the positions of what is explained, `names` what stands at every position.
    """
    methods = question.methods or default_methods(subjects[0], pixels)
    scores = np.mean([subject.say(pixels[None])[0] for subject in subjects], axis=0)
    maps = []
    for method in methods:
        values = np.mean([APPLY[method](subject, pixels, targets, question) for subject in subjects], axis=0)
        maps += [Map(method, names[i], float(scores[i]), value) for i, value in zip(targets, values, strict=True)]
    return maps


def _lime(subject: Subject, pixels: Pixels, targets: list[int], question: Question) -> Heat:
    from kit.report.explain.lime import lime

    return lime(subject.say, pixels, targets, question.n_samples, question.seed)


def _grad_cam(subject: Subject, pixels: Pixels, targets: list[int], question: Question) -> Heat:
    from kit.report.explain.gradients import MIN_SIDE, find_map, grad_cam

    network = subject.with_gradients
    layer = find_map(network, pixels, subject.device)
    if layer is None:
        raise InputError(
            f"--method {GRAD_CAM}: the network has no convolutional map of {MIN_SIDE} x {MIN_SIDE} cells or more, as "
            f"transformers have none; --method {GRADIENTS} and --method {LIME} work"
        )
    return np.stack([grad_cam(network, layer, pixels, target, subject.device) for target in targets])


def _gradients(subject: Subject, pixels: Pixels, targets: list[int], question: Question) -> Heat:
    from kit.report.explain.gradients import integrated_gradients

    return np.stack(
        [integrated_gradients(subject.with_gradients, pixels, target, subject.device) for target in targets]
    )


APPLY: dict[str, Callable[[Subject, Pixels, list[int], Question], Heat]] = {
    LIME: _lime,
    GRAD_CAM: _grad_cam,
    GRADIENTS: _gradients,
}


def _predicted(prepared: Prepared, result: Result, cases: Sequence[Case]) -> list[int]:
    """Return the class that the run gives each image; of several the likeliest."""
    ids = prepared.pool.ids
    predicted = {}
    for split in dict.fromkeys(case.split for case in cases):
        rows = [case.row for case in cases if case.split == split]
        predictions = result.predictions("oof" if split == "labeled" else split).at(ids[rows])
        predicted |= dict(zip(rows, predictions.proba.argmax(axis=1).tolist(), strict=True))
    return [predicted[case.row] for case in cases]


def _label(prepared: Prepared, case: Case) -> str:
    """Return the class, or the classes, of an image; nothing where it has no label."""
    if case.split != "labeled":
        return ""
    label = prepared.labels[np.flatnonzero(prepared.labeled == case.row)[0]]
    codes = [int(label)] if label.ndim == 0 else np.flatnonzero(label).tolist()
    return "|".join(prepared.classes[code] for code in codes) or "nothing"


def folder_of(prepared: Prepared) -> Path:
    """Return where the sheets lie."""
    return prepared.competition.workspace.runs(prepared.competition.name) / FOLDER


def latest_sheets(prepared: Prepared) -> list[Path]:
    """Return the contact sheets that were written, the latest first, without links that lead nowhere."""
    sheets = existing_sheets(folder_of(prepared).glob("*.png"))
    return sorted(sheets, key=lambda path: (-path.stat().st_mtime, path.name))
