"""Names, archives and CSV text, as they lie on the disk."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from support.folders import tar_files, write, zip_files

from kit.core.errors import InputError
from kit.data.table import archives
from kit.data.table.scan import extract_archive, list_archive, read_column, read_csv, scan_files


def cut(whole):
    return whole[: len(whole) // 2]


def garble(whole):
    return whole[: len(whole) // 2] + b"x" * 60 + whole[len(whole) // 2 + 60 :]


def test_rows_are_counted_as_an_editor_counts_them(tmp_path):
    write(tmp_path / "a.csv", 'id,label\n1,"two\nlines"\n\n2,x\n')
    assert read_csv(tmp_path / "a.csv").index.tolist() == [2, 5]


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(InputError, match=r"caf\\xe9.jpg is not UTF-8; rename it"):
        scan_files(tmp_path)


def test_only_plain_files_are_found(tmp_path):
    (tmp_path / "image.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")  # who reads it waits
    (tmp_path / "to_the_image.jpg").symlink_to("image.jpg")
    (tmp_path / "to_the_pipe.jpg").symlink_to("pipe.jpg")
    (tmp_path / "to_nowhere.jpg").symlink_to("gone.jpg")
    assert sorted(scan_files(tmp_path)) == ["image.jpg", "to_nowhere.jpg", "to_the_image.jpg"]


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt"])
def test_archives_that_reach_outside_are_refused(tmp_path, name):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr(name, "x")
    with pytest.raises(InputError, match="outside"):
        extract_archive(archive, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_tar_links_that_reach_outside_are_refused(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as members:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(link)
    with pytest.raises(InputError, match="cannot be unpacked"):
        extract_archive(archive, tmp_path / "to")


def test_a_truncated_archive_is_named(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match="fetch it again"):
        extract_archive(archive, tmp_path / "to")


@pytest.mark.parametrize("damage", [cut, garble])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, name, damage):
    archive, names = tmp_path / name, [f"{i:05d}.jpg" for i in range(500)]
    zip_files(archive, names) if name == "a.zip" else tar_files(archive, names, f"w:{name[-2:]}")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InputError, match=f"{name}: cannot be unpacked"):
        extract_archive(archive, tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_encrypted_archive_is_named(tmp_path):
    archive = tmp_path / "a.zip"
    zip_files(archive, ["a.jpg"])
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # the flag of the member, then that of the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip: cannot be unpacked \(.*password.*\); .* unpack it by hand"):
        extract_archive(archive, tmp_path / "to")


@pytest.mark.parametrize("pack", [zip_files, tar_files])
def test_an_archive_is_listed_as_it_would_be_unpacked(tmp_path, pack):
    archive = tmp_path / "a.archive"
    pack(archive, ["pets/a/1.jpg", "pets/b/2.jpg", "__MACOSX/pets/._1.jpg", "pets/.DS_Store"])
    folder = extract_archive(archive, tmp_path / "to")
    assert folder == tmp_path / "to" / "pets"
    assert sorted(scan_files(folder)) == sorted(list_archive(archive)) == ["a/1.jpg", "b/2.jpg"]


def test_two_columns_of_one_name_are_not_told_to_be_called_so():
    with pytest.raises(InputError, match="2 columns are named 'a'; rename all but one"):
        read_column(pd.DataFrame([["1", "2"]], columns=["a", "a"]), "a", "key", Path("x.csv"))


def pack_seven(archive: Path, names: list[str], **options: object) -> None:
    """Write a 7z archive of empty files."""
    import py7zr

    with py7zr.SevenZipFile(archive, "w", **options) as opened:
        for name in names:
            opened.writestr(b"x", name)


def test_a_7z_archive_is_listed_and_unpacked(tmp_path):
    pack_seven(tmp_path / "a.7z", ["pets/a/1.jpg", "pets/b/2.jpg", "__MACOSX/pets/._1.jpg"])
    folder = extract_archive(tmp_path / "a.7z", tmp_path / "to")
    assert sorted(scan_files(folder)) == sorted(list_archive(tmp_path / "a.7z")) == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("damage", [cut, garble])
def test_a_damaged_7z_archive_is_named_and_leaves_nothing(tmp_path, damage):
    pack_seven(tmp_path / "a.7z", [f"{i:05d}.jpg" for i in range(200)])
    (tmp_path / "a.7z").write_bytes(damage((tmp_path / "a.7z").read_bytes()))
    with pytest.raises(InputError, match=r"a.7z: cannot be unpacked"):
        extract_archive(tmp_path / "a.7z", tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["a.7z"]


def test_an_encrypted_7z_archive_is_named(tmp_path):
    pack_seven(tmp_path / "a.7z", ["1.jpg"], password="secret")
    with pytest.raises(InputError, match=r"a.7z: cannot be unpacked \(.*password"):
        extract_archive(tmp_path / "a.7z", tmp_path / "to")


def test_archives_in_archives_become_folders_but_tables_stay(tmp_path):
    zip_files(tmp_path / "train.zip", ["train/1.jpg", "train/2.jpg"])
    tar_files(tmp_path / "more.tar.gz", ["3.jpg"], "w:gz")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as opened:
        for name in ("train.zip", "more.tar.gz"):
            opened.write(tmp_path / name, f"inner/{name}")
        opened.writestr("inner/train.csv.zip", b"")
    folder = extract_archive(tmp_path / "all.zip", tmp_path / "to")
    expected = ["more/3.jpg", "train.csv.zip", "train/train/1.jpg", "train/train/2.jpg"]
    assert sorted(scan_files(folder)) == sorted(list_archive(tmp_path / "all.zip")) == expected


def test_an_archive_in_which_a_member_reaches_outside_is_refused_however_deep(tmp_path):
    zip_files(tmp_path / "in.zip", ["../out.jpg"])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as opened:
        opened.write(tmp_path / "in.zip", "in.zip")
    with pytest.raises(InputError, match=r"member '../out.jpg' would land outside the folder"):
        extract_archive(tmp_path / "all.zip", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_bomb_is_refused_and_so_is_what_does_not_fit(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros", bytes(3 * 10**6))
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 10**6)
    with pytest.raises(InputError, match=r"a.zip: 0.0 GB in 0.0 MB looks like a bomb; nothing was unpacked"):
        extract_archive(tmp_path / "a.zip", tmp_path / "to")
    monkeypatch.setattr(archives, "SPARE_BYTES", 10**18)
    zip_files(tmp_path / "b.zip", ["1.jpg"])
    with pytest.raises(InputError, match=r"b.zip: unpacked it takes .* free some space"):
        extract_archive(tmp_path / "b.zip", tmp_path / "to")


def test_archives_too_deep_within_each_other_are_refused(tmp_path):
    inner = tmp_path / "0.zip"
    zip_files(inner, ["1.jpg"])
    for depth in range(1, 5):
        outer = tmp_path / f"{depth}.zip"
        with zipfile.ZipFile(outer, "w") as opened:
            opened.write(inner, inner.name)
        inner = outer
    with pytest.raises(InputError, match="archives within archives, 4 deep"):
        extract_archive(inner, tmp_path / "to")
