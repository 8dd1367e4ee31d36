"""Trackers: the real libraries' files, read back, say what the leaderboard says."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.colours import lay_out, write_toml

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace, read_object
from kit.data.prepared import prepare
from kit.models.training.curve import curve_of
from kit.report.board import leaderboard
from kit.runs.fit.crossval import crossval
from kit.runs.track import Tracker, log_run, make_logger, read_trackers

NETWORK = '[runs.cnn]\nmodel = "small_cnn"\nimage_size = 16\nchannels = [8]\nepochs = 3\nbatch_size = 4\n'
BLOCK, HEAD = 32768, 7  # of W&B's files, which are LevelDB's logs


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network trained for some epochs on every fold."""
    root = tmp_path_factory.mktemp("tracked")
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", NETWORK)
    prepared = prepare(read_competition("colours", Workspace(root)))
    result = crossval(prepared, "cnn")
    row = leaderboard(prepared, [result], {})[0]
    return prepared, result, (row.cv, row.se)


def losses_of(result, fold: int) -> list[tuple[int, float]]:
    return curve_of(read_object(result.folder / f"fold_{fold}" / "training.json")["copies"][0], "loss")


def test_tensorboards_event_files_hold_the_numbers_of_the_leaderboard(network, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    prepared, result, scores = network
    page = tmp_path / "report.html"
    page.write_text("the report")
    assert log_run(prepared, result, Tracker("tensorboard"), page)
    folder = result.folder.parents[1] / "track" / "tensorboard" / f"cnn-{result.record.key}"
    events = accumulator.EventAccumulator(str(folder)).Reload()
    assert [events.Scalars(name)[0].value for name in ("cv", "cv_se")] == pytest.approx(scores)
    points = [(each.step, each.value) for each in events.Scalars("fold_1/loss")]
    assert points == [(step, pytest.approx(loss)) for step, loss in losses_of(result, 1)] and len(points) > 3
    assert (folder / "report.html").read_text() == "the report" and (folder / "oof.parquet").exists()


def test_mlflows_database_holds_the_numbers_of_the_leaderboard(network):
    tracking = pytest.importorskip("mlflow.tracking")
    prepared, result, scores = network
    assert log_run(prepared, result, Tracker("mlflow")) and log_run(prepared, result, Tracker("mlflow"))
    home = result.folder.parents[1] / "track" / "mlflow"
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("colours")
    (run,) = client.search_runs([experiment.experiment_id])  # the second call logged nothing
    assert (run.data.metrics["cv"], run.data.metrics["cv_se"]) == scores
    assert run.data.params["epochs"] == "3" and run.data.tags["metric"] == "accuracy"
    history = client.get_metric_history(run.info.run_id, "fold_2/loss")
    assert [(each.step, each.value) for each in history] == losses_of(result, 2)
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"oof.parquet", "run.json"}


def records_of(file: Path) -> Iterator[bytes]:
    """Give the records of an offline run of W&B."""
    content, record, at = file.read_bytes(), b"", HEAD
    while at + HEAD <= len(content):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandbs_offline_files_hold_the_numbers_of_the_leaderboard(network):
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    prepared, result, scores = network
    assert log_run(prepared, result, Tracker("wandb"))
    (file,) = (result.folder.parents[1] / "track" / "wandb").rglob("offline-run-*/*.wandb")
    summary, losses, config, artifacts = {}, [], {}, []
    for content in records_of(file):
        record = internal.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "summary":
            summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
        if kind == "history":
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            losses += [json.loads(value) for key, value in items.items() if key == "fold_0/loss"]
        if kind in ("run", "config"):
            updates = record.run.config.update if kind == "run" else record.config.update
            config |= {item.key: json.loads(item.value_json) for item in updates}
        if kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            artifacts += [entry.path for entry in record.request.log_artifact.artifact.manifest.contents]
        if kind == "artifact":
            artifacts += [entry.path for entry in record.artifact.manifest.contents]
    assert (summary["cv"], summary["cv_se"]) == scores and config["epochs"] == 3
    assert losses == [loss for _, loss in losses_of(result, 0)]
    assert set(artifacts) == {"oof.parquet", "run.json"}


def test_rounds_are_no_runs_of_a_tracker_and_without_trackers_nothing_is_logged(trained):
    prepared, result = trained
    assert make_logger(prepared, []) is None
    make_logger(prepared, [Tracker("tensorboard")])(type(result)("svm.1", result.folder, result.record), None)
    assert not (result.folder.parents[1] / "track").exists()


def test_a_server_that_is_not_there_is_a_warning_and_tried_again(trained, capsys, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    prepared, result = trained
    assert not log_run(prepared, result, Tracker("mlflow", "http://ann:secret@127.0.0.1:9"))
    heard = capsys.readouterr().err
    assert "could not take svm" in heard and "tries again" in heard and "secret" not in heard


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("mlflow=localhost", "name a server"),
        ("wandb=elsewhere", "wandb=online"),
        ("tensorboard=here", "takes no address"),
    ],
)
def test_a_tracker_that_is_none_is_refused_before_any_work(word, cause):
    with pytest.raises(InputError, match=cause):
        read_trackers([word])


def test_a_package_that_is_not_installed_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("kit.runs.track.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mlflow is not installed; pip install mlflow-skinny, or 'kit\[track\]'"):
        read_trackers(["mlflow"])


def test_train_logs_what_it_finished(trained, run_command):
    pytest.importorskip("tensorboard")
    prepared, result = trained
    root = prepared.competition.workspace.root
    code, _, err = run_command(root, "train", "colours", "svm", "--track", "tensorboard")
    assert code == 0 and "tensorboard: svm logged" in err
    assert list((result.folder.parents[1] / "track" / "tensorboard").glob("svm-*/events*"))


@pytest.mark.slow
def test_an_mlflow_server_on_loopback_holds_the_numbers_of_the_leaderboard(network, tmp_path):
    tracking = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("flask")  # of the whole mlflow, which brings the server
    prepared, result, scores = network
    store = f"sqlite:///{tmp_path}/s.db"
    command = [sys.executable, "-m", "mlflow", "server", "--port", "5999", "--backend-store-uri", store]
    server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
    try:
        assert log_run(prepared, result, Tracker("mlflow", "http://127.0.0.1:5999"))
        client = tracking.MlflowClient(tracking_uri="http://127.0.0.1:5999")
        (run,) = client.search_runs([client.get_experiment_by_name("colours").experiment_id])
        assert (run.data.metrics["cv"], run.data.metrics["cv_se"]) == scores
    finally:
        server.terminate()
        server.wait()
