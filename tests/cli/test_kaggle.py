"""download, all, submit, submissions: the unmodified client against a stand-in Kaggle, end to end."""

from __future__ import annotations

import hashlib
import io
import json
import sys

import pytest
from support.kaggle_server import SIGNATURE, Fault
from support.kaggle_site import SLUG, Site

from kit.cli import main
from kit.kaggle.client.session import Kaggle

FEW_TREES = ["--set", "runs.forest.n_trees=5", "--set", "runs.extra_trees.n_trees=5"]


def flat(text: str) -> str:
    return " ".join(text.split())


def data_of(workspace) -> dict[str, bytes]:
    root = workspace / "data" / "colours"
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture
def fresh(site, tmp_path, capsys) -> Site:
    """A workspace with nothing in it, and a Kaggle that offers the competition's data."""
    site.server.pack(data_of(site.workspace))
    return Site(tmp_path / "fresh", site.server, capsys)


def test_download_all_submit_and_leaderboard_follow_one_another(fresh, monkeypatch):
    monkeypatch.setattr("kit.kaggle.client.session.Kaggle", Kaggle)  # that ends its client each time, as users have it
    code, out, err = fresh("download", f"https://www.kaggle.com/competitions/{SLUG}/data")
    assert code == 0 and "36 files" not in out, err
    code, _, err = fresh("all", SLUG, *FEW_TREES)
    assert code == 0, err
    code, out, err = fresh("submit", SLUG, "-m", "first", "--yes", "--wait", "--json")
    sent = json.loads(out)
    assert (
        code == 0 and sent["status"] == "COMPLETE" and sent["public"] == fresh.server.submissions[0]["publicScore"]
    ), err
    code, out, _ = fresh("submissions", SLUG, "--json")
    assert code == 0 and json.loads(out)["place"]["team"] == "The Adas"
    code, out, _ = fresh("leaderboard", SLUG)
    assert code == 0 and sent["public"][:5] in out


def test_a_second_download_does_nothing(fresh):
    fresh("download", SLUG)
    calls = len(fresh.server.calls)
    code, _, err = fresh("download", SLUG)
    assert code == 0 and "is there already, nothing is downloaded" in err and len(fresh.server.calls) == calls


def test_downloading_what_is_not_allowed_names_both_causes_and_the_rules_page(fresh):
    fresh.server.rules_accepted = False
    code, _, err = fresh("download", SLUG)
    assert code == 2 and f"https://www.kaggle.com/competitions/{SLUG}/rules" in err and "is not its slug" in err
    assert not any(fresh.workspace.glob("data/.*"))


def test_a_practice_competition_is_not_downloaded(fresh):
    code, _, err = fresh("download", "digits")
    assert code == 2 and "practice competition: there is nothing to download" in err


def test_exactly_the_file_of_the_ledger_is_sent(site):
    assert site("submit", "colours", "-m", "x", "--yes")[0] == 0
    sent, row = site.server.submissions[0], site.ledger[0]
    assert hashlib.sha256(sent["data"]).hexdigest() == row["sha256"] and sent["fileName"] == row["file"]
    assert f"[kit-{row['token']}]" in sent["description"] and row["message"] == "x"


def test_a_file_of_other_settings_is_said_to_be_one(site):
    site("submission", "colours", "forest")
    _, _, err = site("submit", "colours", "forest", "--dry-run", "--set", "runs.forest.n_trees=3")
    said = " ".join(err.split())
    assert "forest as it stands now has not been made" in said and "is of other settings" in said


def test_a_run_without_a_file_gets_one(site):
    code, _, err = site("submit", "colours", "forest", "-m", "x", "--yes")
    assert code == 0 and site.server.submissions[0]["fileName"] == "002_forest.csv", err


def test_a_changed_file_is_not_sent(site):
    path = site.workspace / "submissions/colours/001_ensemble.csv"
    path.write_text(path.read_text().replace("red", "blue"))
    code, _, err = site("submit", "colours", "--yes")
    assert code == 2 and "has been changed since it was written" in err and not site.server.calls


def test_a_dry_run_sends_nothing(site):
    code, _, err = site("submit", "colours", "-m", "x", "--dry-run")
    assert code == 0 and "nothing was sent" in err and "expect 1.0000" in err
    assert not site.server.submissions and not site.server.uploads


def test_nobody_to_ask_means_nothing_is_sent(site, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, _, err = site("submit", "colours", "-m", "x")
    assert code == 2 and "--yes sends without asking" in err and not site.server.uploads


def test_a_file_sent_before_is_warned_of_and_yes_sends_it_again(site):
    site("submit", "colours", "-m", "one", "--yes")
    code, _, err = site("submit", "colours", "-m", "two", "--yes")
    assert code == 0 and "was sent before" in err
    assert [row["ref"] for row in site.ledger] == ["1000", "1001"] and len(site.server.submissions) == 2


def test_no_submissions_left_is_found_out_before_the_upload(site):
    site.server.limit = 0
    site.server.earlier = 3
    code, _, err = site("submit", "colours", "--yes")
    assert code == 2 and "no submissions left today" in err and "PUT" not in site.server.calls


def test_a_team_that_never_submitted_has_zeros_and_may_submit(site):
    assert site.server.limits() == {}
    assert site("submit", "colours", "--yes")[0] == 0


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"isKernelsSubmissionsOnly": True}, "takes notebooks only"),
        ({"submissionsDisabled": True}, "takes no submissions at present"),
    ],
)
def test_a_competition_that_takes_no_files_is_found_out_before_the_upload(site, facts, said):
    site.server.facts = facts
    code, _, err = site("submit", "colours", "--yes")
    assert code == 2 and said in err and "PUT" not in site.server.calls


def test_a_passed_deadline_is_warned_of(site):
    site.server.facts = {"deadline": "2020-01-01T00:00:00Z"}
    code, _, err = site("submit", "colours", "--yes")
    assert code == 0 and "the deadline has passed" in err


def test_a_submission_that_cannot_be_scored_tells_kaggles_reason(site):
    site.server.solution["extra"] = "red"
    code, _, err = site("submit", "colours", "--yes", "--wait")
    assert code == 2 and "Submission must have 10 rows, found 9" in err
    assert site.ledger[0]["status"] == "ERROR"


def test_a_lost_answer_costs_no_second_slot_and_the_next_call_finds_what_arrived(site):
    site.server.fail("CreateSubmission", Fault("cut", is_obeyed=True))
    site.server.fail("ListSubmissions", None, *[503] * 12)
    code, _, err = site("submit", "colours", "--yes")
    assert code == 1 and "Whether it arrived is not known" in err and site.ledger[0]["status"] == "SENDING"
    site.server.faults.clear()
    code, _, err = site("submit", "colours", "--yes")
    assert code == 0 and "had arrived by an earlier call" in err
    assert len(site.server.submissions) == 1 and site.ledger[0]["ref"] == "1000"


def test_a_notebook_is_submitted_through_the_same_ledger(site):
    site.server.facts = {"isKernelsSubmissionsOnly": True}
    code, _, err = site("submit", "colours", "forest", "-k", "ada/kernel", "-v", "3", "--yes", "--wait", "-m", "code")
    assert code == 0, err
    row = site.ledger[-1]
    assert row["file"] == "ada/kernel/3" and row["run"] == "forest" and row["cv"] and row["public"] == "1.00000"


def test_kernel_and_version_go_together(site):
    assert site("submit", "colours", "-k", "ada/kernel")[0] == 2
    assert site("submit", "colours", "-k", "ada", "-v", "1", "--yes")[0] == 2


def test_submissions_made_by_hand_are_found(site):
    ours = site.workspace / "submissions/colours/001_ensemble.csv"
    site.server.pending_looks = 0
    site.server.receive("001_ensemble.csv", ours.read_bytes(), "by hand")
    site.server.receive("mine.csv", b"id,label\n", "from [red]elsewhere[/red]\x1b[31m")
    code, out, _ = site("submissions", "colours")
    assert code == 0 and "[red]elsewhere[/red]" in out and "\x1b" not in out
    first, second = site.ledger
    assert first["ref"] == "1000" and first["run"] == "ensemble" and first["public"] == "1.00000"
    assert second["file"] == "mine.csv" and second["run"] == "" and second["status"] == "ERROR"


def test_no_key_and_no_signed_address_is_shown_or_stored(site, fresh, monkeypatch):
    key = next(iter(site.server.keys.values()))
    monkeypatch.setenv("VERBOSE", "true")
    said = [fresh("download", SLUG), site("submit", "colours", "--yes", "-m", "m")]
    site.server.fail("PUT", *[403] * 4)
    said.append(site("submit", "colours", "svm", "--yes"))
    site.server.keys["ada"] = "another"
    said.append(site("submissions", "colours"))
    shown = " ".join(text for _, *texts in said for text in texts)
    stored = [
        path.read_bytes() for root in (site.workspace, fresh.workspace) for path in root.rglob("*.*") if path.is_file()
    ]
    assert [code for code, *_ in said] == [0, 0, 1, 2]
    for secret in (key, SIGNATURE, SIGNATURE.partition("=")[2]):
        assert secret not in shown and not any(secret.encode() in data for data in stored)


def test_practice_competitions_are_scored_here(trained_workspace, tmp_path, monkeypatch, capsys, colours):
    colours()
    for arguments in (["all", "colours", "--quiet"], ["submit", "colours"]):
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert not stop.value.code
    assert "is a practice competition: nothing is sent" in said.err and "001_ensemble.csv: accuracy" in said.out


def test_what_is_left_of_kaggles_environment_cannot_reach_the_real_site(site, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")  # the client now looks for the real site
    code, _, err = site("submissions", "colours")
    assert code == 1 and "127.0.0.1:9" in err and not site.server.calls


@pytest.mark.parametrize(
    ("status", "code", "said"),
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
def test_each_failure_of_a_read_has_its_message_and_exit_code(site, status, code, said):
    site.server.fail("GetSubmissionLimits", *[status] * 4)
    got, _, err = site("submit", "colours", "--yes")
    assert (got, said in flat(err)) == (code, True), err
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
