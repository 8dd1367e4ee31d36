"""Remote: runs are trained in a session of Kaggle and come back; nothing is sent twice, nothing is lost."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from pathlib import Path

import pytest
from support.command import flat
from support.kaggle_server import SIGNATURE, Fault
from support.kaggle_site import Site, copy_workspace, point_at
from support.remote_site import DATASET, NAME, NOTEBOOK, RemoteSite, folder_of, write_digits_cut

from kit.core.files import Workspace
from kit.features.weights import parse_encoder
from kit.kaggle.client import session
from kit.kaggle.remote.state import pushing
from kit.kaggle.remote.weights import list_weights

TAUGHT = """
[runs.taught]
model = "svm"
pixels = 4
use_test_images = true
pseudo = { teachers = ["forest"], rounds = 1 }
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A workspace that holds the cut-down digits, ready."""
    return write_digits_cut(tmp_path_factory.mktemp("digits") / "workspace")


@pytest.fixture
def far(template, kaggle, kaggle_home, tmp_path, monkeypatch, capsys) -> RemoteSite:
    """The cut-down digits in a workspace of its own, and a stand-in whose sessions wait until they are told."""
    monkeypatch.setattr("kit.kaggle.remote.sending.LOOK_SECONDS", 0.005)
    point_at(kaggle, monkeypatch, kaggle_home)
    kaggle.notebooks.place, kaggle.notebooks.is_waiting = tmp_path / "kaggle", True
    return RemoteSite(copy_workspace(template, tmp_path / "workspace"), kaggle, capsys)


def test_a_pushed_run_comes_back_byte_by_byte_as_it_is_made_here(far, template, tmp_path):
    far.server.notebooks.is_waiting = False
    push = far.push("svm")
    version = far.server.notebooks.wait(push["notebook"])
    assert "svm: CV" in (version.folder / "log").read_text()
    code, out, _ = far.remote("status", "--json")
    assert code == 0 and json.loads(out)["status"] == "complete" and "svm: CV" in " ".join(json.loads(out)["lines"])
    code, out, err = far.remote("pull")
    assert code == 0 and "taken, and counts" in out and SIGNATURE not in out + err
    here = Site(copy_workspace(template, tmp_path / "here"), far.server, far.capsys)
    assert here("train", NAME, "svm")[0] == 0
    theirs, ours = folder_of(far.workspace, "svm"), folder_of(here.workspace, "svm")
    assert theirs.name == ours.name and (theirs / "oof.parquet").read_bytes() == (ours / "oof.parquet").read_bytes()
    assert far("verify", NAME)[0] == 0
    code, out, _ = far("leaderboard", NAME, "--json")
    assert next(row["run"] for row in json.loads(out)["runs"]) == "svm"


def test_what_is_pushed_is_private_and_holds_no_solution(far):
    push = far.push("svm")
    (request,) = far.server.kernels
    assert request["isPrivate"] and request["enableGpu"] and not request.get("enableInternet")
    assert request["machineShape"] == "NvidiaTeslaT4" and request["kernelType"] == "script"
    assert far.server.datasets[0]["isPrivate"] and request["datasetDataSources"] == [DATASET] == [push["dataset"]]
    names = far.open_pack().namelist()
    assert "data/train.csv" in names and f"workspace/folds/{NAME}.csv" in names
    assert any(name.startswith("wheels/kit-") for name in names) and "data/solution.csv" not in names


def test_without_a_terminal_a_push_shows_the_quota_and_says_what_to_type(far):
    code, _, err = far.remote("push", "svm")
    assert code == 2 and "27.5 of 30 hours of GPU" in err and f"remote push {NAME} svm --yes" in flat(err)
    assert far.server.datasets == far.server.kernels == []


def test_a_quota_that_is_used_up_is_told_before_anything_is_sent(far):
    far.server.notebooks.hours_used = 30
    code, _, err = far.remote("push", "--yes")
    assert code == 2 and "0.0 of 30 hours" in err and "--accelerator none" in err and far.server.datasets == []
    push = far.push("--accelerator", "none")
    assert push["accelerator"] == "" and not far.server.kernels[0].get("enableGpu")


def test_the_time_limit_ends_before_the_quota_and_the_session_do(far):
    far.server.notebooks.hours_used = 28
    assert far.push("svm")["seconds"] == pytest.approx(1.75 * 3600)
    code, _, err = far.remote("push", "--time-limit", "12h")
    assert code == 2 and "ends after 12 hours" in err and "11.5h at most" in err


def test_of_two_pushes_at_once_one_is_refused(far):
    with pushing(far.read(NAME)):
        code, _, err = far.remote("push", "--yes")
    assert code == 2 and "nothing was sent" in err and "remote status" in err and far.server.kernels == []


def test_a_push_beside_one_that_runs_is_refused(far):
    far.push("svm")
    code, _, err = far.remote("push", "forest", "--yes")
    assert code == 2 and "is queued at Kaggle: nothing was sent" in err and len(far.server.kernels) == 1


def test_a_push_after_one_that_was_not_taken_is_refused(far):
    far.push("svm")
    far.end_session()
    code, _, err = far.remote("push", "forest", "--yes")
    assert code == 2 and "was not taken: nothing was sent" in err and "remote pull" in err


def test_a_session_of_another_workspace_is_left_alone(far, template, tmp_path):
    far.push("svm")
    other = RemoteSite(copy_workspace(template, tmp_path / "other"), far.server, far.capsys)
    code, _, err = other.remote("push", "--yes")
    assert code == 2 and "pushed from another workspace" in err and len(far.server.kernels) == 1
    far.end_session()
    code, _, err = other.remote("push", "--yes")
    assert code == 2 and f"remote push {NAME} --replace" in flat(err) and len(far.server.kernels) == 1
    other.push("--replace")
    assert len(far.server.kernels) == 2


def test_a_push_that_breaks_off_after_one_that_was_taken_does_not_count_as_another_workspaces(far):
    far.push("svm")
    far.train_session()
    assert far.remote("pull")[0] == 0
    far.server.fail("SaveKernel", "cut")
    assert far.remote("push", "forest", "--yes")[0] == 1
    assert far.push("forest")["notebook_version"] == 2


def test_a_push_that_was_cut_between_dataset_and_notebook_goes_on_without_a_second_upload(far):
    far.server.fail("SaveKernel", "cut")
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 1 and "the connection was cut" in err and far.server.kernels == []
    far.push("svm")
    assert far.count("StartBlobUpload") == 1 and len(far.server.kernels) == 1


def test_an_upload_that_fails_though_the_client_succeeds_is_told_and_sent_again(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.sending.LAG_SECONDS", 0.0)
    far.server.fail("PUT", 400)
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 1 and "the upload did not arrive whole" in err and far.server.kernels == []
    assert far.push("svm")["dataset_version"] == 2


def test_a_push_whose_answer_was_lost_is_known_to_have_arrived(far):
    far.server.fail("SaveKernel", Fault("cut", is_obeyed=True))
    assert far.push("svm")["notebook_version"] == 1 and len(far.server.kernels) == 1


def test_a_push_that_was_killed_while_it_waited_for_the_answer_is_not_sent_twice(far):
    push = far.push("svm")
    state = Workspace(far.workspace).runs(NAME) / "remote" / "push.json"
    state.write_text(json.dumps(push | {"stage": "sending", "notebook_version": None}))  # as a kill leaves it
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and "is queued at Kaggle: nothing was sent" in err and len(far.server.kernels) == 1
    assert json.loads(state.read_text())["stage"] == "sent"


@pytest.mark.parametrize("stage", ["packed", "uploaded"])
def test_a_push_that_arrived_later_than_it_was_looked_for_is_not_sent_twice(far, stage):
    push = far.push("svm")
    state = Workspace(far.workspace).runs(NAME) / "remote" / "push.json"
    state.write_text(json.dumps(push | {"stage": stage, "notebook_version": None}))
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and "is queued at Kaggle: nothing was sent" in err and len(far.server.kernels) == 1
    far.train_session()
    assert far.remote("pull")[0] == 0


def test_a_conflict_that_hides_a_push_that_arrived_is_looked_into(far):
    far.server.fail("SaveKernel", Fault(409, is_obeyed=True))
    assert far.push("svm")["notebook_version"] == 1 and len(far.server.kernels) == 1


def test_a_source_that_kaggle_leaves_out_is_told_though_the_client_succeeds(far):
    far.server.notebooks.refused = {DATASET}
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and f"without the dataset {DATASET}" in flat(err) and "trains nothing" in err
    far.server.notebooks.refused = set()
    far.end_session("ERROR")
    far.push("svm")
    assert far.count("StartBlobUpload") == 1 and len(far.server.kernels) == 2


def test_what_kaggle_says_in_a_reply_that_looks_well_is_an_error(far):
    far.server.notebooks.error = "Maximum weekly GPU quota of 30.00 hours reached."
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and "hours of GPU of this week are used up" in err and far.server.kernels == []


def test_a_dataset_that_is_public_is_not_used(far):
    far.server.notebooks.keep(*DATASET.split("/"), {"files": []}, is_private=False)
    code, _, err = far.remote("push", "svm", "--yes")
    assert code == 2 and "is public" in err and far.server.kernels == []
    assert far.count("StartBlobUpload") == 0


def test_a_download_that_breaks_goes_on_where_it_stopped(far, tmp_path):
    far.push("svm")
    (tmp_path / "left").mkdir()
    data = random.Random(0).randbytes(500_000)
    (far.end_session().folder / "working" / "runs.zip").write_bytes(data)
    far.server.fail("GetOutput", "half", "half")
    with session.Kaggle("") as kaggle:
        kaggle.read("fetch_output", notebook=NOTEBOOK, folder=str(tmp_path / "left"), names=["runs.zip"])
    assert (tmp_path / "left" / "runs.zip").read_bytes() == data and len(set(far.server.ranges)) == 2


def test_a_download_that_breaks_for_good_is_taken_up_by_the_next_pull(far):
    far.push("svm")
    far.train_session()
    far.server.fail("GetOutput", None, *["half"] * 4)
    code, _, err = far.remote("pull")
    assert code == 1 and "the connection was cut" in err
    assert far.remote("pull")[0] == 0 and (folder_of(far.workspace, "svm") / "run.json").is_file()


def test_output_that_is_not_as_the_session_wrote_it_is_fetched_anew_and_then_refused(far):
    far.push("svm")
    left = far.train_session() / "runs.zip"
    whole = left.read_bytes()
    left.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = far.remote("pull")
    assert code == 1 and "came damaged twice" in err and not list(far.workspace.glob(f"runs/{NAME}/svm/*"))
    left.write_bytes(whole)
    assert far.remote("pull")[0] == 0


def test_a_session_that_failed_shows_its_last_lines_and_can_be_pushed_again(far):
    far.push("svm")
    far.end_session("ERROR", "begun\nMemoryError: 40 GB\n", "Your notebook tried to allocate more memory than is there")
    code, out, err = far.remote("pull")
    assert code == 1 and "MemoryError: 40 GB" in err and "tried to allocate more" in err and "it failed" in out
    assert far.push("svm")["notebook_version"] == 2


def test_a_session_that_kaggle_ended_leaves_what_was_here_and_says_so(far):
    far.push("svm")
    far.end_session("CANCEL_ACKNOWLEDGED", "begun\n")
    code, _, err = far.remote("pull")
    assert code == 1 and "says 'cancel_acknowledged', it ended before it had packed anything" in err
    assert far.push("svm", "--time-limit", "5h")["seconds"] == 5 * 3600


def test_a_run_that_the_time_cut_goes_on_with_the_next_push(far):
    far("train", NAME, "svm")
    whole = folder_of(far.workspace, "svm")
    oof = (whole / "oof.parquet").read_bytes()
    (whole / "run.json").unlink()
    (whole / "fold_1" / "fitted.json").unlink()
    before = (whole / "fold_0" / "fitted.json").read_bytes()
    far.push("svm")
    far.train_session(seconds=1e-6)
    (whole / "fold_0" / "fitted.json").unlink()  # lost here, and kept there
    code, out, err = far.remote("pull")
    assert code == 0 and "svm: not finished" in out and f"remote push {NAME} svm" in flat(err)
    assert (whole / "fold_0" / "fitted.json").read_bytes() == before
    far.push("svm")
    far.train_session()
    assert far.remote("pull")[0] == 0 and (whole / "oof.parquet").read_bytes() == oof
    assert (whole / "fold_0" / "fitted.json").read_bytes() == before, "fitted once"


def test_a_file_that_is_no_runs_is_not_unpacked(far):
    far.push("svm")
    working = far.train_session(seconds=1e-6)
    with zipfile.ZipFile(working / "unfinished.zip", "w") as packing:
        packing.writestr("../../evil.py", "print()")
    told = json.loads((working / "output.json").read_text())
    data = (working / "unfinished.zip").read_bytes()
    told["files"]["unfinished.zip"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (working / "output.json").write_text(json.dumps(told))
    code, _, err = far.remote("pull")
    assert code == 2 and "is no file of a run" in err and not list(far.workspace.rglob("evil.py"))


def test_files_that_a_session_names_beside_its_own_are_not_touched(far):
    far.push("svm")
    working, kept = far.train_session(), far.workspace / "kept.txt"
    kept.write_text("mine")
    told = json.loads((working / "output.json").read_text())
    told["files"][f"../../../../{kept.name}"] = {"size": 4, "sha256": ""}
    (working / "output.json").write_text(json.dumps(told))
    assert far.remote("pull")[0] == 0 and kept.read_text() == "mine"


def test_pulling_twice_changes_nothing(far):
    far.push("svm")
    far.train_session()
    assert far.remote("pull")[0] == 0
    code, out, _ = far.remote("pull")
    assert code == 0 and "here already" in out


def test_a_pull_before_the_end_and_before_a_push_says_what_is_missing(far):
    code, _, err = far.remote("pull")
    assert code == 2 and "was pushed yet" in err
    far.push("svm")
    code, _, err = far.remote("pull")
    assert code == 2 and "is queued at Kaggle" in err and "remote status" in err


def test_how_a_session_is_stopped_is_told(far):
    far.push("svm")
    code, _, err = far.remote("stop")
    assert code == 1 and f"https://www.kaggle.com/code/{NOTEBOOK}" in err and "View Active Events" in flat(err)
    far.end_session()
    code, out, _ = far.remote("stop")
    assert code == 0 and "nothing to stop" in out


def test_a_run_without_weights_stays_behind_and_one_that_is_finished_is_not_sent(far):
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    toml.write_text(
        toml.read_text() + '[runs.far]\nmodel = "linear_probe"\nencoder = "timm:resnet18@gone.safetensors"\n'
    )
    far("train", NAME, "forest")
    assert far.push()["runs"] == ["svm"]
    code, _, err = far.remote("push", "far", "--yes")
    assert code == 2 and "gone.safetensors" in err
    code, _, err = far.remote("push", "forest", "--yes")
    assert code == 2 and "forest: finished here" in err and len(far.server.kernels) == 1


def test_of_a_competition_at_kaggle_no_image_is_sent(far):
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    toml.write_text(toml.read_text().replace("[data]", f'slug = "{far.server.slug}"\n[data]', 1))
    assert far.push("svm")["competition"] == far.server.slug
    assert not any(name.startswith("data/") for name in far.open_pack().namelist())


def test_rounds_of_pseudo_labels_come_back_with_their_teachers(far):
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    toml.write_text(toml.read_text() + TAUGHT)
    assert far.push("taught")["runs"] == ["forest", "taught"]
    far.train_session()
    code, out, err = far.remote("pull")
    assert code == 0 and "forest" in out and "taught" in out and "all runs are finished" in out, err
    code, _, err = far.remote("push", "taught", "--yes")
    assert code == 2 and "finished here" in err
    assert far("verify", NAME)[0] == 0


def test_weights_go_by_the_path_that_a_run_names(far, tmp_path):
    beside, elsewhere = far.workspace / "competitions" / NAME / "weights" / "a.safetensors", tmp_path / "b.safetensors"
    beside.parent.mkdir()
    third = tmp_path / "c" / "b.safetensors"
    third.parent.mkdir()
    third.write_bytes(b"another")
    for file in (beside, elsewhere):
        file.write_bytes(file.name.encode())
    runs = '[runs.a]\nmodel = "linear_probe"\nencoder = "timm:resnet18@weights/a.safetensors"\n'
    for name, file in {"b": elsewhere, "b2": elsewhere, "c": third}.items():
        runs += f'[runs.{name}]\nmodel = "linear_probe"\nencoder = "timm:resnet18@{file}"\n'
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    toml.write_text(toml.read_text() + runs)
    far.push("a", "b", "b2", "c", "--lacks", "")
    sent = far.open_pack()
    assert sent.read(f"workspace/competitions/{NAME}/weights/a.safetensors") == b"a.safetensors"
    places = {str(elsewhere): "absolute/0_b.safetensors", str(third): "absolute/1_b.safetensors"}
    assert json.loads(sent.read("push.json"))["absolute"] == places
    assert sent.read("absolute/0_b.safetensors") == b"b.safetensors"
    assert sent.read("absolute/1_b.safetensors") == b"another"


def test_weights_of_the_hub_go_with_their_place_in_its_cache(tmp_path, monkeypatch):
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    for name, text in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "w"), ("snapshots/abc/x.bin", "p")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    listed = {place: file.read_text() for _, place, file in list_weights(parse_encoder("timm:resnet18.a1_in1k"))}
    home = ".cache/huggingface/hub/models--timm--resnet18.a1_in1k"
    assert listed == {f"{home}/refs/main": "abc", f"{home}/snapshots/abc/model.safetensors": "w"}
