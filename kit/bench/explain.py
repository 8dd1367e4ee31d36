"""Explain: measure whether maps point at the evidence, on pictures where it is known because it was planted.

Pictures get a label by lot and, in one half, a patch of the label's colour: nothing else tells the classes apart. A
model is trained on them. The measure is the share of a map's positive mass in that half, on held-out pictures; beside
it stands a network with random weights, which has no evidence to point at. Reads digits, and trashnet below ``--data``;
writes ``runs/bench-explain``; a second call re-uses what is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace, write_folder
from kit.core.held import hold
from kit.core.shapes import Mask, Pixels, Scores
from kit.core.terminal import empty_table, stage, track, warn
from kit.data.decoding import decode_image
from kit.data.digits import write_digits
from kit.data.prepared import Prepared, prepare
from kit.data.store import Geometry, decode_block
from kit.report.explain import N_SAMPLES, Question, explain_picture
from kit.report.explain.choice import Case
from kit.report.explain.scratch import Scratch
from kit.report.explain.subject import GRAD_CAM, LIME, Subject, open_subjects
from kit.runs.fit.crossval import crossval

if TYPE_CHECKING:
    from torch import nn

RECIPES = Path(__file__).with_name("planted")
COLOURS = {"red": (225, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 225), "yellow": (235, 215, 40)}
MEASURED = (LIME, GRAD_CAM)  # the methods whose maps are measured
PICTURE_HALVES = ("left", "right", "top", "bottom")
PATCH_SHARE = 0.32  # side of the patch in sides of the picture
N_PLANTED = 240  # pictures; half of them train
N_EXPLAINED = 50
SIDES = {"digits": 64, "trashnet": 256}  # pixels of the planted pictures
MOBILENET = "mobilenetv2_100/model.safetensors"  # below --data
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Pointing:
    """Hold where the maps of one method point.

    Parameters
    ----------
    is_random
        Whether the network's weights are random, and not trained.
    accuracy
        Of the trained model on held-out pictures, 0..1.
    shares
        Share of each map's positive mass that lies in the planted half, 0..1; one half where there is none.
    """

    setting: str
    run: str
    method: str
    is_random: bool
    accuracy: float
    shares: Scores

    @property
    def hits(self) -> Scores:
        """Return 1 for each map that has more of its mass in the half than outside, else 0."""
        return (self.shares > 0.5).astype(float)


def bench_explain(
    data: Path | None, workspace: Workspace, n_explained: int = N_EXPLAINED, n_samples: int = N_SAMPLES
) -> list[Pointing]:
    """Measure where the maps of planted pictures point.

    Parameters
    ----------
    data
        A folder with ``trashnet`` and ``mobilenetv2_100/model.safetensors``; None for digits alone.
    workspace
        Results lie in its runs/bench-explain.
    n_explained
        Held-out pictures.
    n_samples
        Of LIME.

    Raises
    ------
    InputError
        When ``--data`` lacks the photos.
    MissingWeights
        When it lacks the weights.
    """
    home = Workspace(workspace.root / "runs" / "bench-explain")
    runs = {"digits": "small_cnn"}
    if data is not None:
        if not (data / "trashnet").is_dir():
            raise InputError(f"{data}: trashnet/ is not there; bench explain --data needs it and mobilenetv2_100/")
        runs["trashnet"] = "mobilenetv2"
    pointings: list[Pointing] = []
    with hold(home.root, warn):
        for name, run in runs.items():
            prepared = _lay_out(name, _digits(home) if data is None or name == "digits" else data / name, data, home)
            pointings += _measure(prepared, name, run, n_explained, n_samples)
            stage("bench", f"{name}: {run}")
    return pointings


def plant(pixels: Pixels, colour: tuple[int, int, int], half: str, draws: np.random.Generator) -> Pixels:
    """Return a square picture with a patch of one colour at a random place in a half, one of `PICTURE_HALVES`."""
    side = len(pixels)
    patch = round(PATCH_SHARE * side)
    along, across = draws.integers(0, side // 2 - patch + 1), draws.integers(0, side - patch + 1)
    along += side // 2 if half in ("right", "bottom") else 0
    top, left = (across, along) if half in ("left", "right") else (along, across)
    planted = pixels.copy()
    planted[top : top + patch, left : left + patch] = colour
    return planted


def half_of(shape: tuple[int, ...], half: str) -> Mask:
    """Return which pixels of a picture of some (height, width) lie in a half, (height, width)."""
    rows, columns = np.indices(shape)
    return {
        "left": columns < shape[1] // 2,
        "right": columns >= shape[1] - shape[1] // 2,
        "top": rows < shape[0] // 2,
        "bottom": rows >= shape[0] - shape[0] // 2,
    }[half]


def mass_share(values: NDArray[np.floating[Any]], inside: Mask) -> float:
    """Return the share of a map's positive mass that lies inside, 0..1; one half where nothing is positive."""
    positive = np.maximum(values, 0)
    return float(positive[inside].sum() / positive.sum()) if positive.any() else 0.5


def _digits(home: Workspace) -> Path:
    """Return a folder of digits."""
    write_digits(home.root / "digits")
    return home.root / "digits" / "unlabeled"


def _lay_out(name: str, photos: Path, data: Path | None, home: Workspace) -> Prepared:
    """Plant evidence in photos and return them as a prepared competition."""
    root = home.root / "planted" / name
    if not root.is_dir():
        with write_folder(root) as part:
            for folder, image_id, pixels in _planted(photos, SIDES[name]):
                _save(part / "train" / folder / f"{image_id}.png", pixels)
    changes = [f"data.root={json.dumps(str(root), ensure_ascii=False)}"]
    if data is not None:
        encoder = f"timm:mobilenetv2_100@{(data / MOBILENET).resolve()}"
        changes.append(f"runs.mobilenetv2.encoder={json.dumps(encoder, ensure_ascii=False)}")
    competition = read_competition(str(RECIPES), home, tuple(changes))
    return prepare(competition.model_copy(update={"name": name}))


def _planted(photos: Path, side: int) -> Iterator[tuple[str, str, Pixels]]:
    """Yield class, id and pixels of planted pictures; label, half and place are drawn by lot."""
    draws = np.random.default_rng(0)
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in SUFFIXES)
    if len(files) < N_PLANTED:
        raise InputError(f"{photos}: {len(files)} pictures; bench explain plants evidence in {N_PLANTED}")
    geometry = Geometry(side, side, "squash")
    for i, file in enumerate(draws.permutation(np.array(files, dtype=object))[:N_PLANTED]):
        name, half = list(COLOURS)[i % len(COLOURS)], str(draws.choice(PICTURE_HALVES))
        pixels = geometry.apply(decode_image(file)).permute(1, 2, 0).numpy()
        yield name, f"{i:04d}-{half}", plant(pixels, COLOURS[name], half, draws)


def _save(file: Path, pixels: Pixels) -> None:
    """Write a picture."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _measure(prepared: Prepared, setting: str, run: str, n_explained: int, n_samples: int) -> list[Pointing]:
    """Train a run and measure its maps, and those of random weights."""
    result = crossval(prepared, run)
    fold = prepared.scored[0]
    rows = np.random.default_rng(0).permutation(prepared.labeled[prepared.folds == fold])[:n_explained]
    cases = [Case(int(row), fold, "labeled") for row in rows]
    question = Question(MEASURED, n_samples=n_samples)
    pointings = []
    with Scratch(prepared.pool) as scratch:
        subjects = open_subjects(prepared, result, fold, (), scratch)
        for is_random in (False, True):
            if is_random:
                if (network := subjects[0].network) is None:
                    raise InputError(f"run {run}: has no network whose weights could be drawn at random")
                randomise(network)
            shares = _shares(prepared, subjects, cases, question, f"{run}, random" if is_random else run)
            for method, of_method in shares.items():
                pointings.append(Pointing(setting, run, method, is_random, result.record.cv, np.array(of_method)))
    return pointings


def _shares(
    prepared: Prepared, subjects: Sequence[Subject], cases: Sequence[Case], question: Question, label: str
) -> dict[str, list[float]]:
    """Return the share of the positive mass in the planted half, by method, image by image."""
    shares: dict[str, list[float]] = {method: [] for method in MEASURED}
    for case in track(cases, label):
        pixels = decode_block([prepared.pool.paths[case.row]], subjects[0].geometry)[0].numpy()
        predicted = int(subjects[0].say(pixels[None])[0].argmax())
        inside = half_of(pixels.shape[1:], str(prepared.pool.ids[case.row]).rpartition("-")[2])
        for explained in explain_picture(subjects, pixels, [predicted], prepared.classes, question):
            shares[explained.method].append(mass_share(explained.values, inside))
    return shares


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Draw all weights of a network anew, as its layers draw them, the output layer's too."""
    from kit.models.training.batches import reproducible

    with reproducible(seed, "cpu"):
        for module in network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):  # no base class of torch's declares it
                reset()


def render_explain(pointings: Sequence[Pointing]) -> Table:
    """Return where the maps point as a table: trained weights beside random ones."""
    table = empty_table()
    columns = ("setting", "run", "method", "weights", "accuracy", "images that point there", "mass in the half")
    for column in columns:
        table.add_column(column, justify="right" if column in columns[4:] else "left", no_wrap=True)
    for row in pointings:
        accuracy = "" if row.is_random else f"{row.accuracy:.2f}"
        weights = "random" if row.is_random else "trained"
        means = ("{:.2f} ± {:.2f}".format(*mean_and_error(values)) for values in (row.hits, row.shares))
        table.add_row(row.setting, row.run, row.method, weights, accuracy, *means)
    return table


def describe_explain(pointings: Sequence[Pointing]) -> list[dict[str, object]]:
    """Return the same for JSON."""
    return [
        {
            "setting": row.setting,
            "run": row.run,
            "method": row.method,
            "weights": "random" if row.is_random else "trained",
            "accuracy": row.accuracy,
            "n_images": len(row.shares),
            "pointing": float(row.hits.mean()),
            "mass": float(row.shares.mean()),
            "shares": [round(float(share), 4) for share in row.shares],
        }
        for row in pointings
    ]


def mean_and_error(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return a mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=min(1, len(values) - 1)) / np.sqrt(len(values)))
