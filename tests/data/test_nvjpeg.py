"""JPEGs on a GPU: a pretended one decodes by the same call; what it would read otherwise stays on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from kit.data import nvjpeg
from kit.data.nvjpeg import BlockDecoder, measure_plain
from kit.data.store import Geometry, decode_block

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


def test_a_gpu_gets_the_jpegs_that_it_reads_as_the_cpu_does(files, gpu):
    assert [measure_plain(Path(path).read_bytes()) for path in files] == [1800, None, 1800, None, None, 1800]
    decode = BlockDecoder(GEOMETRY, "cpu")
    for _ in range(2):
        assert torch.equal(decode(files), decode_block(files, GEOMETRY))
    assert gpu.asked == [3, 3, 3]  # the first to compare


def test_large_images_go_to_the_gpu_a_few_at_a_time(files, gpu, monkeypatch):
    monkeypatch.setattr(nvjpeg, "DECODED_BYTES", 4000)
    assert torch.equal(BlockDecoder(GEOMETRY, "cpu")(files), decode_block(files, GEOMETRY))
    assert gpu.asked == [3, 2, 1]


def test_a_decoder_that_differs_by_a_level_is_used_and_by_two_is_not(files, gpu, capsys):
    expected = decode_block(files[[0]], GEOMETRY).int()
    for off, used in ((1, True), (2, False)):
        gpu.off, gpu.asked[:] = off, []
        decode = BlockDecoder(GEOMETRY, "cpu")
        difference = int((decode(files[[0]]).int() - expected).abs().max())
        decode(files[[0]])
        assert (difference == off) == used and len(gpu.asked) == (3 if used else 1)
    assert "differ by up to 2 of 255" in capsys.readouterr().err


def test_a_torchvision_that_cannot_leaves_it_to_the_cpu(files, gpu, monkeypatch, capsys):
    def refuse(data, mode, device):
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", refuse)
    assert torch.equal(BlockDecoder(GEOMETRY, "cpu")(files), decode_block(files, GEOMETRY))
    assert "decoded on the CPU: torchvision cannot on this GPU" in capsys.readouterr().err


def test_only_gpus_of_nvidia_decode():
    assert [nvjpeg.has_decoder(device) for device in ("cuda:1", "mps", "cpu")] == [True, False, False]
