"""What commands leave behind and say without a slug, statuses of every kind of call, bundles as Kaggle takes them."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from support.kaggle_server import SIGNATURE, Fault
from support.kaggle_site import SLUG, Site, WarmKaggle

from kit.kaggle.bundle import read_bundle
from kit.kaggle.client.failures import KaggleFailure

STATUSES = (400, 401, 403, 404, 409, 413, 429, 500, 503)
FILES = {"train/cat/1.png": b"1", "train/dog/2.png": b"2"}


def flat(text: str) -> str:
    return " ".join(text.split())


def below(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder but for locks."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file() and "lock" not in file.name}


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


def test_a_dry_run_writes_the_file_and_its_help_says_so(site):
    assert site("submit", "colours", "forest", "--dry-run")[0] == 0
    assert (site.workspace / "submissions/colours/002_forest.csv").is_file() and not site.server.uploads
    assert "a run that has no file gets one" in flat(site("submit", "--help")[1].replace("│", ""))


@pytest.mark.parametrize("command", ["submit", "submissions"])
def test_neither_slug_nor_solution_is_said_to_be_neither(site, command):
    take_slug(site)
    code, _, err = site(command, "colours")
    assert code == 2 and "colours has neither slug nor solution; slug =" in flat(err) and not site.server.calls


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
    said = json.loads(out)
    assert code == 0 and [row["run"] for row in said["submissions"]] == ["ensemble", "svm", "forest", "svm", "forest"]
    assert all(row["cv"] and row["public"] and row["private"] for row in said["submissions"])
    assert said["correlation"]["n"] == said["private_correlation"]["n"] == 5
    assert said["limits"]["left"] == 4 and said["place"]["place"] == 1 and said["picks"][0]["why"].startswith("best CV")
    out = flat(site("submissions", "colours")[1])
    assert "CV and private score of 5 submissions" in out and "4 left today" in out and "place 1 with 1.00000" in out


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


def test_a_client_made_to_talk_and_a_log_of_everything_show_no_key_and_no_signed_address(
    kaggle, kaggle_home, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    (file := tmp_path / "001_x.csv").write_text("id,label\n3,cat\n")
    session = WarmKaggle(kaggle.slug, kaggle.environment(tmp_path / "home"))
    session.environment |= {"VERBOSE": "1", "TMPDIR": str(tmp_path)}  # what it is never given otherwise
    with session:
        session.write("submit", slug=kaggle.slug, file=str(file), message="m")
        kaggle.fail("CreateSubmission", Fault(500, said="see http://localhost/upload/b?" + SIGNATURE))
        with pytest.raises(KaggleFailure) as refused:
            session.write("submit", slug=kaggle.slug, file=str(file), message="m")
        session._child.process.kill()
        with pytest.raises(KaggleFailure) as died:
            session.read("limits", slug=kaggle.slug)
        session._end()
    said = f"{refused.value} {died.value} {caplog.text}"
    stored = b"".join(below(tmp_path).values())
    for secret in (next(iter(kaggle.keys.values())), SIGNATURE, SIGNATURE.partition("=")[2]):
        assert secret not in said and secret.encode() not in stored
    assert "the client ended without an answer" in said


@pytest.fixture
def bundled(site) -> Path:
    """The folder of a bundle."""
    code, out, _ = site("bundle", "colours", "svm", "--owner", "ada", "--json")
    assert code == 0
    return Path(json.loads(out)["folder"])


def test_a_limit_that_is_none_names_its_own_option(site):
    code, _, err = site("bundle", "colours", "svm", "--limit", "9x")
    assert code == 2 and "--limit '9x': write 9h" in flat(err) and "--time-limit" not in err


def test_what_kaggles_image_lacks_is_said_to_be_assumed_and_can_be_named(site, bundled):
    assert "is assumed to lack" in (bundled / "requirements.txt").read_text()
    code, out, err = site("bundle", "colours", "svm", "--lacks", "scikit-learn", "--json")
    wanted = json.loads(out)["wanted"]
    assert code == 0 and [name.partition("==")[0] for name in wanted] == ["scikit-learn"]
    assert "said: Kaggle's image lacks scikit-learn==" in flat(err)
    assert (bundled / "requirements.txt").read_text().splitlines()[1:] == wanted
    code, _, err = site("bundle", "colours", "svm", "--lacks", "scikit-lern")
    assert code == 2 and "--lacks scikit-lern: is not installed here" in flat(err) and "scikit-learn" in flat(err)


def test_kaggles_own_client_uploads_the_bundle_and_pushes_its_notebook(site, bundled, kaggle_home, tmp_path):
    given = site.server.environment(kaggle_home) | {"TMPDIR": str(tmp_path)}
    client = [sys.executable, "-P", "-c", "from kaggle.cli import main; main()"]
    for command in (["datasets", "create", "-p", str(bundled), "-r", "zip"], ["kernels", "push", "-p", str(bundled)]):
        done = subprocess.run([*client, *command], env=given, capture_output=True, text=True)
        assert (done.returncode == 0 and "being created" in done.stdout) or "successfully pushed" in done.stdout, done
        assert "does not resolve" not in done.stdout, "title and id must agree"
    kernel, dataset = site.server.kernels[0], site.server.datasets[0]
    assert not kernel.get("enableInternet") and kernel["competitionDataSources"] == [SLUG]
    assert kernel["datasetDataSources"] == [f"{dataset['ownerSlug']}/{dataset['slug']}"] and dataset["isPrivate"]
    arrived = tmp_path / "arrived"  # as Kaggle unpacks it
    for token in (file["token"] for file in dataset["files"]):
        upload = site.server.uploads[token]
        if upload["file"].endswith(".zip"):
            zipfile.ZipFile(BytesIO(upload["data"])).extractall(arrived / upload["file"].removesuffix(".zip"))
        else:
            arrived.mkdir(exist_ok=True)
            (arrived / upload["file"]).write_bytes(upload["data"])
    assert read_bundle(arrived).competition == "colours"
    shutil.rmtree(arrived)
