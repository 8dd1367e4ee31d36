"""Weights & Biases: offline runs in the workspace, which ``wandb sync`` sends, or online where that was asked for."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from kit.runs.track.logged import Logged

PATIENCE_SECONDS = 300.0  # its service is a process that a busy machine does not start within wandb's 30 seconds
QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}  # read when wandb is imported


def write(logged: Logged, home: Path, address: str) -> str:
    """Log a run into the project of its competition; return how to look at it."""
    os.environ.update(QUIET)
    import wandb

    home.mkdir(parents=True, exist_ok=True)
    wandb.setup(wandb.Settings(x_service_wait=PATIENCE_SECONDS))  # read before the run's own settings are
    settings = wandb.Settings(
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
    )
    run = wandb.init(
        project=logged.competition,
        name=logged.name,
        id=logged.key.replace(".", "-"),
        dir=str(home),
        config={**logged.params, "kit": logged.tags},
        mode="online" if address == "online" else "offline",
        settings=settings,
        reinit="create_new",
    )
    by_step: dict[int, dict[str, float]] = {}
    for name, points in logged.curves.items():
        for step, value in points:
            by_step.setdefault(step, {})[name] = value
    for step, values in sorted(by_step.items()):
        run.log(values, step=step)
    run.summary.update(logged.scores)
    artifact = wandb.Artifact(logged.key.replace(".", "-"), type="predictions")
    for file in logged.files:
        artifact.add_file(str(file))
    run.log_artifact(artifact)
    folder = Path(run.dir).parent
    run.finish()
    return "it is online" if address == "online" else f"wandb sync {shlex.quote(str(folder))} sends it"
