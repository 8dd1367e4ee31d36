"""What commands leave behind and say without a slug, statuses of every kind of call, bundles as Kaggle takes them."""

from __future__ import annotations

import sys
from io import BytesIO

import pytest
from support.command import flat
from support.kaggle_server import SIGNATURE, STATUSES
from support.kaggle_site import SLUG, Site, below

FILES = {"train/cat/1.png": b"1", "train/dog/2.png": b"2"}


def take_slug(site: Site) -> None:
    toml = site.workspace / "competitions/colours/competition.toml"
    toml.write_text(toml.read_text().replace(f'slug = "{SLUG}"', ""))


def test_a_submit_without_credentials_leaves_nothing_behind(site, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    before = below(site.workspace / "submissions")
    code, _, err = site("submit", "colours", "forest", "--yes")
    assert code == 2 and "no Kaggle credentials found" in err
    assert below(site.workspace / "submissions") == before and not site.server.calls


@pytest.mark.parametrize("reason", ["rejected key", "no submissions left", "notebooks only", "nobody to ask"])
def test_a_submit_that_is_refused_writes_no_file_for_a_run_without_one(site, monkeypatch, reason):
    if reason == "rejected key":
        site.server.keys["ada"] = "another"
    site.server.limit, site.server.earlier = (0, 3) if reason == "no submissions left" else (5, 0)
    site.server.facts = {"isKernelsSubmissionsOnly": reason == "notebooks only"}
    monkeypatch.setattr(sys, "stdin", BytesIO())
    before = below(site.workspace / "submissions")
    assert site("submit", "colours", "forest", *([] if reason == "nobody to ask" else ["--yes"]))[0] == 2
    assert below(site.workspace / "submissions") == before


@pytest.mark.parametrize("command", ["submit", "submissions"])
def test_neither_slug_nor_solution_is_said_to_be_neither(site, command):
    take_slug(site)
    code, _, err = site(command, "colours")
    assert code == 2 and "colours has neither slug nor solution; slug =" in flat(err) and not site.server.calls


@pytest.mark.parametrize("kind", [*STATUSES, "cut", "hang", "html"])
def test_each_failure_of_a_submission_has_its_exit_code_and_burns_one_slot_in_the_end(site, monkeypatch, kind):
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", 2.0)
    site.server.fail("CreateSubmission", kind, kind)
    code, _, err = site("submit", "colours", "--yes")
    assert code == (2 if kind in (400, 401, 403, 404, 413) else 1) and not site.server.submissions
    assert any(words in flat(err) for words in ("nothing was submitted", "The next call looks before it sends"))
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", 20.0)
    site.server.faults.clear()
    assert site("submit", "colours", "--yes")[0] == 0
    assert len(site.server.submissions) == 1 and [row["ref"] for row in site.ledger] == ["1000"]


@pytest.mark.parametrize("method", ["DownloadDataFiles", "GET"])
@pytest.mark.parametrize("kind", [*STATUSES, "cut", "html"])
def test_each_failure_of_a_download_has_its_exit_code_and_the_next_call_does_it(site, tmp_path, capsys, method, kind):
    site.server.pack(FILES)
    fresh = Site(tmp_path / "fresh", site.server, capsys)
    site.server.fail(method, *[kind] * 12)
    code, _, err = fresh("download", SLUG)
    is_mine = method == "DownloadDataFiles" and kind in (400, 401, 403, 404)
    assert code == (2 if is_mine else 1), err
    assert kind != "html" or "the answer is a web page, not data" in flat(err)
    site.server.faults.clear()
    fresh("download", SLUG)
    assert (tmp_path / "fresh/data" / SLUG / "train/cat/1.png").read_bytes() == b"1"


def test_a_submission_that_cannot_be_scored_tells_kaggles_reason(site):
    site.server.solution["extra"] = "red"
    code, _, err = site("submit", "colours", "--yes", "--wait")
    assert code == 2 and "Submission must have 10 rows, found 9" in err
    assert site.ledger[0]["status"] == "ERROR"


def test_no_key_and_no_signed_address_is_shown_or_stored(site, fresh, monkeypatch):
    key = next(iter(site.server.keys.values()))
    monkeypatch.setenv("VERBOSE", "true")
    outcomes = [fresh("download", SLUG), site("submit", "colours", "--yes", "-m", "m")]
    site.server.fail("PUT", *[403] * 4)
    outcomes.append(site("submit", "colours", "svm", "--yes"))
    site.server.keys["ada"] = "another"
    outcomes.append(site("submissions", "colours"))
    shown = " ".join(text for _, *texts in outcomes for text in texts)
    stored = [
        path.read_bytes() for root in (site.workspace, fresh.workspace) for path in root.rglob("*.*") if path.is_file()
    ]
    assert [code for code, *_ in outcomes] == [0, 0, 1, 2]
    for secret in (key, SIGNATURE, SIGNATURE.partition("=")[2]):
        assert secret not in shown and not any(secret.encode() in data for data in stored)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, 2, "bad request (400)"),
        (401, 2, "rejected the key of the environment variables"),
        (403, 2, "rules are not accepted"),
        (404, 2, "not found (404)"),
        (409, 1, "conflict (409)"),
        (413, 1, "Kaggle answered 413"),
        (429, 1, "too many requests (429)"),
        (500, 1, "failure of its own (500)"),
        (503, 1, "failure of its own (503)"),
        ("html", 1, "a web page, not data"),
        ("cut", 1, "connection was cut"),
        ("half", 1, "connection was cut"),
    ],
)
def test_each_failure_of_a_read_has_its_message_and_exit_code(site, status, code, message):
    site.server.fail("GetSubmissionLimits", *[status] * 4)
    got, _, err = site("submit", "colours", "--yes")
    assert (got, message in flat(err)) == (code, True), err
    assert not site.server.submissions


def test_no_credentials_end_with_how_to_get_them(site, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    code, _, err = site("submit", "colours", "--yes")
    assert code == 2 and "no Kaggle credentials found; make a token at" in err


def test_a_rejected_token_is_named_and_so_is_what_it_hides(site, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired0000")
    code, _, err = site("submissions", "colours")
    assert code == 2 and "rejected the token of the environment variable KAGGLE_API_TOKEN" in err
    assert "it hides the environment variables KAGGLE_USERNAME and KAGGLE_KEY" in err and "expired0000" not in err
