"""What explain leaves behind: a contact sheet, images x methods, and the numbers behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.files import key_of, write_atomic, write_json
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

    Parameters
    ----------
    prepared
        The competition made ready.
    run
        The run's name.
    explained
        The images and their maps.
    asked
        What was asked beside the run, as `name_sheet` takes it.
    how
        What else the JSON says: draws and seed.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    folder = folder_of(prepared)
    rows = [(_heading(own), _tiles(own)) for own in explained]
    title = f"{run}: green speaks for what is named below, red against it; Grad-CAM: bright speaks for it"
    path = folder / f"{name_sheet(run, asked)}.png"
    write_sheet(path, title, rows, SIDE)
    maps = [own.values for image in explained for own in image.maps]
    with write_atomic(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, maps=np.stack(maps).astype(np.float32))
    write_json(path.with_suffix(".json"), {"run": run, "asked": asked} | how | {"maps": describe(explained)})
    return path


def name_sheet(run: str, asked: dict[str, Any]) -> str:
    """Return the name of a question's sheet: the same question overwrites its own, another lies beside it.

    The plain question, a run's mistakes, however many, by what suits its model, has the run's name alone.

    Parameters
    ----------
    run
        The run's name.
    asked
        What was asked beside it: a word, or a list whose order does not matter; None or empty where nothing was.
    """
    said = {what: sorted(own) if isinstance(own, list) else own for what, own in asked.items() if own}
    if not said:
        return run
    words = [word for own in said.values() for word in (own if isinstance(own, list) else [own])]
    spelled = re.sub(r"[^A-Za-z0-9]+", "_", " ".join(words))[:NAME_LENGTH].strip("_")
    return f"{run}+{spelled}-{key_of(said)[:HASH_LENGTH]}"


def describe(explained: Sequence[Explained]) -> list[dict[str, Any]]:
    """Return what each map is of, in the order of the sheet."""
    return [
        {
            "id": image.image_id,
            "split": image.case.split,
            "fold": image.case.fold,
            "label": image.label,
            "predicted": image.predicted,
            "method": own.method,
            "target": own.target,
            "score": round(own.score, 6),
        }
        for image in explained
        for own in image.maps
    ]


def overlay(pixels: np.ndarray, found: Map) -> np.ndarray:
    """Return a picture with a map over it.

    Parameters
    ----------
    pixels
        (3, h, w) uint8.
    found
        The map; scaled by its own largest values. Gradients jump from pixel to pixel: they are drawn smoothed.

    Returns
    -------
    np.ndarray
        (h, w, 3) uint8.
    """
    picture = pixels.transpose(1, 2, 0).astype(np.float32)
    values = found.values
    if found.method == GRADIENTS:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, SMOOTHING * min(values.shape))
    values = np.clip(values / (np.quantile(np.abs(values), LARGE) or np.abs(values).max() or 1.0), -1, 1)
    if found.method == GRAD_CAM:
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
        SheetTile(overlay(image.pixels, own), [METHOD_NAMES[own.method], f"{own.target} {own.score:.2f}"])
        for own in image.maps
    ]
