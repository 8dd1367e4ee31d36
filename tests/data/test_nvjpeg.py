"""JPEGs on a GPU: a pretended one decodes by the same call; what it would read otherwise stays on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support.pools import make_pool

from kit.data import nvjpeg
from kit.data.nvjpeg import BlockDecoder, PlainJpeg, look_plain
from kit.data.store import Geometry, decode_block
from kit.features import cache

GEOMETRY = Geometry(12, 16)


@pytest.fixture
def files(tmp_path):
    """Return three JPEGs that a GPU may read, and three files that it may not."""
    draws = np.random.default_rng(0)
    coloured = Image.fromarray(draws.integers(60, 180, (4, 6, 3), dtype=np.uint8)).resize((30, 20))
    turned = Image.Exif()
    turned[nvjpeg.ORIENTATION] = 6
    coloured.save(tmp_path / "a.jpg")
    coloured.save(tmp_path / "b.png")
    coloured.convert("L").save(tmp_path / "c.jpg")
    coloured.save(tmp_path / "d.jpg", exif=turned)
    coloured.convert("CMYK").save(tmp_path / "e.jpg")
    coloured.rotate(180).save(tmp_path / "f.jpg")
    return np.array([str(path) for path in sorted(tmp_path.iterdir())], dtype=object)


@pytest.fixture
def gpu(monkeypatch):
    """Let the CPU pass for a GPU; return the numbers of images that were given to its decoder, call by call."""
    decode, asked = torchvision.io.decode_jpeg, []

    def noting(data, mode, device):
        asked.append(len(data))
        return [image + noting.off for image in decode(data, mode=mode, device=device)]

    noting.off, noting.asked = 0, asked
    monkeypatch.setattr(nvjpeg, "has_decoder", lambda device: True)
    monkeypatch.setattr(torchvision.io, "decode_jpeg", noting)
    return noting


def draw_plainly(folder, subsampling, name="z.jpg"):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, subsampling=subsampling)
    return str(folder / name)


def test_a_gpu_gets_the_jpegs_that_it_reads_as_the_cpu_does(files, gpu):
    looks = [look_plain(Path(path).read_bytes()) for path in files]
    coloured, grey = PlainJpeg(1800, "4:2:0"), PlainJpeg(1800, "grey")
    assert looks == [coloured, None, grey, None, None, coloured]
    decode = BlockDecoder(GEOMETRY, "cpu")
    for _ in range(2):
        assert torch.equal(decode(files), decode_block(files, GEOMETRY))
    assert gpu.asked == 2 * [1, 1, 1, 3]  # of every block the first to compare, one by one


def test_how_coarsely_colours_are_stored_is_told(tmp_path):
    looks = [look_plain(Path(draw_plainly(tmp_path, number)).read_bytes()) for number in range(3)]
    assert [look.kind for look in looks if look] == ["4:4:4", "4:2:2", "4:2:0"]


def test_large_images_go_to_the_gpu_a_few_at_a_time(files, gpu, monkeypatch):
    monkeypatch.setattr(nvjpeg, "DECODED_BYTES", 4000)
    assert torch.equal(BlockDecoder(GEOMETRY, "cpu")(files), decode_block(files, GEOMETRY))
    assert gpu.asked[3:] == [2, 1]


def test_a_decoder_that_differs_by_a_level_is_used_and_by_two_is_not(files, gpu, capsys):
    expected = decode_block(files[[0]], GEOMETRY).int()
    for off, used in ((1, True), (2, False)):
        gpu.off, gpu.asked[:] = off, []
        decode = BlockDecoder(GEOMETRY, "cpu")
        difference = int((decode(files[[0]]).int() - expected).abs().max())
        decode(files[[0]])
        assert (difference == off) == used and len(gpu.asked) == (4 if used else 1)
    assert "4:2:0 are decoded on the CPU" in (said := capsys.readouterr().err) and "differ by up to 2 of 255" in said


def test_a_kind_that_differs_in_a_later_block_is_left_to_the_cpu_and_others_are_not(files, gpu, tmp_path):
    fine = np.array([draw_plainly(tmp_path, 0)], dtype=object)
    decode = BlockDecoder(GEOMETRY, "cpu")
    decode(fine)
    gpu.off = 9
    decode(files[[0]])
    gpu.off, gpu.asked[:] = 0, []
    both = np.append(files[[0]], fine)
    assert torch.equal(decode(both), decode_block(both, GEOMETRY)) and gpu.asked == [1, 1]  # of the fine one


def test_a_gpu_that_fails_a_few_times_gets_no_more(files, gpu, monkeypatch, capsys):
    asked = []

    def refuse(data, mode, device):
        asked.append(len(data))
        raise RuntimeError("nvjpegDecode failed: 5")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", refuse)
    decode = BlockDecoder(GEOMETRY, "cpu")
    for _ in range(nvjpeg.MOST_FAILURES + 2):
        assert torch.equal(decode(files), decode_block(files, GEOMETRY))
    said = capsys.readouterr().err
    assert len(asked) == nvjpeg.MOST_FAILURES and said.count("nvjpegDecode failed: 5") == 1
    assert "from here on" in said


def test_a_torchvision_without_nvjpeg_leaves_all_to_the_cpu(monkeypatch, capsys):
    def refuse(data, device):
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", refuse)
    assert not nvjpeg.has_decoder("cuda:9")
    assert "decoded on the CPU: torchvision cannot on this GPU" in capsys.readouterr().err


def test_other_devices_decode_nothing():
    assert [nvjpeg.has_decoder(device) for device in ("mps", "cpu")] == [False, False]


def test_features_have_another_key_where_a_gpu_decodes(tmp_path, monkeypatch):
    pool = make_pool(tmp_path, n_images=2, size=4, n_labeled=1)
    paths = []
    for is_decoding in (False, True):
        monkeypatch.setattr(cache, "has_decoder", lambda device, answer=is_decoding: answer)
        paths.append(cache.range_file(pool, 0, 2, "timm:tf_efficientnet_lite0@pip"))
    assert paths[0] != paths[1]
