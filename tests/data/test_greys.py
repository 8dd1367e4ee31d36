"""Greys of more than 8 bits: one range for a set, and a word where pictures end up black."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.folders import competition_of, shown

from kit.data.audit import audit
from kit.data.decoding import decode_image, grey_range, read_greys
from kit.data.prepared import Prepared, prepare
from kit.data.table import read_table


def lay_out(tmp_path: Path, greys: dict[str, np.ndarray], suffix: str = "png") -> Prepared:
    """Return a competition of two classes whose images hold these values, by their ids."""
    for name, values in greys.items():
        path = tmp_path / "data" / "train" / name[0] / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return prepare(competition_of(tmp_path, 'labeled = "train"', *DATA))


DATA: tuple[str, ...] = ()


def patches(scale: float, kind: type) -> dict[str, np.ndarray]:
    """Return four images of random values: two of them ten times as dim."""
    draws = np.random.default_rng(0)
    names = {"a1": 1.0, "a2": 0.1, "b1": 1.0, "b2": 0.1}
    made = {name: (draws.uniform(0, scale * dim, (24, 24))).astype(kind) for name, dim in names.items()}
    made["a1"][0, 0] = scale
    return made


@pytest.mark.parametrize(
    ("scale", "kind", "suffix", "white"),
    [
        (4095, np.uint16, "png", 4095),
        (1.0, np.float32, "tif", 1),
        (200, np.float32, "tif", 255),
        (9000, np.int32, "tif", 9000),
    ],
)
def test_one_range_serves_the_whole_set(tmp_path, scale, kind, suffix, white):
    greys = patches(scale, kind)
    prepared = lay_out(tmp_path, greys, suffix)
    assert prepared.greys == (0, white)
    for image_id, path in zip(prepared.pool.ids, prepared.pool.paths, strict=True):
        expected = (greys[image_id].astype(float) / white * 255).round()
        assert np.abs(decode_image(path)[0].numpy() - expected).max() <= 1
        assert prepared.originals[path].endswith(f"{image_id}.{suffix}")


def test_values_below_zero_are_darker_than_zero():
    assert grey_range(-1000, 3000, is_whole=True) == (-1000, 3000) and grey_range(-0.5, 1, is_whole=False) == (-0.5, 1)
    assert grey_range(0, 1, is_whole=True) == (0, 255)  # a mask is no share of white


def test_another_brightest_image_is_another_set_for_the_caches(tmp_path):
    greys = patches(4095, np.uint16)
    before = lay_out(tmp_path, greys).pool
    greys["a1"][0, 0] = 60_000
    after = lay_out(tmp_path, greys).pool
    assert before.key != after.key and not set(before.digests) & set(after.digests)


def test_a_range_that_is_given_holds(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "DATA", ("greys = [0, 8190]",))
    prepared = lay_out(tmp_path, patches(4095, np.uint16))
    assert prepared.greys == (0, 8190) and max(decode_image(path).max() for path in prepared.pool.paths) == 128


def test_pictures_that_are_all_but_black_are_warned_of(tmp_path, capsys):
    draws = np.random.default_rng(0)
    lay_out(tmp_path, {name: draws.integers(0, 4, (24, 24)).astype(np.uint8) for name in ("a1", "a2", "b1", "b2")})
    assert "4 of 4 pictures are all but black (their mean is below 8 of 255)" in shown(capsys)


def test_ordinary_images_stay_the_files_they_are(tmp_path):
    draws = np.random.default_rng(0)
    names = ("a1", "a2", "b1", "b2")
    prepared = lay_out(tmp_path, {name: draws.integers(0, 256, (24, 24, 3)).astype(np.uint8) for name in names})
    assert prepared.greys is None and not prepared.originals and all("/train/" in path for path in prepared.pool.paths)


def test_the_audit_measures_greys_by_their_values(tmp_path):
    greys = patches(4095, np.uint16)
    competition = lay_out(tmp_path, greys).competition
    assert audit(competition, read_table(competition)).remarks == {"16-bit or more: scaled to 8": 4}
    values = read_greys(tmp_path / "data" / "train" / "a" / "a1.png")
    assert (values == greys["a1"]).all()
