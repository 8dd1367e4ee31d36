"""The command `device`: what there is to compute with; nothing is asked of others unless the user asks."""

from __future__ import annotations

import json

import pytest

from kit.cli.device import _lines
from kit.core.machine import Gpu, Machine


def test_device_says_what_this_machine_has(tmp_path, run_command):
    code, out, _ = run_command(tmp_path, "device", "--json")
    told = json.loads(out)
    assert code == 0 and told["cores"] >= 1 and told["gibibytes"] > 0 and told["nodes"] == []
    assert "kaggle" not in told


def test_without_credentials_the_quota_is_refused_with_the_remedy(tmp_path, run_command, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = run_command(tmp_path, "device", "--kaggle")
    assert code == 2 and "no Kaggle credentials" in err


@pytest.mark.parametrize(("half", "words"), [("float16", "without bfloat16"), ("bfloat16", "with bfloat16")])
def test_a_gpu_is_told_with_its_memory_and_its_half_precision(half, words):
    gpu = Gpu("Tesla T4", 15.0, 14.5, half)
    has = Machine("host", "cpu", 2, 2, False, 31.0, None, (gpu,), False, None, None)
    lines = dict(_lines(has, [], None))
    assert lines["GPU 0"].startswith(f"Tesla T4: 14.5 of 15.0 GiB are free; {words}")
    assert "pip install 'kit[ray]'" in lines["Ray"] and "not known" in lines["disk"]
