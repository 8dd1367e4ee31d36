"""Large arrays lie in several files, are filled one by one, and read as one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kit.core import shards
from kit.core.shards import fill_shard, fill_shards, list_shards, read_shards, remove_array, shard_ranges

SHAPE = (50, 3)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Let a file hold 16 rows of three int32."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 16 * 12)


def count_up(rows, start, stop):
    rows[:] = np.arange(start, stop)[:, None] * [1, 10, 100]


def test_a_large_array_is_read_as_one(tmp_path):
    whole = np.arange(50)[:, None] * [1, 10, 100]
    array = fill_shards(tmp_path / "a.npy", SHAPE, "int32", count_up, block=4)
    assert len(list_shards(tmp_path / "a.npy")) == 4 and array.shape == SHAPE and len(array) == 50
    assert all(file.stat().st_size < 400 for file in tmp_path.glob("*.npy"))
    rows = np.random.default_rng(0).integers(-50, 50, 200)
    for key in (slice(None), slice(10, 40), slice(30, 5, -3), rows, rows % 50 > 7, 17, -1):
        key = key[:50] if isinstance(key, np.ndarray) and key.dtype == bool else key
        assert np.array_equal(array[key], whole[key])
    assert np.array_equal(np.asarray(array), whole)
    with pytest.raises(IndexError, match="50"):
        array[np.array([3, 50])]


def test_a_small_array_is_one_file_of_that_name(tmp_path):
    fill_shards(tmp_path / "a.npy", (16, 3), "int32", count_up, block=4)
    assert [file.name for file in tmp_path.glob("*.npy")] == ["a.npy"]


def test_shards_that_others_have_filled_are_not_filled_again(tmp_path):
    path, asked = tmp_path / "a.npy", []
    for number in (2, 0):
        fill_shard(path, SHAPE, "int32", count_up, number, block=4)
    assert read_shards(path, SHAPE, "int32") is None

    def fill(rows, start, stop):
        asked.append(start)
        count_up(rows, start, stop)

    assert np.array_equal(fill_shards(path, SHAPE, "int32", fill, block=4)[:, 0], np.arange(50))
    assert asked == [16, 20, 24, 28, 48]


def test_a_damaged_shard_alone_is_made_again(tmp_path, capsys):
    path, asked = tmp_path / "a.npy", []
    fill_shards(path, SHAPE, "int32", count_up, block=4)
    list_shards(path)[1].write_bytes(b"nothing")

    def fill(rows, start, stop):
        asked.append(start)
        count_up(rows, start, stop)

    assert np.array_equal(fill_shards(path, SHAPE, "int32", fill, block=4)[:, 2], np.arange(50) * 100)
    assert asked == [16, 20, 24, 28] and "damaged" in capsys.readouterr().err


def test_removing_an_array_removes_all_its_files(tmp_path):
    fill_shards(tmp_path / "a.npy", SHAPE, "int32", count_up, block=4)
    (tmp_path / "ab.npy").touch()
    remove_array(tmp_path / "a.npy")
    assert [file.name for file in tmp_path.glob("*.npy")] == ["ab.npy"]


def test_three_million_images_lie_in_files_of_a_gigabyte(monkeypatch):
    monkeypatch.undo()
    for shape, dtype in (((3_000_000, 3, 128, 128), "uint8"), ((3_000_000, 512), "float16")):
        ranges = shard_ranges(shape, dtype)
        row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        assert max(stop - start for start, stop in ranges) * row <= 2**30
        assert ranges[0][0] == 0 and ranges[-1][1] == shape[0]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
