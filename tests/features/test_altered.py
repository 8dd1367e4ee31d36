"""Altered copies: found whatever was done to them, other pictures are not; folds keep them together or say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps
from support.copies_of_photos import EDITS, plant_copies
from support.noise_pictures import draw_pictures

from kit.api.stages import keep_copies_together
from kit.config.competition import HOME, Competition
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.audit.facts import audit_files, read_thumbnails
from kit.data.decoding import decode_image, read_small_grey
from kit.data.images import Pool
from kit.data.prepared import prepare
from kit.features.altered import AlteredCopy, alignment, confirm, find_altered, find_candidates, find_encoded, windows
from kit.features.altered.symmetries import NAMES, lay
from kit.features.altered.telling import list_straddling, warn_of_copies

N_PICTURES = 16
ENCODER = f"open_clip:local-dir:{HOME}/digits/tiny-clip"
TOML = f"""
[competition]
title = "noise"
task = "multiclass"
metric = "accuracy"
[data]
root = "data/noise"
labeled = "train"
test = "test"
[folds]
n = 3
[runs.probe]
model = "linear_probe"
encoder = "{ENCODER}"
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return a pool of pictures and a copy of every kind, its thumbnails, and (picture, copy) by kind."""
    folder = tmp_path_factory.mktemp("planted")
    photos = draw_pictures(folder / "pictures", N_PICTURES)
    copies = plant_copies(photos, folder / "copies", 1)
    paths = np.array([str(file) for file in [*photos, *(pairs[0][1] for pairs in copies.values())]], dtype=object)
    audit_files(pd.DataFrame({"path": paths, "split": "labeled", "label": "a"}), folder)
    pool = Pool(
        paths, np.full(len(paths), "labeled", object), paths, paths, np.arange(len(paths)), ("a",), folder, folder
    )
    rows = {path: row for row, path in enumerate(paths.tolist())}
    pairs = {kind: (rows[str(photo)], rows[str(copy)]) for kind, [(photo, copy)] in copies.items()}
    return pool, read_thumbnails(folder, paths), pairs


@pytest.fixture
def noise(tmp_path: Path) -> Competition:
    """A competition of noise: one picture is there again mirrored, in its class; another turned, as a test image."""
    root = tmp_path / "data" / "noise"
    files = draw_pictures(tmp_path / "drawn", 12)
    for number, file in enumerate(files):
        folder = root / ("test" if number >= 9 else f"train/{'ab'[number % 2]}")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.name)
    with Image.open(files[0]) as image:
        ImageOps.mirror(image).save(root / "train" / "a" / "mirrored.jpg", quality=90)
    with Image.open(files[1]) as image:
        image.rotate(90, expand=True).save(root / "test" / "turned.jpg", quality=90)
    folder = tmp_path / "competitions" / "noise"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(TOML)
    return read_competition("noise", Workspace(tmp_path))


def test_copies_of_every_kind_are_found_and_no_other_pair(planted):
    pool, thumbnails, pairs = planted
    first, second = np.triu_indices(len(pool), 1)
    found = {tuple(sorted((copy.first, copy.second))) for copy in confirm(pool.paths, thumbnails, first, second)}
    assert set(pairs) == set(EDITS)
    assert found == set(pairs.values())


@pytest.mark.parametrize(
    ("kind", "words"),
    [("mirrored", "mirrored"), ("turned", "turned by"), ("framed", "within the other"), ("recoloured", "recoloured")],
)
def test_what_was_done_to_a_copy_is_named(planted, kind, words):
    pool, thumbnails, pairs = planted
    (copy,) = confirm(pool.paths, thumbnails, *np.array(pairs[kind])[:, None])
    assert words in copy.change


def test_how_much_of_a_picture_a_crop_shows_is_measured(planted):
    pool, thumbnails, pairs = planted
    (copy,) = confirm(pool.paths, thumbnails, *np.array(pairs["cropped to 70 %"])[:, None])
    shares = [int(word.rstrip("%")) for word in copy.change.split() if word.endswith("%")]
    assert shares == pytest.approx([70, 70], abs=2)
    assert (copy.first, copy.second) == pairs["cropped to 70 %"]  # the crop lies within the picture


def test_candidates_are_the_nearest_of_labelled_images_and_the_labelled_nearest_of_others():
    angles = np.radians([0.0, 10.0, 200.0, 1.0, 201.0, 100.0])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    first, second = find_candidates(values, np.array([True, True, True, False, False, False]))
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert {(0, 3), (2, 4), (0, 1)} <= pairs
    assert all(a < b and a < 3 for a, b in pairs)  # two that are not labelled tell nothing


def test_many_images_near_one_are_compared_some_at_a_time(planted, monkeypatch):
    _, thumbnails, _ = planted
    first, second = np.repeat([0, 3], 10), np.tile(np.arange(4, 14), 2)
    whole = windows.place(thumbnails, first, second)
    held = []

    def watch(rows, inner, second, n_each):
        held.append(len(second))
        return fit(rows, inner, second, n_each)

    fit = windows._fit
    monkeypatch.setattr(windows, "PAIRS", 6)
    monkeypatch.setattr(windows, "_fit", watch)
    parts = windows.place(thumbnails, first, second)
    assert max(held) <= 6 and sum(held) == len(first)
    assert np.array_equal(parts.windows, whole.windows) and np.array_equal(parts.ways, whole.ways)
    assert parts.agreement == pytest.approx(whole.agreement, abs=1e-5)


def test_gradients_are_moved_as_an_image_is_laid():
    squares = torch.rand(3, windows.SIDE, windows.SIDE, generator=torch.Generator().manual_seed(0))
    index, sign = windows._list_moves()
    for way in range(len(NAMES)):
        moved = windows._take_gradients(squares)[:, index[way]] * sign[way]
        assert torch.equal(moved, windows._take_gradients(lay(squares, way)))


def test_the_same_windows_of_many_images_are_cut_as_each_windows_own():
    images = 255 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    places = windows._list_windows()
    at_once, one_by_one = windows._Cutter.of(places, 16).cut(images), windows.cut(images, torch.tensor(places), 12)
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-3)


def test_how_well_images_fit_is_the_correlation_of_what_is_laid_and_cut():
    draws = torch.Generator().manual_seed(0)
    outer, small = 255 * torch.rand(2, 16, 16, generator=draws), 255 * torch.rand(2, 12, 12, generator=draws)
    inner = windows._Inner.of(windows._take_gradients(small))
    cuts = windows.describe(windows.cut(outer, torch.tensor(windows._list_windows()), windows.SIDE))
    beside = windows._describe_parts(windows._take_gradients(torch.zeros(2, 12, 12)))  # flat: fits nothing
    fits = windows._fit(torch.cat([cuts, beside], dim=1), inner, np.array([1, 0]), np.array([1, 1]))
    for way in range(len(NAMES)):
        laid = windows.describe(lay(small[[1, 0]], way))
        torch.testing.assert_close(fits[:, way, 1:], (cuts @ laid[..., None])[:, 1:, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("stages", [alignment.ROUGH, alignment.EXACT])
def test_where_no_pair_is_left_none_is_looked_at(stages):
    greys = torch.zeros(0, 96, 96)
    agreement, placed = alignment.align(greys, greys, np.zeros((0, 4), dtype=np.float32), stages)
    assert agreement.shape == (0,) and placed.shape == (0, 4)


def test_no_image_or_one_has_no_candidates():
    for n_images in (0, 1):
        first, second = find_candidates(np.ones((n_images, 1), dtype=np.float32), np.ones(n_images, dtype=bool))
        assert len(first) == len(second) == 0


def test_first_folds_keep_altered_copies_together(noise):
    pytest.importorskip("open_clip")
    keep_copies_together(noise)
    prepared = prepare(noise)
    rows = dict(zip(prepared.pool.ids[prepared.labeled].tolist(), range(len(prepared.labeled)), strict=True))
    assert prepared.folds[rows["000"]] == prepared.folds[rows["mirrored"]]
    groups = prepared.pool.groups[prepared.labeled]
    assert groups[rows["000"]] == groups[rows["mirrored"]] and len(np.unique(groups)) == len(groups) - 1
    assert len((noise.workspace.root / "folds" / "noise.copies.csv").read_text().splitlines()) == 2


def test_folds_that_are_there_are_obeyed_and_copies_that_straddle_them_told_of(noise, capsys):
    first = prepare(noise)
    file = noise.workspace.folds("noise")
    lines = file.read_text().splitlines()
    fold_of = {line.split(",")[0]: line.rsplit(",", 1)[1] for line in lines[1:]}
    others = str((int(fold_of["000"]) + 1) % 3)
    lines = [f"{line.rsplit(',', 1)[0]},{others}" if line.startswith("mirrored,") else line for line in lines]
    file.write_text("\n".join(lines) + "\n")
    keep_copies_together(noise)
    prepared = prepare(noise)
    assert file.read_text() == "\n".join(lines) + "\n"
    assert np.array_equal(prepared.pool.groups, first.pool.groups)
    copies = find_altered(prepared, ENCODER, {})
    assert len(list_straddling(prepared, copies)) == 1
    capsys.readouterr()
    warn_of_copies(prepared, copies)
    told = " ".join(capsys.readouterr().err.split())
    assert "1 pair of altered copies in different folds" in told and "noise.csv" in told
    assert "1 test image of labelled ones altered" in told


def test_what_was_found_is_kept(noise):
    prepared = prepare(noise)
    assert find_encoded(prepared) is None
    found = find_altered(prepared, ENCODER, {})
    assert {copy.change.split()[0] for copy in found} == {"mirrored", "turned"}
    assert find_encoded(prepared) == (ENCODER, {})
    for file in [*prepared.pool.paths]:
        Path(file).unlink()
    assert find_altered(prepared, ENCODER, {}) == found and all(isinstance(copy, AlteredCopy) for copy in found)


def test_check_says_what_it_left_out_and_what_it_found(noise, run_command):
    pytest.importorskip("open_clip")
    root = noise.workspace.root
    code, _, err = run_command(root, "check", "noise")
    assert code == 0 and "altered copies (mirrored, turned, cropped" in " ".join(err.split()) and "features" in err
    assert run_command(root, "features", "noise")[0] == 0
    code, out, _ = run_command(root, "check", "noise")
    assert code == 0 and "altered copies of labelled images: 2" in " ".join(out.split())


def test_without_weights_nothing_is_sought_and_nothing_fails(noise):
    missing = 'runs.probe.encoder="timm:resnet18@nowhere.safetensors"'
    competition = read_competition("noise", noise.workspace, (missing,))
    keep_copies_together(competition)
    assert not (noise.workspace.root / "folds").exists()
    assert find_encoded(prepare(competition)) is None


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_small_greys_are_those_of_the_decoded_image(tmp_path, suffix):
    (drawn,) = draw_pictures(tmp_path / "drawn", 1)
    file = tmp_path / f"turned.{suffix}"
    with Image.open(drawn) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # turned by a quarter
        image.resize((500, 300)).save(file, exif=exif)
    whole = Image.fromarray(decode_image(file).permute(1, 2, 0).numpy()).convert("L")
    expected = np.asarray(whole.resize((72, 72), Image.Resampling.BILINEAR), dtype=float)
    assert whole.size == (300, 500) and np.abs(read_small_grey(file, 72) - expected).mean() < 1
