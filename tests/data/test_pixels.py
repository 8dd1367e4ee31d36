"""Images in the rows of a CSV: a column per pixel or one cell of all, written as files once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.folders import of, read, refusal, shown, write

from kit.data.decoding import decode_image

SIDE = 6


def values(n: int = 6, n_values: int = SIDE * SIDE, high: int = 256) -> np.ndarray:
    """Return random pixels, a row per image."""
    made = np.random.default_rng(0).integers(0, high, (n, n_values))
    made[0, 0] = high - 1
    return made


def columns(rows: np.ndarray, first: str, cells: list[str], name: str = "pixel{}") -> str:
    """Return the text of a CSV: a first column, then one per pixel."""
    header = ",".join([*([first] if first else []), *(name.format(i) for i in range(rows.shape[1]))])
    lines = [",".join([*([cell] if first else []), *map(str, row)]) for cell, row in zip(cells, rows, strict=True)]
    return "\n".join([header, *lines]) + "\n"


LABELS = ["0", "1"] * 3
PIXELS = 'labeled = { csv = "train.csv", form = "pixels" }'


def decoded(path: str) -> np.ndarray:
    """Return the pixels of a written image, (height, width, 3)."""
    return decode_image(path).permute(1, 2, 0).numpy()


def test_columns_of_pixels_become_images_with_row_numbers_as_ids(tmp_path):
    rows, root = values(), tmp_path / "data"
    write(root / "train.csv", columns(rows, "label", LABELS))
    write(root / "test.csv", columns(rows[:3], "", [""] * 3))
    write(root / "sample.csv", "ImageId,Label\n1,0\n2,0\n3,0\n")
    data = (PIXELS, 'test = { csv = "test.csv", form = "pixels" }', 'sample_submission = "sample.csv"')
    table = read(tmp_path, *data)
    assert of(table, "test")["id"].tolist() == ["1", "2", "3"]
    assert of(table, "labeled")["label"].tolist() == LABELS
    for path, row in zip(of(table, "labeled")["path"], rows, strict=True):
        assert (decoded(path) == row.reshape(SIDE, SIDE, 1)).all()
        assert Path(path).is_relative_to(tmp_path / "runs/comp/cache/pixels")
    write(root / "sample.csv", "ImageId,Label\n0,0\n1,0\n2,0\n")
    assert of(read(tmp_path, *data), "test")["id"].tolist() == ["0", "1", "2"]


def test_images_are_written_once_and_again_when_the_file_changes(tmp_path, capsys):
    write(tmp_path / "data" / "train.csv", columns(values(), "label", LABELS))
    first = read(tmp_path, PIXELS)["path"].tolist()
    capsys.readouterr()
    assert read(tmp_path, PIXELS)["path"].tolist() == first and "written" not in shown(capsys)
    write(tmp_path / "data" / "train.csv", columns(values(high=100), "label", LABELS))
    assert not set(read(tmp_path, PIXELS)["path"]) & set(first)
    assert not [path for path in (tmp_path / "runs/comp/cache/pixels").iterdir() if path.name.startswith(".")]


def test_one_cell_may_hold_all_pixels_beside_ids_and_other_columns(tmp_path):
    rows = values()
    lines = [f"im{i},{LABELS[i]},{' '.join(map(str, row))},Training" for i, row in enumerate(rows)]
    write(tmp_path / "data" / "train.csv", "\n".join(["name,emotion,pixels,Usage", *lines]) + "\n")
    table = read(tmp_path, 'labeled = { csv = "train.csv", form = "pixels", id = "name", label = "emotion" }')
    assert table["id"].tolist() == [f"im{i}" for i in range(6)] and table["label"].tolist() == LABELS
    assert (decoded(table["path"].iloc[2])[..., 0] == rows[2].reshape(SIDE, SIDE)).all()


@pytest.mark.parametrize("planes", [False, True])
def test_three_colours_are_read_pixel_by_pixel_or_plane_by_plane_as_is_smoother(tmp_path, planes, capsys):
    ramp = np.linspace(0, 250, 16 * 16).reshape(16, 16)
    images = np.stack([np.stack([ramp * (k % 3 + 1) / 3, 250 - ramp, ramp.T], axis=-1) for k in range(6)]).round()
    flat = (images.transpose(0, 3, 1, 2) if planes else images).reshape(6, -1).astype(int)
    write(tmp_path / "data" / "train.csv", columns(flat, "label", LABELS, "px_{}"))
    table = read(tmp_path, PIXELS)
    assert (decoded(table["path"].iloc[1]) == images[1]).all()
    assert f"colours lie {'plane by plane' if planes else 'pixel by pixel'}" in shown(capsys)


@pytest.mark.parametrize(("scale", "white"), [(1 / 255, 1), (16, 4095)])
def test_other_ranges_are_scaled_alike_and_said(tmp_path, scale, white, capsys):
    rows = values() * scale
    rows = rows if white == 1 else rows.astype(int)
    write(tmp_path / "data" / "train.csv", columns(rows, "label", LABELS))
    table = read(tmp_path, PIXELS)
    for path, row in zip(table["path"], rows, strict=True):
        assert np.abs(decoded(path)[..., 0].ravel() - row / white * 255).max() <= 0.51
    assert f"pixels of 0 to {white} are scaled to 0 to 255" in shown(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (columns(values(n_values=35), "label", LABELS), "no columns hold the pixels of a square image"),
        (columns(values(), "label", LABELS).replace("255", "x", 1), "a pixel is no number"),
        (columns(values(), "label", LABELS).replace("255", "", 1), "row 2: a pixel is missing"),
        ("label,pixels\n0," + "1 " * 36 + "\n1," + "1 " * 25 + "\n", "row 3: 25 pixels where the first row has 36"),
        ("id,label\n1,a\n2,b\n", "no columns hold the pixels"),
    ],
)
def test_rows_that_are_no_images_are_refused(tmp_path, text, message):
    write(tmp_path / "data" / "train.csv", text)
    assert message in refusal(tmp_path, PIXELS)
