"""Downloading: resumed, checked, fetched again where it is damaged; nothing half-made is taken for data."""

from __future__ import annotations

import json
import os

import pytest
from support.kaggle_site import WarmKaggle, hurry

from kit.core.errors import InputError
from kit.kaggle.client.download import download_data
from kit.kaggle.client.failures import KaggleFailure

FILES = {"train/cat/1.jpg": os.urandom(3000), "train/dog/2.jpg": os.urandom(3000), "test.csv": b"id\n3\n"}


@pytest.fixture
def server(kaggle, monkeypatch):
    hurry(monkeypatch, call_seconds=8)
    kaggle.pack(FILES)
    return kaggle


@pytest.fixture
def fetch(server, kaggle_home, tmp_path):
    """Return a function that downloads and returns what lies in the folder."""

    def download() -> dict[str, bytes]:
        folder = tmp_path / "data" / server.slug
        with WarmKaggle(server.slug, server.environment(kaggle_home)) as kaggle:
            download_data(kaggle, folder)
        assert [path.name for path in folder.parent.iterdir()] == [server.slug]
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return download


def leave_partial(server, tmp_path, content: bytes) -> None:
    """Leave what a killed download leaves: the beginning of the zip and the client's note."""
    place = tmp_path / "data" / f".{server.slug}.download"
    place.mkdir(parents=True)
    (place / f"{server.slug}.zip").write_bytes(content)
    note = {"validator": '"1"', "size": len(server.archive)}
    (place / f"{server.slug}.zip.kaggle-partial").write_text(json.dumps(note))


def test_what_is_downloaded_is_unpacked_and_the_zip_is_gone(fetch):
    assert fetch() == FILES


def test_a_killed_download_goes_on_where_it_stopped(server, fetch, tmp_path):
    leave_partial(server, tmp_path, server.archive[:4000])
    assert fetch() == FILES and server.ranges == ["bytes=4000-"]


def test_a_partial_file_of_the_right_size_and_wrong_inside_is_fetched_again(server, fetch, tmp_path, capsys):
    leave_partial(server, tmp_path, b"<Error>AccessDenied</Error>" + bytes(100))
    assert fetch() == FILES
    assert "is damaged" in capsys.readouterr().err and server.ranges == ["bytes=127-"]


def test_a_link_refused_while_a_cut_download_goes_on_does_no_harm(server, fetch):
    server.fail("GET", "half", 403, 403)
    assert fetch() == FILES


def test_a_damaged_zip_that_looks_finished_is_not_skipped(server, fetch, tmp_path):
    leave_partial(server, tmp_path, bytes(len(server.archive)))
    place = tmp_path / "data" / f".{server.slug}.download"
    (place / f"{server.slug}.zip.kaggle-partial").unlink()
    assert fetch() == FILES


def test_a_zip_that_comes_damaged_twice_is_a_failure_and_leaves_nothing(server, fetch, tmp_path):
    server.corrupt_archives = 2
    with pytest.raises(KaggleFailure, match="came damaged twice"):
        fetch()
    assert not list((tmp_path / "data").iterdir())


def test_a_download_that_comes_damaged_once_is_fetched_again(server, fetch):
    server.corrupt_archives = 1
    assert fetch() == FILES


def test_a_download_that_hangs_is_begun_again(server, fetch, monkeypatch):
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", 2.0)
    server.fail("GET", "hang")
    assert fetch() == FILES


@pytest.mark.parametrize(
    ("method", "fault", "error", "message"),
    [
        ("DownloadDataFiles", 403, InputError, "/rules"),
        ("DownloadDataFiles", 404, InputError, "there is no competition"),
        ("DownloadDataFiles", "html", KaggleFailure, "a web page, not data"),
        ("GET", 403, KaggleFailure, r"the link to the file was refused \(403\)"),
        ("GET", 503, KaggleFailure, r"failure of its own \(503\)"),
    ],
)
def test_what_fails_is_told_and_leaves_nothing(server, fetch, tmp_path, method, fault, error, message):
    server.fail(method, *[fault] * 4)
    with pytest.raises(error, match=message):
        fetch()
    assert not list((tmp_path / "data").iterdir())


def test_a_read_that_fails_once_is_tried_again(server, fetch):
    server.fail("DownloadDataFiles", 429, 503, "cut")
    assert fetch() == FILES
