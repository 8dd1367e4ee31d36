"""What `verify`, `all` and `report` say of runs that are not there: what is missing, why, once, and what makes it."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from support.clips import TINY_CLIP
from support.colours import FOREST_AND_SVM
from support.command import flat

from kit.core.deadline import set_deadline
from kit.data.prepared import prepare
from kit.models.networks.clip_finetune import ClipFinetune
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.runs.pace import Length, Pace, length_of, length_of_plain
from kit.runs.store.pairs import list_pairs
from kit.runs.train import Announced, OutOfTime, describe_skipped, find_finished, train_runs

RUNS = '[runs.svm]\nmodel = "svm"\npixels = 4\n[runs.forest]\nmodel = "forest"\nn_trees = 5\npixels = 4\n'
FROM_THE_HUB = """
[runs.zero_shot]
model = "zero_shot"
encoder = "open_clip:ViT-B-32/openai"

[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"

[runs.network]
model = "fine_tune"
encoder = "timm:resnet18.a1_in1k"

[runs.student]
model = "svm"
pseudo = { teachers = ["probe"] }
"""


@pytest.fixture
def kit(colours, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(*arguments: str, runs: str = RUNS) -> tuple[int, str, str]:
        root = colours(runs).workspace.root
        code, out, err = run_command(root, *arguments)
        return code, out, flat(err)

    return call


def test_verify_refuses_where_nothing_is_trained_and_names_the_command(kit):
    code, out, err = kit("verify", "colours")
    assert (code, out) == (2, "")
    assert "no finished run of colours yet, so nothing to verify but the folds" in err and "./run.sh all colours" in err


def test_verify_names_the_runs_that_it_could_not_look_at(kit):
    assert kit("train", "colours", "svm")[0] == 0
    code, out, err = kit("verify", "colours")
    assert code == 0 and "svm: 3 folds" in out
    assert "not trained, so not verified: forest; ./run.sh train colours" in err
    assert json.loads(kit("verify", "colours", "--json")[1])["not_trained"] == ["forest"]
    assert kit("train", "colours")[0] == 0
    code, _, err = kit("verify", "colours")
    assert code == 0 and "not trained" not in err


def test_all_says_once_which_weights_cannot_be_had_and_names_the_runs_in_the_end(kit):
    pytest.importorskip("open_clip")
    code, _, err = kit("all", "colours", runs=RUNS + FROM_THE_HUB)
    assert code == 0 and err.count("the hub cannot be reached") == 1
    assert "zero_shot, probe, network will be skipped: the weights are not on this machine" in err
    assert err.count("zero_shot, probe: fetch ") == 1 and err.count("network: fetch model.safetensors of timm/") == 1
    assert "skipped, as said above: zero_shot, probe, network warning" in err
    assert "skipped student: its teacher probe was skipped" in err


def test_reasons_that_came_up_while_training_are_said_in_the_end():
    skipped = {"a": Announced("no weights"), "b": OutOfTime("time is up"), "c": "its teacher a was skipped"}
    assert describe_skipped(skipped | {"d": OutOfTime("time is up")}) == [
        "skipped, as said above: a",
        "skipped b, d: time is up",
        "skipped c: its teacher a was skipped",
    ]
    assert describe_skipped({}) == []


def test_a_report_made_later_lists_what_all_skipped_and_why_until_it_is_trained(kit, tmp_path):
    page = tmp_path / "runs" / "colours" / "report.html"
    probe = FROM_THE_HUB.partition("[runs.student]")[0]
    assert kit("all", "colours", runs=RUNS + probe)[0] == 0
    page.unlink()
    assert kit("report", "colours", runs=RUNS + probe)[0] == 0
    assert "Skipped: zero_shot, probe, network." in page.read_text() and "the hub cannot be reached" in page.read_text()
    mended = RUNS + probe.replace('"linear_probe"\nencoder = "open_clip:ViT-B-32/openai"', '"svm"\npixels = 4')
    assert kit("train", "colours", "probe", runs=mended)[0] == 0
    assert kit("report", "colours", runs=mended)[0] == 0
    assert "Skipped: zero_shot, network." in page.read_text()


def test_an_ensemble_of_other_members_is_named_and_not_shown(colours, capsys):
    runs = '[runs.forest]\nmodel = "forest"\nn_trees = 4\n[runs.svm]\nmodel = "svm"\npixels = 4\n'
    prepared = prepare(colours(runs))
    ensemble(prepared, [crossval(prepared, "forest"), crossval(prepared, "svm")])
    again = prepare(colours(runs, ("runs.forest.n_trees=5",)))
    crossval(again, "forest")
    capsys.readouterr()
    assert [result.name for result in find_finished(again)] == ["forest", "svm"]
    message = " ".join(capsys.readouterr().err.split())
    assert "the ensemble was made of other members, so not shown; ./run.sh ensemble colours" in message


def test_with_time_enough_a_limit_changes_no_result(colours):
    prepared = prepare(colours())
    set_deadline(3600)
    results, skipped = train_runs(prepared, list(prepared.competition.runs), strict=False)
    assert [result.base for result in results] == list(prepared.competition.runs) and skipped == {}
    set_deadline(None)
    again, _ = train_runs(prepared, list(prepared.competition.runs), strict=False)
    assert [result.record.key for result in again] == [result.record.key for result in results]


def test_a_long_run_does_not_starve_the_others_and_is_left_out_with_its_estimate(colours):
    """A network of hours stands first; the two behind it are finished all the same."""
    network = '[runs.long]\nmodel = "small_cnn"\nepochs = 1000000\n\n'
    prepared = prepare(colours(network + FOREST_AND_SVM))
    set_deadline(9)
    results, skipped = train_runs(prepared, list(prepared.competition.runs), strict=False)
    assert [result.base for result in results] == ["forest", "svm"]
    assert isinstance(skipped["long"], OutOfTime)
    assert re.search(r"the time limit; it takes about \d+ min here", skipped["long"])


def test_a_run_that_takes_longer_than_its_share_is_stopped_and_begun_again_with_what_is_left(colours, monkeypatch):
    prepared = prepare(colours(FOREST_AND_SVM))
    monkeypatch.setattr("kit.runs.pace.PIXEL_SECONDS", 1e-9)  # an estimate that is far too low
    set_deadline(3600)
    results, skipped = train_runs(prepared, list(prepared.competition.runs), strict=False)
    assert len(results) == 2 and skipped == {}


def test_estimates_count_encoding_once_and_nothing_for_what_is_finished(colours):
    probe = f'model = "linear_probe"\nencoder = "{TINY_CLIP}"\n'
    prepared = prepare(colours(f"[runs.probe]\n{probe}\n[runs.other]\n{probe}C = 3.0\n"))
    pace = Pace(prepared)
    before = pace.estimate("other")
    crossval(prepared, "probe")
    assert pace.estimate("probe") == 0.0
    assert 0 < pace.estimate("other") < before


def test_estimates_count_the_models_of_pairs_of_folds(embedded):
    prepared = prepare(embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n'))
    alone = dataclasses.replace(prepared, scored=(0,))
    n_folds, n_pairs = len(prepared.scored), len(list_pairs(prepared))
    assert Pace(prepared).estimate("probe") == pytest.approx((n_folds + n_pairs) * Pace(alone).estimate("probe"))


def test_few_labels_are_as_many_steps_of_the_last_layers_and_many_are_passes_of_all():
    few, many = (length_of_plain("clip_finetune", n) for n in (90, 6400))
    assert (few.n_steps, few.is_partial) == (100, True) and (many.n_steps, many.is_partial) == (2000, False)
    assert few.n_whole < 100 * 32 < many.n_whole == 64000
    swift = ClipFinetune(encoder="", semi="swift", steps=50)
    assert length_of(swift, 90).n_whole > length_of(ClipFinetune(encoder="", steps=50), 90).n_whole
    whole = ClipFinetune(encoder="", epochs=5)
    assert length_of(whole, 90) == Length(15, 15 * 32, False)
