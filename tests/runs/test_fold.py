"""What unlabelled images leave behind: records on the disk, words that fit, refusals before the work."""

from __future__ import annotations

import copy
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
from support.colours import FOREST_AND_SVM

from kit.core.deadline import set_deadline
from kit.core.errors import TimeIsUp
from kit.core.files import read_json
from kit.core.tensors import read_tensors
from kit.data.prepared import Prepared, prepare
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import build_fold_model, fit_fold, predict
from kit.runs.store import Result, fold_folder
from kit.runs.store.result import EVERYTHING
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


def training_of(prepared: Prepared, result: Result) -> list[list[Any]]:
    """Return the records of every scored fold's copies."""
    return [read_json(fold_folder(result.folder, fold) / "training.json")["copies"] for fold in prepared.scored]


def test_every_epoch_of_every_fold_is_kept_on_the_disk(colours):
    prepared = prepare(colours(NETWORK, ONE_FOLD))
    records = training_of(prepared, crossval(prepared, "network"))
    assert len(records) == 1
    for (record,) in records:
        assert [entry["epoch"] for entry in record] == [1, 2]
        assert {type(entry[key]) for entry in record for key in ("lr", "loss", "seconds")} == {float}


def test_what_unlabeled_images_taught_is_kept_epoch_by_epoch(colours):
    prepared = prepare(colours(f'{NETWORK}semi = "freematch"\nunlabeled_ratio = 1\nbags = 2', ONE_FOLD))
    for copies in training_of(prepared, crossval(prepared, "network")):
        assert [len(record) for record in copies] == [2, 2]
        assert all(0 <= entry["mask_rate"] <= 1 and len(entry["pseudo_share"]) == 3 for entry in copies[0] + copies[1])


def test_a_run_that_was_stopped_and_goes_on_has_the_whole_record(colours):
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


def test_a_refit_keeps_its_record_and_a_model_without_one_leaves_no_file(colours):
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
            predictions = predict(model, prepared.pool.select(prepared.split(split)))
            assert np.allclose(predictions.proba, read_predictions(mine_ / f"{split}.parquet").proba, atol=1e-6)


def test_a_model_that_was_made_anew_can_be_pickled_and_copied(colours):
    prepared = prepare(colours(FOREST_AND_SVM))
    run = prepared.competition.run("svm")
    model = build_fold_model(prepared, run, 0, is_renewed=True)
    model.fit(prepared.training(0), prepared.unlabeled(0, False))
    asked, ordinary = prepared.held_out(0), build_fold_model(prepared, run, 0)
    loaded, copied, both = pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)
    for other in (loaded, copied, both):
        assert np.array_equal(other.predict_proba(asked), model.predict_proba(asked))
    assert type(loaded) is type(ordinary) is not type(model) and type(copied) is type(both) is type(model)
