"""download, all, submit, submissions: the unmodified client against a stand-in Kaggle, end to end."""

from __future__ import annotations

import hashlib
import io
import json
import sys

import pytest
from support.command import flat
from support.kaggle_server import Fault
from support.kaggle_site import SLUG, below

from kit.cli import main
from kit.kaggle.client.session import Kaggle

FEW_TREES = ["--set", "runs.forest.n_trees=5", "--set", "runs.extra_trees.n_trees=5"]


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
    message = " ".join(err.split())
    assert "forest as it stands now has not been made" in message and "is of other settings" in message


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
    ("facts", "message"),
    [
        ({"isKernelsSubmissionsOnly": True}, "takes notebooks only"),
        ({"submissionsDisabled": True}, "takes no submissions at present"),
    ],
)
def test_a_competition_that_takes_no_files_is_found_out_before_the_upload(site, facts, message):
    site.server.facts = facts
    code, _, err = site("submit", "colours", "--yes")
    assert code == 2 and message in err and "PUT" not in site.server.calls


def test_a_passed_deadline_is_warned_of(site):
    site.server.facts = {"deadline": "2020-01-01T00:00:00Z"}
    code, _, err = site("submit", "colours", "--yes")
    assert code == 0 and "the deadline has passed" in err


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


def test_practice_competitions_are_scored_here(trained_workspace, tmp_path, monkeypatch, capsys, colours):
    colours()
    for arguments in (["all", "colours", "--quiet"], ["submit", "colours"]):
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        assert not stop.value.code
    assert "is a practice competition: nothing is sent" in streams.err and "001_ensemble.csv: accuracy" in streams.out


def test_what_is_left_of_kaggles_environment_cannot_reach_the_real_site(site, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")  # the client now looks for the real site
    code, _, err = site("submissions", "colours")
    assert code == 1 and "127.0.0.1:9" in err and not site.server.calls


def test_a_dry_run_writes_the_file_and_its_help_says_so(site):
    assert site("submit", "colours", "forest", "--dry-run")[0] == 0
    assert (site.workspace / "submissions/colours/002_forest.csv").is_file() and not site.server.uploads
    assert "a run that has no file gets one" in flat(site("submit", "--help")[1].replace("│", ""))


def test_a_team_without_submissions_is_told_so(site):
    code, out, _ = site("submissions", "colours")
    assert code == 0 and "submissions: none made yet" in out and "status" not in out


def test_reading_the_leaderboard_leaves_the_data_alone(site):
    kept = site.workspace / "data" / f"{SLUG}.zip"
    kept.write_bytes(b"the competition's data")
    before = below(site.workspace / "data")
    assert site("submissions", "colours")[0] == 0
    assert below(site.workspace / "data") == before


def test_cv_and_both_scores_and_their_correlation_are_shown_for_every_submission(site):
    site.server.shows_private, site.server.pending_looks, site.server.limit = True, 0, 9
    for run in ("ensemble", "svm", "forest", "svm", "forest"):
        assert site("submit", "colours", run, "--yes", "-m", run)[0] == 0
    code, out, _ = site("submissions", "colours", "--json")
    document = json.loads(out)
    assert code == 0 and [row["run"] for row in document["submissions"]] == [
        "ensemble",
        "svm",
        "forest",
        "svm",
        "forest",
    ]
    assert all(row["cv"] and row["public"] and row["private"] for row in document["submissions"])
    assert document["correlation"]["n"] == document["private_correlation"]["n"] == 5
    assert (
        document["limits"]["left"] == 4
        and document["place"]["place"] == 1
        and document["picks"][0]["why"].startswith("best CV")
    )
    out = flat(site("submissions", "colours")[1])
    assert "CV and private score of 5 submissions" in out and "4 left today" in out and "place 1 with 1.00000" in out
