"""Image towers on blocks: batches on every device, halves where the memory is small, decoding meanwhile."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.clips import make_clip
from support.pools import make_pool

from kit.core import shards
from kit.data import nvjpeg
from kit.data.store import BLOCK, Geometry
from kit.features import cache as features
from kit.features import encoding
from kit.features.cache import encode_images, encode_range
from kit.features.device import list_devices
from kit.features.encoders import load_encoder
from kit.features.forward import BATCH, ImageForward, choose_batch
from kit.features.weights import parse_encoder


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip")


@pytest.fixture
def pixels(clip):
    geometry = load_encoder(parse_encoder(clip)).preprocessing.geometry
    generator = torch.Generator().manual_seed(0)
    shape = (2 * BATCH + 10, 3, geometry.height, geometry.width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def everything(pool):
    return pool.select(np.arange(len(pool)))


def test_several_devices_give_the_bytes_of_one(clip, pixels):
    encoder = load_encoder(parse_encoder(clip))
    one, three = ImageForward(encoder, "float32"), ImageForward(encoder, "float32", ("cpu", "cpu", "cpu"))
    assert len({id(tower) for tower in three.towers}) == 3
    assert np.array_equal(one(pixels), three(pixels))


def test_a_batch_that_the_memory_does_not_hold_is_halved(clip, pixels):
    encoder = load_encoder(parse_encoder(clip))
    run, sizes = ImageForward(encoder, "float32"), []
    expected = run(pixels)

    class Small(torch.nn.Module):
        def forward(self, batch):
            if len(batch) > 20:
                raise torch.OutOfMemoryError("the memory is full")
            sizes.append(len(batch))
            return encoder.image_tower(batch)

    run.towers[0] = Small()
    assert run(pixels) == pytest.approx(expected, abs=1e-5)
    assert max(sizes) <= 20 and sum(sizes) == len(pixels)


def test_a_single_image_that_does_not_fit_is_an_error(clip, pixels):
    run = ImageForward(load_encoder(parse_encoder(clip)), "float32")

    class Full(torch.nn.Module):
        def forward(self, batch):
            raise torch.OutOfMemoryError("the memory is full")

    run.towers[0] = Full()
    with pytest.raises(torch.OutOfMemoryError):
        run(pixels)


def test_the_batch_follows_from_the_kind_of_device():
    assert [choose_batch(device) for device in ("cpu", "mps", "cuda:0", "cuda:1")] == [64, 64, 256, 256]


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Return a pool of several blocks, decoded to what its paths say and encoded by what is decoded."""
    pool = make_pool(tmp_path / "pool", n_images=6)
    pool = pool.take(np.resize(np.arange(6), 4 * BLOCK + 7))
    monkeypatch.setattr(encoding, "load_encoder", lambda spec: _artificial())
    monkeypatch.setattr(features, "preprocessing_of", lambda spec: SimpleNamespace(key="k"))
    return pool


def _artificial():
    """Return an encoder of tiny images whose tower is a random projection."""
    projection = torch.nn.Linear(3 * 8 * 8, 5, bias=False)
    with torch.no_grad():
        projection.weight.copy_(torch.randn((5, 3 * 8 * 8), generator=torch.Generator().manual_seed(0)))
    tower = torch.nn.Sequential(torch.nn.Flatten(), projection)
    normal = SimpleNamespace(key="k", geometry=Geometry(8, 8), normalise=lambda pixels: pixels.float() / 255)
    return SimpleNamespace(image_tower=tower, preprocessing=normal)


def test_the_next_block_is_decoded_while_this_one_is_encoded(many, clip, monkeypatch):
    decode, began, overlapped = nvjpeg.decode_block, [], []
    signs = [threading.Event() for _ in range(5)]

    def note_decoding(paths, geometry):
        number = len(began)
        began.append(number)
        signs[number].set()
        return decode(paths, geometry)

    class Watching(ImageForward):
        n_blocks = 0

        def __call__(self, pixels):
            number, self.n_blocks = self.n_blocks, self.n_blocks + 1
            if number < 4:  # this forward pass ends only when the next block is being decoded
                overlapped.append(signs[number + 1].wait(20))
            return super().__call__(pixels)

    monkeypatch.setattr(nvjpeg, "decode_block", note_decoding)
    monkeypatch.setattr(encoding, "ImageForward", Watching)
    encode_images(everything(many), clip)
    assert overlapped == [True] * 4


def test_workers_devices_and_shards_change_no_byte(many, clip, monkeypatch):
    expected = encode_images(everything(many), clip)
    for file in (many.cache / "features").iterdir():
        file.unlink()
    monkeypatch.setenv("KIT_DEVICE", "cpu,cpu")
    list_devices.cache_clear()
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    monkeypatch.setattr(shards, "SHARD_BYTES", BLOCK * 5 * 2)
    again = encode_images(everything(many), clip)
    list_devices.cache_clear()
    assert len(list((many.cache / "features").glob("*.npy"))) == 5
    assert np.array_equal(again.values, expected.values) and again.key == expected.key


def test_ranges_that_others_encode_are_taken_and_give_the_same_bytes(many, clip, monkeypatch):
    expected = encode_images(everything(many), clip).values
    seal = features.features_seal(many, clip)
    for file in (many.cache / "features").iterdir():
        file.unlink()
    for start, stop in ((BLOCK, 3 * BLOCK), (4 * BLOCK, len(many))):
        assert encode_range(many, start, stop, clip) is not None
    encoded = []

    class Counting(ImageForward):
        def __call__(self, pixels):
            encoded.append(len(pixels))
            return super().__call__(pixels)

    monkeypatch.setattr(encoding, "ImageForward", Counting)
    assert np.array_equal(encode_images(everything(many), clip).values, expected)
    assert encoded == [BLOCK, BLOCK] and features.features_seal(many, clip) == seal
    assert len(list((many.cache / "features").glob("*.npy"))) == 1
    assert encode_range(many, 0, BLOCK, clip) is None  # all is there
