"""Decoding: the same pixels as Pillow, odd files, truncated ones."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kit.data.images import decode_image, open_image


def picture(width: int = 50, height: int = 37, seed: int = 0) -> Image.Image:
    """Draw a smooth random picture of three times the size."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width * 3, height * 3), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_every_format_and_mode_decodes_as_pillow_does(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    try:
        picture().convert(mode).save(path)
    except (OSError, ValueError):
        pytest.skip(f"there is no {mode} {suffix}")
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGBA").convert("RGB")).astype(int)
    assert np.abs(decode_image(path).permute(1, 2, 0).numpy() - expected).max() <= 1


def test_sixteen_bit_greys_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.abs(decode_image(tmp_path / "a.png")[0, 0].numpy().astype(int) - np.arange(256)).max() <= 1


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(50, 37).save(tmp_path / "a.jpg", exif=exif)
    assert tuple(decode_image(tmp_path / "a.jpg").shape) == (3, 150, 111)


def test_exif_rotation_is_applied_in_webp_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, more in (("a.webp", {}), ("turned.webp", {"exif": exif})):
        picture(50, 37).save(tmp_path / name, lossless=True, **more)
    upright, turned = decode_image(tmp_path / "a.webp"), decode_image(tmp_path / "turned.webp")
    assert (turned == upright.rot90(-1, (1, 2))).all()


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decode_image(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5])
def test_truncated_files_are_errors_not_pictures(tmp_path, suffix, keep):
    buffer = io.BytesIO()
    picture().save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    data = buffer.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(OSError):
        decode_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("mode", ["RGB", "I;16", "LA", "CMYK"])
def test_what_people_look_at_is_what_models_see(tmp_path, mode):
    path, exif = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), Image.Exif()
    exif[0x0112] = 6
    odd = Image.fromarray(np.full((9, 12), 40_000, dtype=np.uint16)) if mode == "I;16" else picture().convert(mode)
    odd.save(path, exif=exif)
    pixels = np.asarray(open_image(path)).astype(int)
    assert np.abs(pixels - decode_image(path).permute(1, 2, 0).numpy()).max() <= 1


def test_looking_at_an_image_does_not_wait_for_torch(tmp_path):
    picture().save(tmp_path / "a.jpg")
    code = (
        "import sys; from kit.report.page.thumbnails import embed_thumbnail; "
        f"embed_thumbnail({str(tmp_path / 'a.jpg')!r}); print('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def test_no_images_are_known_of_none(several):
    pool = several[0].pool
    assert len(pool.select(np.zeros(0)).is_known) == 0
