"""The networks of a plan: which, at what resolution, how often over, and their time by their own steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from kit.curate.plan import networks
from kit.curate.plan.facts import PlanFacts, Wishes
from kit.curate.plan.networks import plan_networks, training_seconds
from kit.curate.plan.portfolio import Member, Portfolio
from kit.features.measure import Cost
from kit.models.networks.fine_tune import FineTune

COST = Cost(seconds=0.01, megabytes=100.0, n_dims=1280, n_weights=10**6)
LITE = Member("lite0", "timm:tf_efficientnet_lite0@pip", "supervised", "pip", "of pip", cost=COST)
OFFLINE = Portfolio((LITE,), (), hub_is_reached=False)
CACHED = "timm:test_resnet.r160_in1k"
GPU, CPU = ("cuda:0",), ("cpu",)
DAY = 86400.0


def make_facts(**changes) -> PlanFacts:
    facts = PlanFacts("multiclass", 6, 90, 15, 1000, 1000, 5, 200, (), (), (), (), None, False, ())
    return dataclasses.replace(facts, **changes)


def plan(facts: PlanFacts, preset: str = "best", seconds: float = DAY):
    return plan_networks(facts, Wishes(preset), OFFLINE, seconds)


@pytest.mark.parametrize(
    ("preset", "devices", "planned"),
    [("quick", GPU, 0), ("good", ("cpu",), 0), ("good", GPU, 1), ("best", ("cpu",), 1)],
)
def test_networks_are_planned_where_they_are_quick_or_all_is_asked_for(preset, devices, planned):
    assert len(plan(make_facts(devices=devices), preset)[0]) == planned


def test_what_the_hub_gave_earlier_stays_in_the_plan_and_what_is_absent_is_named(tmp_path, monkeypatch):
    _fill_cache(tmp_path, monkeypatch)
    card = {"kept": (CACHED, "fetched earlier"), "gone": ("timm:resnet18.a1_in1k", "never fetched")}
    monkeypatch.setattr(networks, "CARD", card)
    runs, _, notes = plan(make_facts())
    assert [run.name for run in runs] == ["kept", "tuned_lite0"] and runs[0].table["encoder"] == CACHED
    assert len(notes) == 1 and notes[0].startswith("gone is left out: the weights of timm:resnet18.a1_in1k are not on")


def _fill_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out the hub's cache as an earlier download left it."""
    repository = root / f"models--timm--{CACHED.removeprefix('timm:')}"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    save_file(timm.create_model("test_resnet").state_dict(), snapshot / "model.safetensors")
    for name in ("constants.HF_HUB_CACHE", "file_download.HF_HUB_CACHE"):
        monkeypatch.setattr(f"huggingface_hub.{name}", str(root), raising=False)


def test_the_time_of_a_network_follows_its_steps():
    few, more = (
        training_seconds("fine_tune", COST, make_facts(n_labeled=n, n_unlabeled=0, n_test=0)) for n in (60, 90)
    )
    assert few < more < 1.3 * few  # the steps are the same: 100 and more however few the labels
    whole = training_seconds("fine_tune", COST, make_facts(n_labeled=5000))
    assert whole > FineTune.usual_epochs * 4000 * 5 * COST.seconds  # as many passes, forwards alone
    assert training_seconds("clip_finetune", COST, make_facts(n_labeled=5000)) < whole


def test_copies_of_other_seeds_are_planned_where_the_time_allows_it():
    facts = make_facts()
    (run,), _, _ = plan(facts)
    alone = training_seconds("fine_tune", COST, facts)
    assert run.table["seeds"] == 3 and run.seconds == pytest.approx(3 * alone) and "3 copies" in run.reason
    assert "seeds" not in plan(facts, seconds=2 * alone)[0][0].table
    assert "seeds" not in plan(make_facts(devices=GPU), "good")[0][0].table


def test_the_resolution_follows_images_device_and_time():
    own = training_seconds("fine_tune", COST, make_facts())
    tries = [(GPU, 500, DAY), (GPU, 200, DAY), (CPU, 500, DAY), (CPU, 500, 0.9 * own)]
    plans = [plan(make_facts(devices=devices, side=side), seconds=seconds) for devices, side, seconds in tries]
    assert [taken[0].table.get("image_size") for taken, _, _ in plans] == [288, None, None, 160]


def test_what_takes_longer_than_the_time_at_any_resolution_is_left_out():
    taken, left_out, _ = plan(make_facts(), seconds=1.0)
    assert not taken and [run.name for run in left_out] == ["tuned_lite0"]
