"""Sending: once whatever goes wrong on the way, and the ledger says what Kaggle says."""

from __future__ import annotations

import random
import time

import pytest
from support.kaggle_server import STATUSES, Fault
from support.kaggle_site import WarmKaggle, hurry
from support.sender import WRITES, Sender

from kit.kaggle.client.failures import KaggleFailure, KaggleRefusal
from kit.kaggle.submission.gate import Package, check_open
from kit.kaggle.submission.send import send_submission

READS = ("ListSubmissions", "GetSubmissionLimits", "GetCompetition")
STORAGE_STATUSES = (400, 408, 413, 429, 500, 503)


@pytest.fixture
def start(kaggle, kaggle_home, tmp_path, monkeypatch):
    """Return a function that makes a sender."""
    hurry(monkeypatch, call_seconds=2.0)
    kaggle.begin({f"{i:03d}": ("red", "blue", "green")[i % 3] for i in range(60)})
    kaggle.limit = 1000
    with WarmKaggle(kaggle.slug, kaggle.environment(kaggle_home)) as session:
        yield lambda n_files=1: Sender(tmp_path, n_files, kaggle, session)


def send_with_faults(start, n_files: int, seed: int) -> int:
    """Send files while things go wrong at random, calling again as a user does; return how many faults were met."""
    sender, draws, n_faults = start(n_files), random.Random(seed), 0
    kinds = [*STATUSES, "cut", "half", "html", "hang"]
    for i in range(n_files):
        for _ in range(12):
            sender.server.faults.clear()
            for method in draws.choices([*WRITES, *READS], [1, 1, 3, 1, 1, 1], k=draws.choice([0, 1, 2, 3])):
                kind = draws.choices(kinds, [1] * (len(kinds) - 1) + [0.3])[0]
                sender.server.fail(method, *[Fault(kind, draws.random() < 0.5) for _ in range(draws.choice([1, 1, 4]))])
                n_faults += 1
            try:
                sender.send(i)
                break
            except (KaggleRefusal, KaggleFailure):
                continue
        else:
            sender.server.faults.clear()
            sender.send(i)
    sender.agree()
    assert len(sender.server.submissions) == n_files
    assert all(row["status"] == "COMPLETE" and row["token"] for row in sender.ledger) and len(sender.ledger) == n_files
    return n_faults


@pytest.fixture
def sender(kaggle, kaggle_home, tmp_path, monkeypatch):
    """Return what sends one file."""
    hurry(monkeypatch, call_seconds=5.0)
    kaggle.begin({f"{i:03d}": ("red", "blue", "green")[i % 3] for i in range(60)})
    with WarmKaggle(kaggle.slug, kaggle.environment(kaggle_home)) as session:
        yield Sender(tmp_path, 1, kaggle, session)


@pytest.mark.parametrize("method", ["StartSubmissionUpload", "CreateSubmission"])
def test_every_status_of_a_write_is_told_and_nothing_is_sent_twice(start, method):
    sender = start(len(STATUSES))
    for i, status in enumerate(STATUSES):
        sender.server.fail(method, status, status)
        with pytest.raises(KaggleRefusal if status in (400, 401, 403, 404, 413) else KaggleFailure) as refused:
            sender.send(i)
        assert (refused.value.failure.status == status and f"({status})" in str(refused.value)) or status == 401
        assert sender.server.faults[method].__len__() == (0 if status in (500, 503) else 1), "writes are not retried"
        sender.server.faults.clear()
    assert not sender.server.submissions
    for i in range(len(STATUSES)):
        sender.send(i)
    sender.agree()


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_failure_that_was_obeyed_is_found_in_the_list(start, status):
    sender = start()
    sender.server.fail("CreateSubmission", Fault(status, is_obeyed=True))
    assert sender.send()["ref"] == "1000"
    sender.agree()


@pytest.mark.parametrize("kind", ["cut", "half", "html", "hang"])
def test_a_lost_answer_is_looked_up_and_not_sent_again(start, kind):
    sender = start()
    sender.server.fail("CreateSubmission", Fault(kind, is_obeyed=True))
    assert sender.send()["ref"] == "1000"
    assert sender.server.calls.count("CreateSubmission") == 1
    sender.agree()


@pytest.mark.parametrize("kind", ["cut", "html", 500, 503])
def test_what_did_not_arrive_is_sent_once_more(start, kind):
    sender = start()
    sender.server.fail("CreateSubmission", kind)
    assert sender.send()["ref"] == "1000"
    assert sender.server.calls.count("CreateSubmission") == 2
    sender.agree()


def test_what_may_still_arrive_is_not_sent_again(start):
    sender = start()
    sender.server.fail("CreateSubmission", "hang")
    with pytest.raises(KaggleFailure, match=r"no answer within 2 seconds.*The next call looks before it sends"):
        sender.send()
    assert sender.server.calls.count("CreateSubmission") == 1 and sender.ledger[0]["status"] == "SENDING"
    token = sender.ledger[0]["token"]
    late = sender.server.receive(
        sender.ledger[0]["file"], (sender.folder / "001_run1.csv").read_bytes(), f"m [kit-{token}]"
    )
    assert sender.send()["ref"] == str(late["ref"])
    sender.agree()


def test_an_upload_that_is_dropped_ends_with_the_time_out_and_not_with_success(start):
    sender = start()
    sender.server.fail("PUT", *["cut"] * 20)
    began = time.monotonic()
    with pytest.raises(KaggleFailure, match="no answer within 2 seconds"):
        sender.send()
    assert time.monotonic() - began < 10 and not sender.server.submissions
    sender.server.faults.clear()
    sender.send()
    sender.agree()


def test_a_refused_upload_is_no_success_though_the_client_says_nothing(start):
    sender = start()
    sender.server.fail("PUT", 403, 403)
    with pytest.raises(KaggleFailure, match="the upload did not succeed"):
        sender.send()
    assert not sender.server.submissions


def test_a_count_that_has_risen_keeps_it_from_being_sent_again(start):
    sender = start()
    sender.server.fail("CreateSubmission", 500)
    limits = check_open(sender.kaggle, False)
    sender.server.receive("other.csv", b"id,label\n", "a colleague's")
    package = Package(sender.ledger[0], sender.folder / sender.ledger[0]["file"])
    with pytest.raises(KaggleFailure, match="the day's count has risen"):
        send_submission(sender.kaggle, sender.competition, package, "m", limits)
    assert sender.server.calls.count("CreateSubmission") == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Your team has used its daily Submission allowance (5) today", "submission limit is reached"),
        ("The competition deadline has passed", "its deadline has passed"),
        ("This competition only accepts Submissions from Notebooks", "takes notebooks only"),
    ],
)
def test_a_refusal_after_the_upload_names_its_cause(start, message, told):
    sender = start()
    sender.server.fail("CreateSubmission", Fault(400, said=message))
    with pytest.raises(KaggleRefusal, match=told):
        sender.send()
    assert sender.ledger[0]["token"] == "" and sender.ledger[0]["status"] == ""


def test_ledger_and_server_agree_after_faults_at_random(start):
    assert send_with_faults(start, 8, seed=1) > 5


@pytest.mark.slow
def test_ledger_and_server_agree_after_a_hundred_submissions_with_faults_at_random(start):
    assert send_with_faults(start, 100, seed=0) > 100


@pytest.mark.parametrize("status", STORAGE_STATUSES)
def test_an_upload_that_the_storage_refuses_once_is_sent_once_more(sender, status):
    sender.server.fail("PUT", status)
    assert sender.send()["ref"] == "1000"
    assert (sender.server.calls.count("PUT"), sender.server.calls.count("CreateSubmission")) == (2, 1)
    sender.agree()


@pytest.mark.parametrize("status", STORAGE_STATUSES)
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
