"""Faults of the storage that takes a submission's file, and "too many requests" said of one that was obeyed."""

from __future__ import annotations

import pytest
from support.kaggle_server import Fault
from support.kaggle_site import WarmKaggle, hurry
from support.sender import Sender

from kit.kaggle.client.failures import KaggleFailure, KaggleRefusal

STATUSES = (400, 408, 413, 429, 500, 503)


@pytest.fixture
def sender(kaggle, kaggle_home, tmp_path, monkeypatch):
    """Return what sends one file."""
    hurry(monkeypatch, call_seconds=5.0)
    kaggle.begin({f"{i:03d}": ("red", "blue", "green")[i % 3] for i in range(60)})
    with WarmKaggle(kaggle.slug, kaggle.environment(kaggle_home)) as session:
        yield Sender(tmp_path, 1, kaggle, session)


@pytest.mark.parametrize("status", STATUSES)
def test_an_upload_that_the_storage_refuses_once_is_sent_once_more(sender, status):
    sender.server.fail("PUT", status)
    assert sender.send()["ref"] == "1000"
    assert (sender.server.calls.count("PUT"), sender.server.calls.count("CreateSubmission")) == (2, 1)
    sender.agree()


@pytest.mark.parametrize("status", STATUSES)
def test_an_upload_that_the_storage_goes_on_refusing_is_no_success_and_the_next_call_does_it(sender, status):
    sender.server.fail("PUT", status, status)
    with pytest.raises(KaggleFailure, match="the upload did not succeed, so nothing was submitted"):
        sender.send()
    assert "CreateSubmission" not in sender.server.calls and not sender.server.submissions
    assert sender.ledger[0]["status"] == "SENDING" and not sender.ledger[0]["ref"]
    assert sender.send()["ref"] == "1000"
    sender.agree()


def test_a_web_page_in_place_of_the_storage_is_no_success(sender):
    """The client takes any 200 for an upload: Kaggle itself misses the file."""
    sender.server.fail("PUT", "html")
    with pytest.raises(KaggleRefusal, match=r"no file was uploaded\); nothing was submitted"):
        sender.send()
    assert not sender.server.submissions and sender.ledger[0]["token"] == ""
    assert sender.send()["ref"] == "1000"
    sender.agree()


def test_too_many_requests_that_were_obeyed_are_found_in_the_list(sender):
    sender.server.fail("CreateSubmission", Fault(429, is_obeyed=True, headers={"Retry-After": "7"}))
    assert sender.send()["ref"] == "1000" and sender.server.calls.count("CreateSubmission") == 1
    sender.agree()


def test_too_many_requests_that_were_obeyed_and_listed_late_burn_no_second_slot(sender):
    sender.server.fail("CreateSubmission", Fault(429, headers={"Retry-After": "7"}))
    with pytest.raises(KaggleFailure, match=r"\(429\); wait for 7 seconds.*The next call looks before it sends"):
        sender.send()
    row = sender.ledger[0]
    assert row["status"] == "SENDING" and sender.server.calls.count("CreateSubmission") == 1
    file = sender.folder / row["file"]
    late = sender.server.receive(file.name, file.read_bytes(), f"m [kit-{row['token']}]")
    assert sender.send()["ref"] == str(late["ref"]) and sender.server.calls.count("CreateSubmission") == 1
    sender.agree()


def test_too_many_requests_that_were_obeyed_while_the_list_cannot_be_read_burn_no_second_slot(sender):
    sender.server.fail("CreateSubmission", Fault(429, is_obeyed=True))
    sender.server.fail("ListSubmissions", None, *[503] * 4)
    with pytest.raises(KaggleFailure, match="call again, it looks before it sends"):
        sender.send()
    assert sender.send()["ref"] == "1000" and sender.server.calls.count("CreateSubmission") == 1
    sender.agree()
