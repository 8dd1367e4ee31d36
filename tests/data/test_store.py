"""Decode once: geometry, resumable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from kit.core.deadline import set_deadline
from kit.core.errors import TimeIsUp
from kit.data import store
from kit.data.images import Pool
from kit.data.store import Geometry, read_pixels, read_rows, read_store


def picture(width: int = 50, height: int = 37, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width * 3, height * 3), Image.Resampling.BICUBIC)


def make_pool(folder, n_images: int = 5) -> Pool:
    paths = []
    for i in range(n_images):
        paths.append(str(folder / f"{i}.png"))
        picture(seed=i).save(paths[-1])
    ids = np.array([str(i) for i in range(n_images)], dtype=object)
    splits = np.array(["labeled"] * n_images, dtype=object)
    return Pool(ids, splits, np.array(paths, dtype=object), ids, np.arange(n_images), ("a", "b"), folder, folder)


@pytest.mark.parametrize("shape", [(50, 37), (37, 50), (40, 40), (224, 10)])
def test_the_shortest_side_geometry_agrees_with_torchvisions_pillow_path(shape):
    image = picture(*shape)
    expected = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.PILToTensor(),
        ]
    )(image)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert isinstance(expected, torch.Tensor)
    apart = (Geometry(32, 32).apply(pixels).int() - expected.int()).abs()
    assert apart.max() <= 2 and apart.float().mean() < 0.1


def test_the_longest_side_geometry_pads():
    pixels = torch.full((3, 20, 40), 200, dtype=torch.uint8)
    shown = Geometry(16, 16, "longest", fill=7).apply(pixels)
    assert shown.shape == (3, 16, 16) and (shown[:, :4] == 7).all() and (shown[:, 4:12] == 200).all()


def test_the_store_is_decoded_once_and_rows_are_the_pools(tmp_path):
    pool = make_pool(tmp_path)
    geometry = Geometry(16, 16)
    first = np.array(read_store(pool, geometry))
    for path in pool.paths:
        Image.new("RGB", (9, 9)).save(path)  # were it decoded again, it would be black
    assert (read_store(pool, geometry) == first).all()
    picked = pool.select(np.array([3, 0, 3]))
    assert (read_pixels(picked, geometry) == first[[3, 0, 3]]).all()


def test_other_geometry_or_content_is_another_file(tmp_path):
    pool = make_pool(tmp_path)
    read_store(pool, Geometry(16, 16))
    read_store(pool, Geometry(16, 16, interpolation="bilinear"))
    read_store(make_pool(tmp_path, 4), Geometry(16, 16))
    assert len(list((tmp_path / "store").iterdir())) == 3


def test_the_time_limit_stops_decoding_between_blocks_and_a_later_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BLOCK", 2)
    pool, geometry = make_pool(tmp_path), Geometry(16, 16)
    expected = np.stack([store.decode_block([path], geometry)[0].numpy() for path in pool.paths])
    set_deadline(0)
    try:
        for n_calls in (1, 2):  # each call decodes a block, however late it is
            with pytest.raises(TimeIsUp):
                read_store(pool, geometry)
            for path in pool.paths[: 2 * n_calls]:
                Image.new("RGB", (9, 9)).save(path)  # were it decoded again, it would be black
        assert (read_store(pool, geometry) == expected).all()
    finally:
        set_deadline(None)


def test_ranges_that_others_decode_are_taken_and_give_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BLOCK", 2)
    pool, geometry = make_pool(tmp_path, 9), Geometry(16, 16)
    read_store(pool, geometry)
    (file,) = (tmp_path / "store").iterdir()
    expected = file.read_bytes()
    file.unlink()
    for start, stop in ((2, 6), (8, 9)):
        store.decode_range(pool, start, stop, geometry)
    decoded, decode = [], store.decode_block
    monkeypatch.setattr(store, "decode_block", lambda paths, *rest: decoded.append(len(paths)) or decode(paths, *rest))
    read_store(pool, geometry)
    assert decoded == [2, 2] and file.read_bytes() == expected
    assert list((tmp_path / "store").iterdir()) == [file]
    store.decode_range(pool, 0, 2, geometry)  # all is there
    assert decoded == [2, 2]


def test_rows_are_read_in_the_order_asked_for_whatever_their_type():
    stored = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float16)
    rows = np.array([7, 0, 7, 3])
    assert read_rows(stored, rows).dtype == np.float16 and (read_rows(stored, rows) == stored[rows]).all()
    assert read_rows(stored, rows[:0]).shape == (0, 4)
