"""Remote: runs are trained in a session of Kaggle and come back; nothing is sent twice, nothing is lost."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from support.command import flat
from support.kaggle_notebooks import Version
from support.kaggle_server import SIGNATURE, Fault
from support.kaggle_site import Site, copy_workspace
from support.remote_site import DATASET, NAME, NOTEBOOK, RemoteSite, folder_of

from kit.core.files import Workspace
from kit.features.weights import parse_encoder
from kit.kaggle.remote import sending
from kit.kaggle.remote.sending import write_notebook
from kit.kaggle.remote.state import pushing, remote_folder
from kit.kaggle.remote.weights import list_weights

TAUGHT = """
[runs.taught]
model = "svm"
pixels = 4
use_test_images = true
pseudo = { teachers = ["forest"], rounds = 1 }
"""


needs_newer_client = pytest.mark.skipif(
    tuple(map(int, importlib.metadata.version("kaggle").split(".")[:3])) < (2, 2, 3),
    reason="this kaggle client tells neither quota nor the log of a session that runs",
)


@needs_newer_client
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


@needs_newer_client
def test_without_a_terminal_a_push_shows_the_quota_and_says_what_to_type(far):
    code, _, err = far.remote("push", "svm")
    assert code == 2 and "27.5 of 30 hours of GPU" in err and f"remote push {NAME} svm --yes" in flat(err)
    assert far.server.datasets == far.server.kernels == []


@needs_newer_client
def test_a_quota_that_is_used_up_is_told_before_anything_is_sent(far):
    far.server.notebooks.hours_used = 30
    code, _, err = far.remote("push", "--yes")
    assert code == 2 and "0.0 of 30 hours" in err and "--accelerator none" in err and far.server.datasets == []
    push = far.push("--accelerator", "none")
    assert push["accelerator"] == "" and not far.server.kernels[0].get("enableGpu")


def test_hours_that_cannot_be_asked_for_stop_neither_a_push_nor_a_look(far):
    far.server.fail("GetAcceleratorQuotaStatistics", 403, 403)
    far.push("svm")
    code, out, err = far.remote("status")
    assert code == 0 and "queued" in out and "left this week are not known" in err and err.count("warning") == 1


@needs_newer_client
def test_the_time_limit_ends_before_the_quota_and_the_session_do(far):
    far.server.notebooks.hours_used = 28
    assert far.push("svm")["seconds"] == pytest.approx(1.75 * 3600)
    code, _, err = far.remote("push", "--time-limit", "12h")
    assert code == 2 and "ends after 12 hours" in err and "11.5h at most" in err


def test_of_two_pushes_at_once_one_is_refused(far):
    with pushing(far.read(NAME)):
        code, _, err = far.remote("push", "--yes")
    assert code == 2 and "nothing was sent" in err and "remote status" in err and far.server.kernels == []
    assert not remote_folder(far.read(NAME)).exists()


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


def test_a_push_that_another_workspace_overtook_says_what_it_replaced(far, template, tmp_path, monkeypatch):
    far.push("svm")
    far.end_session()
    other, write = RemoteSite(copy_workspace(template, tmp_path / "other"), far.server, far.capsys), write_notebook

    def be_overtaken(*given):
        far.server.notebooks.save(far.server.kernels[0])
        write(*given)

    monkeypatch.setattr(sending, "write_notebook", be_overtaken)
    code, _, err = other.remote("push", "--replace", "--yes")
    assert code == 0 and "another workspace pushed version 2" in flat(err) and "version 3 replaces it" in flat(err)


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


def test_no_credentials_no_copy_of_the_solution_and_nothing_of_the_workspace_are_sent(far):
    toml = far.workspace / "competitions" / NAME / "competition.toml"
    data = far.workspace / "data" / NAME
    for name in ("kaggle.json", "server.KEY"):
        (data / name).write_text("{}")
    (data / "copy.csv").write_bytes((data / "solution.csv").read_bytes())
    (far.workspace / "submissions").mkdir()
    (far.workspace / "submissions" / "one.csv").write_text("id,label\n")
    (data / "sent").symlink_to(far.workspace / "submissions")
    assert toml.is_file() and far.push("svm")
    names = [name for name in far.open_pack().namelist() if name.startswith("data/")]
    assert "data/train.csv" in names and not any(
        name.endswith(("kaggle.json", ".KEY", "copy.csv", "one.csv", "solution.csv")) for name in names
    )


def test_a_session_is_stopped_by_the_number_that_the_search_tells(far):
    far.server.notebooks.notebooks["eve/kit-digits-cut-remote"] = [Version({"slug": "another's"})]
    far.push("svm")
    code, out, _ = far.remote("stop", "--json")
    assert code == 0 and json.loads(out)["status"] == "cancel_acknowledged" and json.loads(out)["is_stopped"]
    assert [far.server.notebooks.notebooks[name][0].status for name in ("eve/kit-digits-cut-remote", NOTEBOOK)] == [
        "QUEUED",
        "CANCEL_ACKNOWLEDGED",
    ]
    code, out, _ = far.remote("stop")
    assert code == 0 and "nothing to stop" in out and far.count("CancelKernelSession") == 1


def test_a_push_says_where_the_session_cannot_round_as_this_machine(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.sending.NEEDED", {})  # as for kernels that it does not know
    _, _, err = far.remote("push", "svm", "--yes")
    assert "cannot be given the linear algebra of this machine (openblas" in flat(err)


def test_a_session_that_takes_its_time_to_end_is_looked_at_again_and_not_told_as_refused(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.taking.LOOK_SECONDS", 0.005)
    far.push("svm")
    far.server.notebooks.looks_until_cancelled = 2
    code, out, _ = far.remote("stop", "--json")
    assert code == 0 and json.loads(out)["is_stopped"]


def test_a_session_that_does_not_end_in_time_was_asked_to_stop(far, monkeypatch):
    monkeypatch.setattr("kit.kaggle.remote.taking.STOP_SECONDS", 0.0)
    far.push("svm")
    far.server.notebooks.looks_until_cancelled = 10**6
    code, _, err = far.remote("stop")
    assert code == 1 and "queued, Kaggle was asked to stop it; if it goes on: on https" in flat(err)


def test_how_the_site_stops_a_session_is_told_where_kaggle_does_not(far):
    far.push("svm")
    far.server.notebooks.is_searched = False
    code, _, err = far.remote("stop")
    assert code == 1 and f"https://www.kaggle.com/code/{NOTEBOOK}" in err and "View Active Events" in flat(err)
    far.server.notebooks.is_searched = True
    far.server.fail("CancelKernelSession", 403)
    code, _, err = far.remote("stop")
    assert code == 1 and "queued, Kaggle did not stop it" in flat(err) and "stopping the session" in flat(err)


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
