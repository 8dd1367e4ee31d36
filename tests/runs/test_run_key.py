"""What decides a result is in its key: another input is never answered with an old result."""

from __future__ import annotations

import dataclasses

import numpy as np
from support.clouds import clouds

from kit.data.prepared import prepare
from kit.features.neighbours import read_neighbours
from kit.runs.fit.crossval import crossval
from kit.runs.store.find import run_key

TAUGHT = """
[runs.forest]
model = "forest"
n_trees = 4

[runs.taught]
model = "forest"
n_trees = 4
pseudo = { teachers = ["forest"], cores = { encoder = "timm:test_vit@net.safetensors" } }
"""


def test_other_weights_of_the_encoder_that_finds_cores_are_another_run(colours):
    competition = colours(TAUGHT)
    weights = competition.folder / "net.safetensors"
    weights.write_bytes(b"some weights")
    prepared = prepare(competition)
    crossval(prepared, "forest")
    first = run_key(prepared, competition.run("taught"))
    assert run_key(prepared, competition.run("taught")) == first
    weights.write_bytes(b"other weights")
    assert run_key(prepared, competition.run("taught")) != first


def test_neighbours_are_searched_anew_when_the_groups_change(tmp_path):
    pool, _ = clouds(tmp_path)
    alone = np.array(read_neighbours(pool, "given", {}, 5, with_test=False))
    nearest = int(alone["row"][0, 0])
    pool.splits[[0, nearest]] = "labeled"
    groups = np.arange(len(pool))
    groups[nearest] = groups[0]
    grouped = dataclasses.replace(pool, groups=groups)
    assert nearest not in read_neighbours(grouped, "given", {}, 5, with_test=False)["row"][0]
    assert nearest in read_neighbours(grouped, "given", {}, 5, with_test=True)["row"][0]
