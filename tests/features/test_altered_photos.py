"""Altered copies among real photos: KIT_PHOTOS names a folder of class folders, such as TrashNet's; minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.copies_of_photos import EDITS, plant_copies

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.data.prepared import prepare
from kit.features.altered import find_altered, group_found

PHOTOS = os.environ.get("KIT_PHOTOS")
ENCODER = "timm:tf_efficientnet_lite0@pip"
N_EACH = 40  # copies of every kind
MIN_FOUND = 35 / 40
TOML = f"""
[competition]
title = "photos"
task = "multiclass"
metric = "accuracy"
[data]
root = "data"
labeled = "train"
test = "test"
[runs.probe]
model = "linear_probe"
encoder = "{ENCODER}"
"""


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS, reason="KIT_PHOTOS names no folder of photos")
def test_seven_of_eight_copies_of_every_kind_are_found(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(Path(PHOTOS or "").resolve(), target_is_directory=True)
    photos = sorted((tmp_path / "data" / "train").glob("*/*.jpg"))
    n_each = min(N_EACH, len(photos) // len(EDITS))
    planted = plant_copies(photos, tmp_path / "data" / "test", n_each)
    folder = tmp_path / "competitions" / "photos"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(TOML)
    prepared = prepare(read_competition("photos", Workspace(tmp_path)))
    row_of = {Path(path).resolve(): row for row, path in enumerate(prepared.pool.paths)}
    found = {frozenset((copy.first, copy.second)) for copy in find_altered(prepared, ENCODER, {})}
    clusters = group_found(prepared)
    for kind, pairs in planted.items():
        rows = [(row_of[photo.resolve()], row_of[copy.resolve()]) for photo, copy in pairs]
        n_found = sum(frozenset(pair) in found or clusters[pair[0]] == clusters[pair[1]] for pair in rows)
        assert n_found >= MIN_FOUND * n_each, kind
