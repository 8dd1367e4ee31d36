"""Fit members of very different strength and rounds of pseudo labels, draw by draw, and keep what they predict.

Reads the folders below ``--data`` and the weights below ``--weights``. Writes features, which it shares with `bench
recipes`, and, per set and draw, one npz of the members' probabilities below ``runs/bench-members``: a draw that is
there is not fitted again, and ways of mixing are compared in seconds. Hidden labels are opened by the comparison alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.bench.kept import Kept, code_key, keep, keep_results, read_kept
from kit.bench.recipes.measure import home_of
from kit.bench.recipes.sets import DIGITS, encode_ahead, label_of, list_available, make_task, read_set
from kit.bench.semi import PhotoSetting, lay_out
from kit.config.competition import HOME, Run
from kit.config.runs import PseudoPlan
from kit.core.engine import Task, run_tasks
from kit.core.errors import InputError
from kit.core.files import Workspace, key_of
from kit.core.held import hold
from kit.core.terminal import stage, warn
from kit.curate.plan.recipe import WHITENED
from kit.data.prepared import Prepared
from kit.models.trust import trusted
from kit.runs.fit.crossval import crossval, crossval_run
from kit.runs.fit.rounds import adopt_twin
from kit.runs.store.find import find_run, rounds_of

N_DRAWS = 10
MADE = "members"  # folder of the sets' workspace in which tasks leave draws
FITTED_BY = (
    "data",
    "features",
    "models",
    "runs/fit",
    "runs/pseudo",
    "runs/store",
    "bench/members/measure.py",
    "bench/semi.py",
)
WITHOUT = ("models/trust.py", "runs/store/rounds.py")
"""The code that decides what members predict; the second is evidence, which their settings or the rounds kept read."""
N_ROUNDS = 2
JOINTLY_TAUGHT, WEAKLY_TAUGHT = "taught_by_joint", "taught_by_weakest"
N_JOINED = 2  # encoders side by side: a plan joins the good ones
MOBILE = "mobilenet"  # without neighbours: one weak probe more
MOBILENET, MINI_CLIP = "mobilenetv2_100/model.safetensors", "mini-clip"  # below --weights; the others come with pip
OF_PIP: dict[str, dict[str, Any]] = {
    "lite0": {"encoder": "timm:tf_efficientnet_lite0@pip"},
    "lite2": {"encoder": "timm:tf_efficientnet_lite2@pip"},
}
OF_DIGITS: dict[str, dict[str, Any]] = {
    "clip": {"encoder": f"open_clip:local-dir:{HOME / DIGITS / 'tiny-clip'}"},
    "efficientnet": {
        "encoder": f"timm:tf_efficientnetv2_b0@{HOME / DIGITS / 'tiny-efficientnetv2.safetensors'}",
        "encoder_args": {
            "channel_multiplier": 0.5,
            "depth_multiplier": 0.34,
            "pretrained_cfg_overlay": {"input_size": [3, 32, 32], "crop_pct": 1.0},
        },
    },
}
SHARED: dict[str, Any] = {"smooth": trusted("smooth"), **WHITENED}
"""What a plan's probes take from their neighbours and from what they said themselves."""


def bench_members(
    data: Path,
    weights: Path | None,
    workspace: Workspace,
    draws: Sequence[int] = range(N_DRAWS),
    only: Sequence[str] = (),
) -> dict[str, dict[int, Kept]]:
    """Return the members' predictions on every draw of every set whose photos are there, by set and draw.

    Parameters
    ----------
    data
        A folder with ``trashnet`` and ``cifar10`` (class folders) and ``grocery`` (labels.csv and images).
    weights
        A folder with ``mobilenetv2_100/model.safetensors`` and ``mini-clip``; None for the encoders of pip alone.
    workspace
        Results lie in its runs/bench-members, features in its runs/bench-recipes.
    only
        The settings to measure, as tables call them; all by default.

    Raises
    ------
    InputError
        When none of the folders of photos is there, or a file of weights is not.
    """
    available = list_available(data, only)
    draws_of, home = workspace.root / "runs" / "bench-members" / "draws", home_of(workspace)
    measured: dict[str, dict[int, Kept]] = {}
    with hold(home.root, warn):
        for setting in available:
            label = label_of(setting)
            runs = list_members(OF_DIGITS if setting.name == DIGITS else _find_encoders(weights))
            made_by = key_of(code_key(FITTED_BY, WITHOUT), [run.model_dump(mode="json") for run in runs.values()])
            stem = f"{label.replace(' ', '-')}-{made_by[:8]}"
            files = {number: draws_of / f"{stem}-{number}.npz" for number in draws}
            waiting = [number for number, file in files.items() if not file.exists()]
            if waiting:
                everything = _with_runs(read_set(data, setting, home), runs)
                for done in run_tasks(_make_tasks(everything, setting, waiting, stem), everything):
                    file = files[done.task.arguments["draw"]]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(home.root / MADE / file.name, file)
                    stage("bench", done.task.label)
            measured[label] = {number: read_kept(file) for number, file in files.items()}
    return measured


def _make_tasks(everything: Prepared, setting: PhotoSetting, draws: Sequence[int], stem: str) -> list[Task]:
    """Return a task for each draw."""
    reads = encode_ahead(everything)
    function, made = f"{__name__}:do_draw", everything.root / MADE
    return [
        make_task(function, setting, draw, ", members", {"name": name}, reads, [made / name])
        for draw, name in ((draw, f"{stem}-{draw}.npz") for draw in draws)
    ]


def do_draw(everything: Prepared, setting: dict[str, Any], draw: int, name: str) -> None:
    """Fit all members on one draw, and keep what they predict in a file of that name."""
    keep(everything.root / MADE / name, _measure(everything, PhotoSetting(**setting), draw))


def list_members(encoders: dict[str, dict[str, Any]]) -> dict[str, Run]:
    """Return the runs that are members: those of a plan, plainer and weaker ones, near copies, and rounds.

    `encoders` are tables of ``encoder`` and ``encoder_args`` by name, the good ones first; the second is the students'.
    """
    tables = list(encoders.values())[:N_JOINED]
    runs: dict[str, Run] = {}

    def add(name: str, model: str, pseudo: PseudoPlan | None = None, **options: Any) -> None:
        with_test = "smooth" in options
        runs[name] = Run(name=name, model=model, pseudo=pseudo, use_test_images=with_test, options=options)

    add("joint", "linear_probe", encoders=tables, **SHARED)
    add("joined", "linear_probe", encoders=tables)
    for name, table in encoders.items():
        add(f"plain_{name}", "linear_probe", **table)
        if name != MOBILE:
            add(f"probe_{name}", "linear_probe", **table, **SHARED)
    second, weakest = list(encoders)[1], list(encoders)[-1]
    add(f"copy_{second}", "linear_probe", **encoders[second], C=29.0)
    for name, student, teachers in (
        ("taught_by_itself", SHARED, [f"probe_{second}"]),
        (JOINTLY_TAUGHT, {}, ["joint"]),
        (WEAKLY_TAUGHT, {}, [f"plain_{weakest}"]),
    ):
        plan = PseudoPlan(teachers=teachers, rounds=N_ROUNDS)
        add(name, "linear_probe", plan, **encoders[second], **student)
    return runs


def _find_encoders(weights: Path | None) -> dict[str, dict[str, Any]]:
    """Return the encoders that are at hand, with absolute paths."""
    if weights is None:
        return OF_PIP
    for part in (MOBILENET, MINI_CLIP):
        if not (weights / part).exists():
            raise InputError(f"--weights {weights}: {part} is not there; leave out --weights for pip's encoders alone")
    return tables_of(weights.resolve())


def tables_of(weights: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of pip's encoders and of those in a folder, by name, the good ones first."""
    args = {"pad_type": "same", "pretrained_cfg_overlay": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    return OF_PIP | {
        MOBILE: {"encoder": f"timm:mobilenetv2_100@{weights / MOBILENET}", "encoder_args": args},
        "clip": {"encoder": f"open_clip:local-dir:{weights / MINI_CLIP}"},
    }


def _with_runs(everything: Prepared, runs: dict[str, Run]) -> Prepared:
    return replace(everything, competition=everything.competition.model_copy(update={"runs": runs}))


def _measure(everything: Prepared, setting: PhotoSetting, draw: int) -> Kept:
    """Fit all members on one draw."""
    laid, truth = lay_out(everything, setting, draw)
    laid, results = replace(laid, fits_idle_pairs=False), []
    for name, run in laid.competition.runs.items():
        for each in rounds_of(run):
            if run.pseudo is None:
                result = crossval(laid, name)
            else:
                result = find_run(laid, each) or adopt_twin(laid, each) or crossval_run(laid, each)
            results.append(replace(result, name=each.name))
    kept = keep_results(laid, truth, results)
    shutil.rmtree(everything.competition.workspace.runs(laid.competition.name))  # its features are copies
    return kept
