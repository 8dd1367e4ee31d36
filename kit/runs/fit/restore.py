"""Restore a fold's fitted model from what the fold has left on the disk.

Reads ``fold_K/model.safetensors`` and ``fold_K/settled.json``; writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.config.competition import Run
from kit.core.files import read_json
from kit.core.shapes import Tensors
from kit.core.tensors import read_tensors
from kit.data.prepared import Prepared
from kit.models.model import Model
from kit.runs.fit.fold import SETTLED_FILE, WEIGHTS_FILE, build_fold_model
from kit.runs.store.result import fold_folder


def restore_fold(prepared: Prepared, run: Run, folder: Path, fold: int) -> Model | None:
    """Return the model that was fitted on the other folds; None where it keeps no weights and must be fitted anew.

    Its swept setting is not chosen yet: `read_settled` says what was chosen for the fold. Kept weights that are not
    there or are damaged raise DamagedFile.
    """
    if not build_fold_model(prepared, run, fold).keeps_weights:
        return None
    return restore_model(prepared, run, fold, read_tensors(fold_folder(folder, fold) / WEIGHTS_FILE))


def restore_model(prepared: Prepared, run: Run, fold: int, tensors: Tensors, settled: Any = None) -> Model:
    """Return one fold's model that has learned `tensors`, its swept setting chosen where `settled` is one."""
    model = build_fold_model(prepared, run, fold).restore(tensors, prepared.classes)
    if settled is not None:
        model.settle(settled)
    return model


def read_settled(folder: Path, fold: int) -> Any:
    """Return the value of a swept setting that was chosen for a fold; None where none was."""
    return read_json(fold_folder(folder, fold) / SETTLED_FILE)
