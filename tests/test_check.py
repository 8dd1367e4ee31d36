"""The audit: what is wrong with files, which are duplicates, whether test looks like train."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kit import check, terminal
from kit.check import audit, audit_files, near_duplicates
from kit.competition_file import read_competition
from kit.errors import InputError
from kit.files import Workspace


def texture(seed: int, size: tuple[int, int] = (96, 80), detail: int = 7) -> Image.Image:
    """Draw a random smooth colour texture."""
    noise = np.random.default_rng(seed).integers(0, 256, (detail, detail, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def tabulate(paths: list[Path], label: str | list[str] = "a", split: str | list[str] = "labeled") -> pd.DataFrame:
    """Return the image table of files."""
    columns = {"id": [path.stem for path in paths], "path": [str(path) for path in paths]}
    table = pd.DataFrame({**columns, "label": label, "split": split, "group": None}, dtype=object)
    table.loc[table["split"] != "labeled", "label"] = None
    return table


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Path], pd.Series]:
    """Return a function that gives the facts of one file, audited beside a sound one."""

    def facts_of(path: Path) -> pd.Series:
        sound = tmp_path / "sound.png"
        texture(0).save(sound)
        return audit_files(tabulate([sound, path]), tmp_path / "cache").iloc[1]

    return facts_of


def write_bomb(path: Path) -> None:
    """Write a small PNG whose header claims 40,000 x 40,000 pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    sealed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(sealed))


def test_a_sound_file_has_no_problem_and_no_remark(look, tmp_path):
    texture(1, (90, 60)).save(tmp_path / "x.jpg")
    fact = look(tmp_path / "x.jpg")
    assert pd.isna(fact["problem"]) and pd.isna(fact["remark"])
    assert (fact["width"], fact["height"], fact["n_frames"]) == (90, 60, 1)
    assert (fact["format"], fact["mode"]) == ("JPEG", "RGB")
    assert fact["digest"] == hashlib.sha256((tmp_path / "x.jpg").read_bytes()).hexdigest()
    assert fact["n_bytes"] == (tmp_path / "x.jpg").stat().st_size
    assert len(fact["thumbnail"]) == 768


def test_the_thumbnail_is_the_image_in_small(look, tmp_path):
    image = texture(1, (64, 64))
    image.save(tmp_path / "x.png")
    thumbnail = np.frombuffer(look(tmp_path / "x.png")["thumbnail"], dtype=np.uint8).reshape(16, 16, 3)
    wanted = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=float)
    assert np.abs(thumbnail - wanted).mean() < 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_a_truncated_file_is_a_problem(look, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    texture(1).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert look(path)["problem"].startswith(("truncated: ", "unreadable: "))


def test_a_file_of_zero_bytes_is_a_problem(look, tmp_path):
    (tmp_path / "x.jpg").touch()
    assert look(tmp_path / "x.jpg")["problem"] == "empty: the file has zero bytes"


def test_a_file_that_is_no_image_is_a_problem(look, tmp_path):
    (tmp_path / "x.jpg").write_text("<html>404 Not Found</html>" * 10)
    assert look(tmp_path / "x.jpg")["problem"] == "unreadable: not an image in any known format"


def test_a_file_that_is_gone_is_a_problem_until_it_is_back(look, tmp_path):
    path = tmp_path / "x.png"
    assert look(path)["problem"] == "cannot be read: No such file or directory"
    texture(1).save(path)
    assert pd.isna(look(path)["problem"])


def test_a_decompression_bomb_is_refused_from_its_header(look, tmp_path):
    write_bomb(tmp_path / "x.png")
    began = time.perf_counter()
    assert look(tmp_path / "x.png")["problem"].startswith("decompression bomb: Image size (1600000000 pixels)")
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
def test_what_is_odd_is_remarked_and_readable(look, tmp_path, name, save, remark, size):
    save(tmp_path / name)
    fact = look(tmp_path / name)
    assert pd.isna(fact["problem"])
    assert fact["remark"] == remark
    assert (fact["width"], fact["height"]) == size
    assert fact["dhash"] != 0


def test_a_jpeg_is_a_jpeg_by_any_of_its_names(look, tmp_path):
    texture(1).save(tmp_path / "x.JPEG", format="JPEG")
    assert pd.isna(look(tmp_path / "x.JPEG")["remark"])


def test_nothing_but_broken_images_is_refused(tmp_path):
    paths = [tmp_path / "x.jpg", tmp_path / "y.jpg"]
    for path in paths:
        path.touch()
    with pytest.raises(InputError, match=r"none of the 2 images can be read .*x\.jpg: empty"):
        audit_files(tabulate(paths), tmp_path / "cache")


def test_a_class_of_broken_images_is_refused_by_name(tmp_path):
    texture(1).save(tmp_path / "x.png")
    (tmp_path / "y.png").write_bytes(b"no image at all")
    with pytest.raises(InputError, match=r"class 'b': none of its images can be read .*y\.png"):
        audit_files(tabulate([tmp_path / "x.png", tmp_path / "y.png"], ["a", "b"]), tmp_path / "cache")


def test_facts_follow_the_table_whatever_its_order_and_index(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        texture(i, (40 + i, 50)).save(path)
    table = tabulate([*paths, paths[0]])
    shuffled = table.sample(frac=1, random_state=1)
    audit_files(table.iloc[:3], tmp_path / "cache")
    facts = audit_files(shuffled, tmp_path / "cache")
    assert (facts.index == shuffled.index).all()
    assert facts["width"].loc[range(7)].tolist() == [40, 41, 42, 43, 44, 45, 40]


def test_a_second_audit_measures_only_what_changed(tmp_path, capfd):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        texture(i).save(path)
    table, cache = tabulate(paths), tmp_path / "cache"
    first = audit_files(table, cache)
    written = (cache / check.FILE).stat().st_mtime_ns
    pd.testing.assert_frame_equal(audit_files(table, cache), first)
    assert (cache / check.FILE).stat().st_mtime_ns == written
    texture(9, (33, 44)).save(paths[2])
    again = audit_files(table, cache)
    assert again["width"].tolist() == [96, 96, 33, 96]
    assert [path.name for path in cache.iterdir()] == [check.FILE]


def test_a_cache_that_a_foreign_hand_broke_is_made_anew(tmp_path):
    texture(1).save(tmp_path / "x.png")
    table, cache = tabulate([tmp_path / "x.png"]), tmp_path / "cache"
    first = audit_files(table, cache)
    (cache / check.FILE).write_bytes(b"PAR1 no more")
    pd.testing.assert_frame_equal(audit_files(table, cache), first)


def test_an_audit_goes_on_from_what_a_killed_one_left(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "SAVE_EVERY", 4)
    paths, cache = [tmp_path / f"{i:02d}.png" for i in range(12)], tmp_path / "cache"
    for i, path in enumerate(paths[:-1]):
        texture(i).save(path)
    os.mkfifo(paths[-1])  # who reads it waits: the audit hangs in its last block
    table = tabulate(paths)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(audit_files, table, cache)
        patience = time.monotonic() + 60
        while len(list(cache.glob(check.PARTS))) < 2 and time.monotonic() < patience:
            time.sleep(0.01)
        shutil.copytree(cache, tmp_path / "left")  # what SIGKILL would leave now
        paths[-1].write_bytes(b"")  # lets it end
        hanging.result()
    paths[-1].unlink()
    texture(11).save(paths[-1])
    fresh = audit_files(table, tmp_path / "fresh")
    stamp = paths[0].stat()
    paths[0].write_bytes(bytes(stamp.st_size))
    os.utime(paths[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as if unchanged: whoever reads it again, fails
    pd.testing.assert_frame_equal(audit_files(table, tmp_path / "left"), fresh)
    assert [path.name for path in (tmp_path / "left").iterdir()] == [check.FILE]


def cluster(paths: list[Path], cache: Path, **columns: object) -> list[int]:
    """Return the cluster of each file."""
    table = tabulate(paths, **columns)
    return near_duplicates(table, audit_files(table, cache)).tolist()


def test_recompressed_and_resized_copies_share_a_cluster_and_others_do_not(tmp_path):
    paths = []
    for seed in range(60):
        image = texture(seed)
        paths += [tmp_path / f"{seed}_{copy}.jpg" for copy in range(3)]
        image.save(paths[-3], quality=95)
        image.save(paths[-2], quality=30)
        image.resize((60, 50)).save(paths[-1], quality=60)
    assert cluster(paths, tmp_path / "cache") == np.repeat(np.arange(0, 180, 3), 3).tolist()


def test_objects_on_one_background_are_not_duplicates(tmp_path):
    background = np.asarray(texture(0, (64, 64), detail=3)).astype(float) / 4 + 180
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        pixels = background.copy()
        pixels[20:44, 20:44] = np.asarray(texture(i + 1, (24, 24), detail=4))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert cluster(paths, tmp_path / "cache") == list(range(40))


def test_flat_images_are_not_duplicates_of_each_other(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 64), (50 * i, 90, 200 - 40 * i)).save(path)
    assert cluster(paths, tmp_path / "cache") == [0, 1, 2, 3]


def test_small_images_share_a_cluster_only_when_their_bytes_are_equal(tmp_path):
    image = texture(1, (28, 28))
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.jpg")]
    image.save(paths[0])
    image.save(paths[1])
    image.save(paths[2], quality=95)
    assert cluster(paths, tmp_path / "cache") == [0, 0, 2]


def test_broken_files_of_equal_bytes_are_no_duplicates(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    texture(1).save(paths[0])
    paths[1].touch()
    paths[2].touch()
    assert cluster(paths, tmp_path / "cache") == [0, 1, 2]


def test_every_pair_of_a_cluster_is_near(tmp_path):
    first, last = np.asarray(texture(1)).astype(float), np.asarray(texture(2)).astype(float)
    paths = [tmp_path / f"{i:02d}.png" for i in range(13)]
    for share, path in zip(np.linspace(0, 1, 13), paths, strict=True):  # a chain of near steps between two images
        Image.fromarray(((1 - share) * first + share * last).astype(np.uint8)).save(path)
    table = tabulate(paths)
    facts = audit_files(table, tmp_path / "cache")
    clusters = near_duplicates(table, facts)
    assert clusters[0] != clusters[-1]
    assert 1 < len(set(clusters)) < 13
    hashes = facts["dhash"].to_numpy()
    for name in set(clusters):
        mine = hashes[clusters == name]
        assert np.bitwise_count(mine[:, None] ^ mine[None]).max() <= check.MAX_DISTANCE


def test_multi_index_hashing_finds_every_pair_that_comparing_all_finds():
    draws = np.random.default_rng(0)
    seeds = draws.integers(0, 2**63, 60, dtype=np.uint64)
    hashes = np.repeat(seeds, 5)
    for _ in range(4):
        hashes ^= np.uint64(1) << draws.integers(0, 64, len(hashes)).astype(np.uint64)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = np.argwhere(np.triu(distance <= check.MAX_DISTANCE, 1))
    found = np.stack(check._find_pairs(hashes), axis=1)
    assert found[np.lexsort((found[:, 1], found[:, 0]))].tolist() == wanted.tolist()
    assert len(wanted) > 100


def test_a_cluster_too_large_for_its_class_is_reported_and_only_equal_files_stay_together(tmp_path, capsys):
    paths = [tmp_path / f"{i}.jpg" for i in range(9)]
    for i, path in enumerate(paths[:7]):
        texture(1).save(path, quality=60 + 5 * max(i, 1))  # 0 and 1 are equal
    for i, path in enumerate(paths[7:]):
        texture(5 + i).save(path)
    assert cluster(paths, tmp_path / "cache") == [0, 0, 2, 3, 4, 5, 6, 7, 8]
    said = " ".join(capsys.readouterr().err.split())
    assert "7 images look alike, too many to be grouped: labeled 0 (a), labeled 1 (a)" in said


@pytest.fixture
def report(tmp_path: Path) -> check.Audit:
    """Return the audit of a competition with one of everything."""
    paths = {split: [tmp_path / split / f"{i:02d}.jpg" for i in range(24)] for split in ("labeled", "test")}
    for split, files in paths.items():
        files[0].parent.mkdir()
        for i, path in enumerate(files):
            image = texture(i + (0 if split == "labeled" else 1000))
            image.save(path, quality=90 if split == "labeled" else 40)
    texture(0).save(paths["test"][0], quality=50)  # of labelled 00
    texture(1).save(paths["labeled"][13], quality=90)  # equal to 01, another class
    paths["labeled"][5].write_bytes(paths["labeled"][5].read_bytes()[:900])
    paths["test"][7].write_bytes(b"")
    texture(9).convert("CMYK").save(paths["labeled"][9])
    table = tabulate([*paths["labeled"], *paths["test"]], ["a"] * 12 + ["b"] * 36, ["labeled"] * 24 + ["test"] * 24)
    home = tmp_path / "one[bold]"
    home.mkdir()
    (home / "competition.toml").write_text('[competition]\ntitle = "x"\n[data]\nroot = "."\nlabeled = "labeled"\n')
    return audit(read_competition(str(home), Workspace(tmp_path)), table)


def test_the_report_names_what_is_broken_doubled_and_contradictory(report):
    assert report.splits == {"labeled": 24, "unlabeled": 0, "test": 24}
    assert report.classes == {"a": 11, "b": 12}
    assert [(image["split"], image["id"], image["label"]) for image in report.broken] == [
        ("labeled", "05", "a"),
        ("test", "07", None),
    ]
    assert report.remarks == {"CMYK": 1}
    assert [[image["id"] for image in found] for found in report.exact] == [["01", "13"]]
    assert [[(image["split"], image["id"]) for image in found] for found in report.near] == [
        [("labeled", "00"), ("test", "00")]
    ]
    assert report.across == report.near
    assert report.contradictions == report.exact


def test_the_report_prints_and_is_one_json_document(report, capsys, monkeypatch):
    monkeypatch.setattr(terminal.out, "_width", 200)
    report.print()
    said = capsys.readouterr().out
    assert "one[bold]: images" in said
    assert "broken: test 07: empty: the file has zero bytes; gets the class prior in the submission" in said
    assert "broken: labeled 05: truncated:" in said
    assert "different labels: labeled 01 (a), labeled 13 (b)" in said
    document = json.loads(json.dumps(report.as_dict()))
    assert document["probe"]["n_labeled"] == 23
    assert document["broken"][1]["problem"] == "empty: the file has zero bytes"


def test_the_probe_tells_brighter_test_images_from_train(tmp_path):
    paths = [tmp_path / f"{i:03d}.png" for i in range(120)]
    for i, path in enumerate(paths):
        texture(i, (32, 32)).point(lambda value, i=i: value // 2 + (90 if i >= 60 else 0)).save(path)
    table = tabulate(paths, split=["labeled"] * 60 + ["test"] * 60)
    probe = check._probe(table, audit_files(table, tmp_path / "cache"))
    assert probe.auc > 0.9
    assert "expect the leaderboard to differ from CV" in probe.verdict


def test_the_probe_cannot_tell_halves_of_one_set_apart(tmp_path):
    paths = [tmp_path / f"{i:03d}.png" for i in range(160)]
    for i, path in enumerate(paths):
        texture(i, (32, 32)).save(path)
    table = tabulate(paths, split=["labeled", "test"] * 80)
    probe = check._probe(table, audit_files(table, tmp_path / "cache"))
    assert abs(probe.auc - 0.5) < 3 * probe.error
    assert 0.03 < probe.error < 0.06


def test_the_probe_says_when_there_are_too_few_images_to_ask(tmp_path):
    texture(1).save(tmp_path / "x.png")
    table = tabulate([tmp_path / "x.png"])
    probe = check._probe(table, audit_files(table, tmp_path / "cache"))
    assert probe.auc is None
    assert "not asked, it takes 20 images on either side, there are 1 and 0" in probe.verdict
