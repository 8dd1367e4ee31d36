"""Decode once: the same pixels as Pillow, odd files, resumable."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from kit.images import Pool, decode_image
from kit.store import Geometry, read_pixels, read_store


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
