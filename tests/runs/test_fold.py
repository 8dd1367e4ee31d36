"""What unlabelled images leave behind: diaries on the disk, words that fit, refusals before the work."""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.bench import semi
from kit.cli import main
from kit.config.competition import Competition
from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.core.files import Workspace, read_json
from kit.core.tensors import read_tensors
from kit.curate.mining import mine_labels
from kit.data.prepared import Prepared, prepare
from kit.models.classic.clusters import Clusters
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import build_fold_model, fit_fold, predict
from kit.runs.store import EVERYTHING, Result, fold_folder
from kit.scoring.predictions import read_predictions

NETWORK = """
[runs.network]
model = "fine_tune"
encoder = "timm:test_efficientnet"
pretrained = false
image_size = 32
epochs = 2
frozen_epochs = 0
batch_size = 8
"""
ONE_FOLD = ("folds.use=[0]",)
GIVEN = 'embeddings = "embeddings.npy"'
N_IMAGES = 39  # of `colours`: 18 labelled, 12 unlabelled, 9 of the test


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Spare tiny networks the waiting of threads for each other; leave no deadline behind."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    set_deadline(None)


@pytest.fixture
def embedded(colours: Callable[..., Competition]) -> Callable[..., Competition]:
    """Return a function that makes `colours` with embeddings; other keys of [data] and [mining] may be given."""

    def make(runs: str, rest: str = "", data: str = GIVEN) -> Competition:
        competition = colours(runs, rest=rest, data=data)
        np.save(competition.root / "embeddings.npy", np.random.default_rng(0).normal(size=(N_IMAGES, 8)))
        return competition

    return make


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs one command in this process and gives all it says."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["kit", *arguments, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        return " ".join((said.out + said.err).split())

    return call


def training_of(prepared: Prepared, result: Result) -> list[list[Any]]:
    """Return the diaries of every scored fold's copies."""
    return [read_json(fold_folder(result.folder, fold) / "training.json")["copies"] for fold in prepared.scored]


def test_every_epoch_of_every_fold_is_kept_on_the_disk(colours):
    prepared = prepare(colours(NETWORK, ONE_FOLD))
    diaries = training_of(prepared, crossval(prepared, "network"))
    assert len(diaries) == 1
    for (diary,) in diaries:
        assert [entry["epoch"] for entry in diary] == [1, 2]
        assert {type(entry[key]) for entry in diary for key in ("lr", "loss", "seconds")} == {float}


def test_what_unlabeled_images_taught_is_kept_epoch_by_epoch(colours):
    prepared = prepare(colours(f'{NETWORK}semi = "freematch"\nunlabeled_ratio = 1\nbags = 2', ONE_FOLD))
    for copies in training_of(prepared, crossval(prepared, "network")):
        assert [len(diary) for diary in copies] == [2, 2]
        assert all(0 <= entry["mask_rate"] <= 1 and len(entry["pseudo_share"]) == 3 for entry in copies[0] + copies[1])


def test_a_run_that_was_stopped_and_goes_on_has_the_whole_diary(colours):
    prepared = prepare(colours(NETWORK, ONE_FOLD))
    result = crossval(prepared, "network")
    ((whole,),) = training_of(prepared, result)
    shutil.rmtree(result.folder)
    set_deadline(0)
    with pytest.raises(TimeIsUp):  # after the first epoch
        fit_fold(prepared, prepared.competition.run("network"), 0, result.folder)
    set_deadline(None)
    ((again,),) = training_of(prepared, crossval(prepared, "network"))
    assert [(entry["epoch"], entry["loss"]) for entry in again] == [(entry["epoch"], entry["loss"]) for entry in whole]


def test_a_refit_keeps_its_diary_and_a_model_without_one_leaves_no_file(colours):
    prepared = prepare(colours(f'{NETWORK}refit = true\n[runs.svm]\nmodel = "svm"', ONE_FOLD))
    refitted = fold_folder(crossval(prepared, "network").folder, EVERYTHING)
    assert len(read_json(refitted / "training.json")["copies"][0]) == 2
    assert not list(crossval(prepared, "svm").folder.glob("*/training.json"))


def test_what_a_fold_says_at_its_only_setting_is_what_its_kept_weights_say(embedded):
    prepared = prepare(embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nsmooth = 0.5'))
    result = crossval(prepared, "probe")
    for fold in prepared.scored:
        mine_ = fold_folder(result.folder, fold)
        model = build_fold_model(prepared, prepared.competition.run("probe"), fold)
        model.restore(read_tensors(mine_ / "model.safetensors"), prepared.classes)
        model.settle(read_json(mine_ / "settled.json"))
        for split in ("unlabeled", "test"):
            said = predict(model, prepared.pool.select(prepared.split(split)))
            assert np.allclose(said.proba, read_predictions(mine_ / f"{split}.parquet").proba, atol=1e-6)


def test_more_clusters_than_images_are_lowered_and_the_user_is_told(embedded, capsys):
    prepared = prepare(embedded('[runs.many]\nmodel = "clusters"\nencoder = "given"\nn_clusters = 5000'))
    model = Clusters(encoder="given", n_clusters=5000).fit(prepared.training(0), prepared.unlabeled(0, False))
    assert model.record_[0]["n_clusters"] == 24
    assert "5000 are asked for of 24 images; lowered" in capsys.readouterr().err


MINING = '[mining]\nexemplars = {exemplars}\nencoder = "given"\nthreshold = -1.0\nthresholds = [-1.0]'
TWO = '{ blue = "00019", green = "00020" }'


def test_mined_labels_that_nothing_would_read_are_refused_before_the_work(embedded, kit, tmp_path):
    embedded("", MINING.format(exemplars=TWO))
    said = kit("mine", "colours", "--write")
    assert 'labeled = { csv = "mined.csv", images = "unlabeled" } and labels_are_mined = true' in said
    assert not (tmp_path / "runs" / "colours" / "mined").exists()


def test_a_missing_csv_of_exemplars_is_a_matter_of_mining(embedded):
    with pytest.raises(InputError, match=r"\[mining\] exemplars = 'shown\.csv': 'shown\.csv' is not in"):
        mine_labels(embedded("", MINING.format(exemplars='"shown.csv"')))


def test_exemplars_without_embeddings_name_the_key_that_asks_for_them(embedded):
    competition = embedded("", MINING.format(exemplars=TWO), data="")
    with pytest.raises(InputError, match=r'\[mining\] encoder = "given" \(the default\).*name an encoder'):
        mine_labels(competition)


def test_a_score_on_mined_labels_is_called_agreement_wherever_it_is_printed(embedded, kit):
    competition = embedded('[runs.probe]\nmodel = "linear_probe"\nencoder = "given"', MINING.format(exemplars=TWO))
    names = sorted(path.stem for path in (competition.root / "unlabeled").iterdir())
    (competition.root / "pool.csv").write_text("\n".join(["id", *names]))
    np.save(competition.root / "embeddings.npy", np.random.default_rng(0).normal(size=(len(names), 8)))
    toml = competition.folder / "competition.toml"
    text, listing = toml.read_text(), '{{ csv = "{}.csv", images = "unlabeled" }}'
    text = text.replace('labeled = "train"\nun', f"labels_are_mined = true\nlabeled = {listing.format('mined')}\nun")
    text = text.replace('unlabeled = "unlabeled"', f"unlabeled = {listing.format('pool')}")
    toml.write_text(re.sub("(test|sample_submission|solution) = .*", "", text))
    kit("mine", "colours", "--write")
    said = kit("train", "colours") + kit("ensemble", "colours")
    assert said.count("agreement 0.") + said.count("agreement 1.") >= 3 and "CV" not in said


def test_bench_semi_waits_for_another_that_holds_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(semi, "SETTINGS", (semi.PhotoSetting("photos", 3),))
    monkeypatch.setattr(semi, "_read_photos", lambda *_: None)
    (tmp_path / "photos").mkdir()
    home = tmp_path / "runs" / "bench-semi"
    home.mkdir(parents=True)
    with open(home / ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=semi.bench_semi, args=(tmp_path, Workspace(tmp_path), ()))
        second.start()
        time.sleep(0.3)
        assert second.is_alive()
        fcntl.flock(held, fcntl.LOCK_UN)
    second.join(10)
    assert not second.is_alive() and "waiting for it to end" in capsys.readouterr().err


def test_a_folder_of_photos_may_have_quotes_and_backslashes_in_its_name(tmp_path, data):
    odd = tmp_path / 'of "mine" \\ née'
    shutil.copytree(data / "train", odd / "trashnet")
    with pytest.raises(InputError) as refused:  # its files are empty
        semi._read_photos(odd, semi.PhotoSetting("trashnet", 1), Workspace(tmp_path / "home"))
    assert str(odd) in str(refused.value)
