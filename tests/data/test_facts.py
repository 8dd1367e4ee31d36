"""The facts of all files: each measured once, re-used until it changes."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from support.pictures import tabulate, texture

from kit.core.errors import InputError
from kit.data.audit import facts
from kit.data.audit.facts import audit_files, read_thumbnails


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
    measured = audit_files(shuffled, tmp_path / "cache")
    assert (measured.index == shuffled.index).all()
    assert measured["width"].loc[range(7)].tolist() == [40, 41, 42, 43, 44, 45, 40]


def test_a_file_that_is_gone_is_a_problem_until_it_is_back(tmp_path):
    paths = [tmp_path / "sound.png", tmp_path / "x.png"]
    texture(0).save(paths[0])
    table = tabulate(paths)
    problems = audit_files(table, tmp_path / "cache")["problem"]
    assert pd.isna(problems[0]) and problems[1] == "cannot be read: No such file or directory"
    texture(1).save(paths[1])
    assert audit_files(table, tmp_path / "cache")["problem"].isna().all()


def test_no_files_have_no_facts(tmp_path):
    measured = audit_files(tabulate([]), tmp_path / "cache")
    assert len(measured) == 0 and {"problem", "width", "digest"} <= set(measured)


def test_a_second_audit_measures_only_what_changed(tmp_path, capfd):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        texture(i).save(path)
    table, cache = tabulate(paths), tmp_path / "cache"
    first = audit_files(table, cache)
    written = (cache / facts.FILE).stat().st_mtime_ns
    pd.testing.assert_frame_equal(audit_files(table, cache), first)
    assert (cache / facts.FILE).stat().st_mtime_ns == written
    texture(9, (33, 44)).save(paths[2])
    again = audit_files(table, cache)
    assert again["width"].tolist() == [96, 96, 33, 96]
    assert [path.name for path in cache.iterdir()] == [facts.FILE]


def test_a_cache_that_a_foreign_hand_broke_is_made_anew(tmp_path):
    texture(1).save(tmp_path / "x.png")
    table, cache = tabulate([tmp_path / "x.png"]), tmp_path / "cache"
    first = audit_files(table, cache)
    (cache / facts.FILE).write_bytes(b"PAR1 no more")
    pd.testing.assert_frame_equal(audit_files(table, cache), first)


def test_an_audit_goes_on_from_what_a_killed_one_left(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "SAVE_EVERY", 4)
    paths, cache = [tmp_path / f"{i:02d}.png" for i in range(12)], tmp_path / "cache"
    for i, path in enumerate(paths[:-1]):
        texture(i).save(path)
    os.mkfifo(paths[-1])  # who reads it waits: the audit hangs in its last block
    table = tabulate(paths)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(audit_files, table, cache)
        patience = time.monotonic() + 60
        while len(list(cache.glob(facts.PARTS))) < 2 and time.monotonic() < patience:
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
    assert [path.name for path in (tmp_path / "left").iterdir()] == [facts.FILE]


def test_thumbnails_are_read_for_the_asked_images_alone_in_their_order(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    for i, path in enumerate(paths):
        Image.new("RGB", (40, 40), (10 * i, 0, 0)).save(path)
    assert facts.THUMBNAIL not in audit_files(tabulate([Path(path) for path in paths]), tmp_path / "cache")
    thumbnails = read_thumbnails(tmp_path / "cache", [paths[7], paths[2], paths[7]])
    assert thumbnails.shape == (3, 16, 16, 3) and thumbnails.dtype == "uint8"
    assert thumbnails[:, 0, 0, 0].tolist() == [70, 20, 70]
    assert len(read_thumbnails(tmp_path / "cache", [])) == 0


def test_a_thumbnail_that_was_never_measured_is_refused(tmp_path):
    texture(1).save(tmp_path / "x.png")
    audit_files(tabulate([tmp_path / "x.png"]), tmp_path / "cache")
    with pytest.raises(InputError, match="was changed while it was read"):
        read_thumbnails(tmp_path / "cache", [str(tmp_path / "y.png")])
