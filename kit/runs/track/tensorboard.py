"""TensorBoard: event files, a folder per run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from kit.runs.track.logged import Logged


def write(logged: Logged, home: Path, _address: str) -> str:
    """Write a run's event file and copies of its files below ``home/RUN-KEY``; return how to look at it."""
    from torch.utils.tensorboard import SummaryWriter

    folder = home / logged.key
    shutil.rmtree(folder, ignore_errors=True)
    writer: Any = SummaryWriter(str(folder))
    for name, points in logged.curves.items():
        for step, value in points:
            writer.add_scalar(name, value, step)
    for name, value in logged.scores.items():
        writer.add_scalar(name, value, 0)
    for title, table in (("settings", logged.params), ("about", logged.tags)):
        rows = [f"| {name} | {value} |" for name, value in table.items()]
        writer.add_text(title, "\n".join(["| key | value |", "| --- | --- |", *rows]), 0)
    writer.close()
    for file in logged.files:
        shutil.copy2(file, folder / file.name)
    return f"tensorboard --logdir {shlex.quote(str(home))} shows it"
