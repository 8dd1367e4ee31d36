"""The command `bundle`: its limits, what Kaggle's image lacks, the upload by Kaggle's own client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from support.command import flat
from support.kaggle_site import SLUG

from kit.kaggle.bundle import read_bundle


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
