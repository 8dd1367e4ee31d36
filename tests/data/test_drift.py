"""The probe: whether test looks like train."""

from __future__ import annotations

import numpy as np
from support.pictures import tabulate, texture

from kit.data.audit.drift import tell_apart
from kit.data.audit.facts import audit_files


def test_the_probe_tells_brighter_test_images_from_train(tmp_path):
    paths = [tmp_path / f"{i:03d}.png" for i in range(120)]
    for i, path in enumerate(paths):
        texture(i, (32, 32)).point(lambda value, i=i: value // 2 + (90 if i >= 60 else 0)).save(path)
    table = tabulate(paths, split=["labeled"] * 60 + ["test"] * 60)
    probe = tell_apart(table, audit_files(table, tmp_path / "cache"), tmp_path / "cache")
    assert probe.auc > 0.9
    assert "expect the leaderboard to differ from CV" in probe.verdict


def test_the_probe_cannot_tell_halves_of_one_set_apart(tmp_path):
    paths = [tmp_path / f"{i:03d}.png" for i in range(160)]
    for i, path in enumerate(paths):
        texture(i, (32, 32)).save(path)
    table = tabulate(paths, split=["labeled", "test"] * 80)
    probe = tell_apart(table, audit_files(table, tmp_path / "cache"), tmp_path / "cache")
    assert abs(probe.auc - 0.5) < 3 * probe.error
    assert 0.03 < probe.error < 0.06


def test_the_probe_says_when_there_are_too_few_images_to_ask(tmp_path):
    texture(1).save(tmp_path / "x.png")
    table = tabulate([tmp_path / "x.png"])
    probe = tell_apart(table, audit_files(table, tmp_path / "cache"), tmp_path / "cache")
    assert probe.auc is None
    assert "not asked, it takes 20 images on either side, there are 1 and 0" in probe.verdict


def test_bursts_of_one_side_are_not_taken_for_a_difference(tmp_path):
    paths = [tmp_path / f"{i:03d}.png" for i in range(240)]
    bursts = np.arange(240) // 3
    for path, burst in zip(paths, bursts, strict=True):
        texture(int(burst), (32, 32)).save(path)
    table = tabulate(paths, split=[("labeled", "test")[burst % 2] for burst in bursts])
    facts = audit_files(table, tmp_path / "cache")
    alone, together = (tell_apart(table, facts, tmp_path / "cache", groups) for groups in (None, bursts))
    assert alone.auc > 0.9 and "expect the leaderboard to differ from CV" in alone.verdict
    assert abs(together.auc - 0.5) < 3 * together.error and "CV should carry over" in together.verdict
    few = tell_apart(table, facts, tmp_path / "cache", bursts % 4).verdict
    assert "not asked, it takes 20 groups of images on either side, there are 2 and 2" in few
