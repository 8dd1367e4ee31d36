"""What explain leaves behind: a contact sheet, images x methods, and the numbers behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.files import key_of, write_atomic, write_json
from kit.core.shapes import Pixels
from kit.data.prepared import Prepared
from kit.data.sheet import SheetTile, write_sheet
from kit.report.explain import METHOD_NAMES, Explained, Map, folder_of
from kit.report.explain.subject import GRAD_CAM, GRADIENTS

SIDE = 168  # pixels of a tile
GREEN, RED = (0, 190, 60), (230, 30, 30)  # for and against
STRONGEST = 0.6  # opacity of the largest value
HEAT = "inferno"
LARGE = 0.99  # share of a map's pixels that are not drawn in full strength
SMOOTHING = 0.015  # width of the Gaussian that smooths gradients, in sides of the picture
NAME_LENGTH = 40  # characters of a question in a sheet's name
HASH_LENGTH = 6  # characters: what was cut off tells questions apart too


def write_explained(
    prepared: Prepared, run: str, explained: Sequence[Explained], asked: dict[str, Any], how: dict[str, Any]
) -> Path:
    """Write the sheet NAME.png, and NAME.npz and NAME.json with the numbers; return the sheet.

    The archive holds ``maps`` (n_maps, h, w) float32 in the order of the sheet, row by row; the JSON what each is.

    `asked` is what was asked beside the run, as `name_sheet` takes it; `how` goes into the JSON too: draws and seed.
    """
    folder = folder_of(prepared)
    rows = [(_heading(image), _tiles(image)) for image in explained]
    title = f"{run}: green speaks for what is named below, red against it; Grad-CAM: bright speaks for it"
    path = folder / f"{name_sheet(run, asked)}.png"
    write_sheet(path, title, rows, SIDE)
    maps = [drawn.values for image in explained for drawn in image.maps]
    with write_atomic(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, maps=np.stack(maps).astype(np.float32))
    write_json(path.with_suffix(".json"), {"run": run, "asked": asked} | how | {"maps": describe_maps(explained)})
    return path


def name_sheet(run: str, asked: dict[str, Any]) -> str:
    """Return the name of a question's sheet: the same question overwrites its own, another lies beside it.

    The plain question, a run's mistakes, however many, by what suits its model, has the run's name alone.

    A list's order does not matter.
    """
    question = {what: sorted(value) if isinstance(value, list) else value for what, value in asked.items() if value}
    if not question:
        return run
    words = [word for value in question.values() for word in (value if isinstance(value, list) else [value])]
    spelled = re.sub(r"[^A-Za-z0-9]+", "_", " ".join(words))[:NAME_LENGTH].strip("_")
    return f"{run}+{spelled}-{key_of(question)[:HASH_LENGTH]}"


def describe_maps(explained: Sequence[Explained]) -> list[dict[str, Any]]:
    """Return what each map is of, in the order of the sheet."""
    return [
        {
            "id": image.image_id,
            "split": image.case.split,
            "fold": image.case.fold,
            "label": image.label,
            "predicted": image.predicted,
            "method": drawn.method,
            "target": drawn.target,
            "score": round(drawn.score, 6),
        }
        for image in explained
        for drawn in image.maps
    ]


def overlay(pixels: Pixels, drawn: Map) -> Pixels:
    """Return a picture, (3, h, w), with a map over it, (h, w, 3); the map is scaled by its own largest values.

    Gradients jump from pixel to pixel: they are drawn smoothed.
    """
    picture = pixels.transpose(1, 2, 0).astype(np.float32)
    values = drawn.values
    if drawn.method == GRADIENTS:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, SMOOTHING * min(values.shape))
    values = np.clip(values / (np.quantile(np.abs(values), LARGE) or np.abs(values).max() or 1.0), -1, 1)
    if drawn.method == GRAD_CAM:
        from matplotlib import colormaps

        heat = np.maximum(values, 0)
        colour, share = 255 * colormaps[HEAT](heat)[..., :3], STRONGEST * (0.5 + heat / 2)
    else:
        grey = picture.mean(axis=2, keepdims=True)
        picture = np.broadcast_to(grey, picture.shape)  # so that the colours are the map's alone
        colour, share = np.where(values[..., None] > 0, GREEN, RED), STRONGEST * np.abs(values)
    mixed = picture * (1 - share[..., None]) + colour * share[..., None]
    return mixed.round().clip(0, 255).astype(np.uint8)


def _heading(image: Explained) -> str:
    known = f"label {image.label}, " if image.label else ""
    return f"{image.image_id}: {known}said {image.predicted}"


def _tiles(image: Explained) -> list[SheetTile]:
    """Return the picture, then its maps."""
    asked = f"model of fold {image.case.fold}" + ("" if image.case.split == "labeled" else f", {image.case.split}")
    tiles = [SheetTile(image.pixels.transpose(1, 2, 0), [asked])]
    return tiles + [
        SheetTile(overlay(image.pixels, drawn), [METHOD_NAMES[drawn.method], f"{drawn.target} {drawn.score:.2f}"])
        for drawn in image.maps
    ]
