"""One file: what it is, what is wrong with it, what is odd."""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import texture

from kit.data.audit.image_file import measure_file


def write_bomb(path: Path) -> None:
    """Write a small PNG whose header claims 40,000 x 40,000 pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    sealed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(sealed))


def test_a_sound_file_has_no_problem_and_no_remark(tmp_path):
    texture(1, (90, 60)).save(tmp_path / "x.jpg")
    fact = measure_file(tmp_path / "x.jpg")
    assert fact["problem"] is None and fact["remark"] is None
    assert (fact["width"], fact["height"], fact["n_frames"]) == (90, 60, 1)
    assert (fact["format"], fact["mode"]) == ("JPEG", "RGB")
    assert fact["digest"] == hashlib.sha256((tmp_path / "x.jpg").read_bytes()).hexdigest()
    assert fact["n_bytes"] == (tmp_path / "x.jpg").stat().st_size
    assert len(fact["thumbnail"]) == 768


def test_the_thumbnail_is_the_image_in_small(tmp_path):
    image = texture(1, (64, 64))
    image.save(tmp_path / "x.png")
    thumbnail = np.frombuffer(measure_file(tmp_path / "x.png")["thumbnail"], dtype=np.uint8).reshape(16, 16, 3)
    wanted = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=float)
    assert np.abs(thumbnail - wanted).mean() < 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_a_truncated_file_is_a_problem(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    texture(1).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert measure_file(path)["problem"].startswith(("truncated: ", "unreadable: "))


def test_a_file_of_zero_bytes_is_a_problem(tmp_path):
    (tmp_path / "x.jpg").touch()
    assert measure_file(tmp_path / "x.jpg")["problem"] == "empty: the file has zero bytes"


def test_a_file_that_is_no_image_is_a_problem(tmp_path):
    (tmp_path / "x.jpg").write_text("<html>404 Not Found</html>" * 10)
    assert measure_file(tmp_path / "x.jpg")["problem"] == "unreadable: not an image in any known format"


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path):
    write_bomb(tmp_path / "x.png")
    began = time.perf_counter()
    assert measure_file(tmp_path / "x.png")["problem"].startswith("decompression bomb: Image size (1600000000 pixels)")
    assert time.perf_counter() - began < 2


def save_wrong_extension(path: Path) -> None:
    texture(1).save(path, format="PNG")


def save_animation(path: Path) -> None:
    texture(1).save(path, save_all=True, append_images=[texture(2), texture(3)])


def save_rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    texture(1, (90, 60)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("name", "save", "remark", "size"),
    [
        ("x.jpg", save_wrong_extension, "wrong extension: PNG named .jpg", (96, 80)),
        ("x.gif", save_animation, "animated: first frame used", (96, 80)),
        ("x.jpg", lambda path: texture(1).convert("CMYK").save(path), "CMYK", (96, 80)),
        ("x.png", lambda path: texture(1).convert("P").save(path), "palette", (96, 80)),
        ("x.png", lambda path: texture(1).convert("RGBA").save(path), "alpha: laid on white", (96, 80)),
        ("x.jpg", save_rotated, "EXIF rotation applied", (60, 90)),
        (
            "x.png",
            lambda path: Image.fromarray(np.asarray(texture(1).convert("L")).astype(np.uint16) * 257).save(path),
            "16-bit or more: scaled to 8",
            (96, 80),
        ),
    ],
)
def test_what_is_odd_is_remarked_and_readable(tmp_path, name, save, remark, size):
    save(tmp_path / name)
    fact = measure_file(tmp_path / name)
    assert fact["problem"] is None
    assert fact["remark"] == remark
    assert (fact["width"], fact["height"]) == size
    assert fact["dhash"] != 0


def test_a_jpeg_is_a_jpeg_by_any_of_its_names(tmp_path):
    texture(1).save(tmp_path / "x.JPEG", format="JPEG")
    assert measure_file(tmp_path / "x.JPEG")["remark"] is None
