"""The bench of engines: a competition of the user's workspace is done again in other workspaces."""

from __future__ import annotations

import multiprocessing
import time

import pytest

from kit.bench.engines import _ending_children, _read_again, bench_engines
from kit.core.errors import InputError
from kit.data.prepared import prepare


def test_a_competition_of_the_workspace_is_read_again_with_its_images(colours, tmp_path):
    competition = colours()
    (other := tmp_path / "other").mkdir()
    again = _read_again(competition, ("folds.n=2",), None)(other)
    assert (again.name, again.folds.n, again.workspace.root) == (competition.name, 2, other)
    assert len(prepare(again).labels) == len(prepare(competition).labels)
    assert not (other / "runs").is_symlink()


def test_links_and_files_of_the_workspace_are_there_again(colours, tmp_path):
    competition = colours()
    root = competition.workspace.root
    (disk := tmp_path / "disk").mkdir()
    (disk / "m.safetensors").write_bytes(b"weights")
    (root / "weights").symlink_to(disk)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "scores.py").write_text("def cost(labels, proba): return 0.0")
    (other := tmp_path / "other").mkdir()
    _read_again(competition, (), None)(other)
    assert (other / "weights" / "m.safetensors").read_bytes() == b"weights"
    assert (other / "scores.py").is_file() and not (other / "gone").is_symlink()


def test_a_process_that_outlives_a_round_is_ended():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    with _ending_children():
        process.start()
    assert not process.is_alive()


def test_without_a_cluster_the_bench_says_how_to_name_one(colours):
    with pytest.raises(InputError, match="bench engines colours --engine ray"):
        bench_engines(colours(), (), None, lambda prepared: None)
