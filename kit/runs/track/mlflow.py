"""MLflow: a database and artifacts in the workspace, or a server that was named."""

from __future__ import annotations

import os
import shlex
import warnings
from pathlib import Path

from kit.runs.track.logged import Logged

LONGEST_PARAM = 6000  # characters that MLflow takes
QUIET = {  # read when mlflow is imported
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def write(logged: Logged, home: Path, address: str) -> str:
    """Log a run into the experiment of its competition; return how to look at it."""
    os.environ.update(QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of MLflow's own
        _log(logged, home, address)
    if address:
        return "it is on the server"
    uri = shlex.quote(_database(home))
    return f"mlflow ui --backend-store-uri {uri} shows it (of the whole mlflow)"


def _database(home: Path) -> str:
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


def _log(logged: Logged, home: Path, address: str) -> None:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    home.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=address or _database(home))
    known = client.get_experiment_by_name(logged.competition)
    artifacts = None if address else (home.resolve() / "artifacts").as_uri()
    experiment = known.experiment_id if known else client.create_experiment(logged.competition, artifacts)
    run = client.create_run(experiment, run_name=logged.name).info.run_id
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in logged.params.items()]
    tags = [RunTag(name, value) for name, value in logged.tags.items()]
    scores = [Metric(name, value, 0, 0) for name, value in logged.scores.items()]
    curves = [Metric(name, value, 0, step) for name, points in logged.curves.items() for step, value in points]
    for start in range(0, max(len(params), 1), 100):  # what MLflow takes at once
        client.log_batch(run, params=params[start : start + 100])
    client.log_batch(run, metrics=scores, tags=tags)
    for start in range(0, len(curves), 1000):
        client.log_batch(run, metrics=curves[start : start + 1000])
    for file in logged.files:
        client.log_artifact(run, str(file))
    client.set_terminated(run)
