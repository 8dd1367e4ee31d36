"""Unpacking what was downloaded: nothing outside the folder, no links, no bombs, every checksum."""

from __future__ import annotations

import stat
import zipfile

import pytest

from kit.core.errors import InputError
from kit.kaggle.client import archive as module
from kit.kaggle.client.archive import BadArchive, check_archive, extract_zip


@pytest.fixture
def pack(tmp_path):
    """Return a function that writes a zip of some members."""

    def write(*members: str | zipfile.ZipInfo, content: bytes = b"content"):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for member in members:
                opened.writestr(member, content)
        return path

    return write


def test_the_folder_appears_with_all_files(pack, tmp_path):
    assert extract_zip(pack("a/1.txt", "b.txt", "c/"), tmp_path / "out") == 2
    assert (tmp_path / "out/a/1.txt").read_bytes() == b"content"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "..\\x", "C:\\x", "\\\\host\\x", "a/.."])
def test_a_member_that_leads_outside_is_refused_and_nothing_is_unpacked(pack, tmp_path, name):
    with pytest.raises(InputError, match="would land outside the folder; nothing was unpacked"):
        extract_zip(pack("good.txt", name), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip"}


def test_a_link_is_refused(pack, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="'link' is a link"):
        extract_zip(pack(link, content=b"/etc/passwd"), tmp_path / "out")


def test_a_bomb_is_refused(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RATIO_FREE_BYTES", 10**6)
    with pytest.raises(InputError, match="looks like a zip bomb"):
        extract_zip(pack("zeros", content=bytes(3 * 10**6)), tmp_path / "out")


def test_what_does_not_fit_on_the_disk_is_refused(pack):
    path = pack("a")
    with zipfile.ZipFile(path) as opened, pytest.raises(InputError, match="free some space"):
        check_archive(path, opened.infolist(), free_bytes=1000)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(pack, tmp_path):
    with pytest.raises(InputError, match="members of the same name: a"):
        extract_zip(pack("a", "a"), tmp_path / "out")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:45] + b"?" + data[46:], lambda data: data[:-30], lambda _: b"<html>"]
)
def test_a_damaged_zip_is_known_and_nothing_is_left(pack, tmp_path, damage):
    path = pack("a", content=b"many different bytes 0123456789 abcdefghijklmnopqrstuvwxyz" * 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadArchive):
        extract_zip(path, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip"}
