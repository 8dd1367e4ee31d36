"""Decoding: the same pixels as Pillow, odd files, truncated ones."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.pictures import texture

from kit.data.audit.image_file import measure_file
from kit.data.decoding import decode_image, open_image, read_greys


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


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "jp2", "heic"])
def test_the_formats_of_phones_and_the_web_are_read(tmp_path, suffix):
    from pillow_heif import from_pillow

    drawn = texture(0)
    if suffix == "heic":
        from_pillow(drawn).save(tmp_path / "a.heic", quality=95)
    else:
        drawn.save(tmp_path / f"a.{suffix}", {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF", "jp2": "JPEG2000"}[suffix])
    pixels = decode_image(tmp_path / f"a.{suffix}").permute(1, 2, 0).numpy().astype(int)
    assert np.abs(pixels - np.asarray(drawn).astype(int)).mean() < 6
    assert (np.asarray(open_image(tmp_path / f"a.{suffix}")) == pixels).mean() > 0.99


def dicom(path: Path, greys: np.ndarray, **tags: object) -> None:
    """Write greys as a DICOM file; the test is skipped without the library."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.Rows, file.Columns, file.SamplesPerPixel, file.PixelRepresentation = *greys.shape, 1, 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PhotometricInterpretation, file.PixelData = "MONOCHROME2", greys.astype(np.uint16).tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def test_dicom_is_read_with_its_scale_and_where_the_highest_is_black(tmp_path):
    greys = np.random.default_rng(0).integers(0, 4096, (20, 24))
    dicom(tmp_path / "a.dcm", greys, RescaleSlope="2", RescaleIntercept="-100")
    assert (read_greys(tmp_path / "a.dcm") == greys * 2 - 100).all()
    dicom(tmp_path / "b.dcm", greys, PhotometricInterpretation="MONOCHROME1")
    assert (read_greys(tmp_path / "b.dcm") == 4095 - greys).all()
    assert tuple(decode_image(tmp_path / "b.dcm").shape) == (3, 20, 24)


def test_the_first_window_of_a_dicom_file_says_what_is_black_and_white(tmp_path):
    greys = np.arange(480).reshape(20, 24)
    window = {"WindowCenter": ["140", "300"], "WindowWidth": ["201", "50"], "RescaleIntercept": "-100"}
    dicom(tmp_path / "a.dcm", greys, RescaleSlope="1", **window)
    expected = np.clip((greys - 100 - 40) / 200, 0, 1) * 255  # from 140 - 100 to 140 + 100
    shown = np.asarray(open_image(tmp_path / "a.dcm"))[..., 0]
    assert np.abs(shown - expected).max() < 1.5 and read_greys(tmp_path / "a.dcm") is None
    dicom(tmp_path / "b.dcm", greys, RescaleSlope="1", PhotometricInterpretation="MONOCHROME1", **window)
    assert (np.asarray(open_image(tmp_path / "b.dcm"))[..., 0] == 255 - shown).all()
    dicom(tmp_path / "c.dcm", greys, WindowCenter="140", WindowWidth="0")
    assert (read_greys(tmp_path / "c.dcm") == greys).all()  # no window: the whole range


def test_a_dicom_file_that_is_none_is_an_error(tmp_path):
    pytest.importorskip("pydicom")
    (tmp_path / "a.dcm").write_bytes(bytes(132))
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    for name in ("a.dcm", "b.dcm"):
        with pytest.raises(OSError, match=r"readable"):
            decode_image(tmp_path / name)


@pytest.mark.parametrize(("suffix", "module"), [("heic", "pillow_heif"), ("dcm", "pydicom")])
def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch, suffix, module):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").from_pillow(picture(8, 8)).save(tmp_path / "a.heic")
    else:
        dicom(tmp_path / "a.dcm", np.zeros((4, 4)))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OSError, match=f"pip install {module.replace('_', '-')}"):
        decode_image(tmp_path / f"a.{suffix}")


def test_a_colour_that_stands_for_transparency_is_white_to_models_and_people(tmp_path):
    drawn = Image.new("RGB", (8, 8), (10, 200, 30))
    drawn.paste((0, 0, 0), (0, 0, 4, 8))
    drawn.save(tmp_path / "a.png", transparency=(0, 0, 0))
    grey = Image.fromarray(np.repeat(np.uint8([[0, 90]]), 8, axis=0))
    grey.save(tmp_path / "g.png", transparency=0)
    for name, right in (("a.png", [10, 200, 30]), ("g.png", [90, 90, 90])):
        pixels = decode_image(tmp_path / name).permute(1, 2, 0).numpy()
        assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[0, -1].tolist() == right
        assert (np.asarray(open_image(tmp_path / name)) == pixels).all()


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_long_texts_and_profiles_are_no_reason_to_leave_a_png_out(tmp_path, mode):
    texts, drawn = PngImagePlugin.PngInfo(), picture(20, 16).convert(mode)
    for n in range(3):
        texts.add_text(f"note{n}", "x" * 3_000_000, zip=True)
    drawn.save(tmp_path / "a.png", pnginfo=texts, icc_profile=bytes(3_000_000))
    fact = measure_file(tmp_path / "a.png")
    assert fact["problem"] is None and (fact["width"], fact["height"], fact["format"]) == (60, 48, "PNG")
    assert (decode_image(tmp_path / "a.png").permute(1, 2, 0).numpy() == np.asarray(drawn.convert("RGB"))).all()
