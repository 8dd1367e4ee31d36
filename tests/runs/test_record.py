"""The record of runs: it holds inside a joint probe of the same encoders, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.models.trust import JOINED, JOINT, NEIGHBOURS, PLAIN, RECORD, role_of
from kit.runs.record import record_of
from kit.runs.store.result import Result, RunRecord
from kit.scoring.chances import UNKNOWN

A, B, C = "timm:a", "timm:b", {"encoder": "timm:c", "encoder_args": {"pad_type": "same"}}


def run(name: str, model: str = "linear_probe", pseudo: dict[str, Any] | None = None, **options: Any) -> Result:
    record = RunRecord(
        cv=0.5,
        se=0.1,
        metric="accuracy",
        fold_key="f",
        key=name,
        model=model,
        options=options,
        pseudo=pseudo,
        teachers={},
    )
    return Result(name, Path(name), record)


@pytest.mark.parametrize(
    ("model", "options", "role"),
    [
        ("linear_probe", {"encoder": A}, PLAIN),
        ("linear_probe", {"encoder": A, "encoders": [], "smooth": 0.8}, NEIGHBOURS),
        ("linear_probe", {"encoder": A, "encoders": [B], "smooth": "nested"}, JOINT),
        ("linear_probe", {"encoders": [A, B], "smooth": 0.0}, JOINED),
        ("forest", {"pixels": 16, "encoder": None}, None),
        ("forest", {"encoder": A}, None),
        ("fine_tune", {"encoder": A}, None),
        ("imported", {}, None),
    ],
)
def test_the_kind_of_a_run_follows_from_its_settings(model, options, role):
    assert role_of(model, options) == role


def test_a_record_is_known_of_probes_whose_encoders_the_joint_one_has():
    members = [
        run("joint", encoders=[A, C], smooth=0.8),
        run("inside", encoder=C["encoder"], encoder_args=C["encoder_args"]),
        run("outside", encoder=B),
        run("otherwise", encoder=C["encoder"]),
        run("taught", encoder=A, pseudo={"teachers": ["joint"]}),
        run("network", "fine_tune", encoder=A),
    ]
    record = record_of(members)
    assert record is not None
    assert record.error[:2].tolist() == [0.0, RECORD[PLAIN].error.excess]
    assert record.loss_sd[:2].tolist() == [0.0, RECORD[PLAIN].loss.sd]
    assert record.share[:2].tolist() == [RECORD[JOINT].share, RECORD[PLAIN].share]
    assert record.share[2:].tolist() == [RECORD[JOINT].share] * 4
    assert record.error_sd[2:].tolist() == record.loss_sd[2:].tolist() == [UNKNOWN] * 4


def test_of_several_joint_probes_one_has_a_record_and_the_images_judge_the_others():
    record = record_of([run("two", encoders=[A, B], smooth=0.8), run("three", encoders=[A, B, C], smooth=0.8)])
    assert record is not None and record.error_sd.tolist() == record.loss_sd.tolist() == [UNKNOWN, 0.0]
    twins = record_of(
        [run(name, encoders=[A, B], smooth=0.8, C=strength) for name, strength in (("one", 30.0), ("other", 1e-6))]
    )
    assert twins is not None and twins.error_sd.tolist() == [0.0, UNKNOWN]


def test_members_of_a_kind_have_its_share_together():
    record = record_of(
        [run("joint", encoders=[A, C], smooth=0.8), run("one", encoder=A), run("other", encoder=A, C=3.0)]
    )
    assert record is not None and record.share[1:].tolist() == [RECORD[PLAIN].share / 2] * 2


def test_without_a_joint_probe_there_is_no_record():
    assert record_of([run("one", encoder=A), run("joined", encoders=[A, B])]) is None
