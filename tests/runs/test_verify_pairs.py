"""Verify derives the models of pairs of folds again: a pair that saw too much, or was edited, is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kit.core.errors import LeakFound
from kit.core.files import hash_file
from kit.data.images import names_of
from kit.data.prepared import prepare
from kit.runs.fit.crossval import crossval
from kit.runs.store.pairs import list_pairs, pair_folder
from kit.runs.verify import verify

PROBE = '[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\nC = "nested"\n'


@pytest.fixture
def probe(embedded):
    prepared = prepare(embedded(PROBE))
    result = crossval(prepared, "probe")
    return prepared, result, pair_folder(result.folder, *list_pairs(prepared)[0])


def test_honest_pairs_pass_and_are_told_of(probe):
    prepared, result, _ = probe
    assert "chosen on the other folds by models that saw neither" in verify(prepared, [result])[1]


def test_a_pair_that_saw_one_of_its_folds_is_named(probe):
    prepared, result, home = probe
    ledger = json.loads((home / "provenance.json").read_text())
    ledger["labeled"].append(names_of(prepared.held_out(1))[0])
    (home / "provenance.json").write_text(json.dumps(ledger))
    with pytest.raises(LeakFound, match="probe folds 0 and 1: fitted on 1 images of them"):
        verify(prepared, [result])


def test_a_cut_ledger_of_a_pair_is_named(probe):
    prepared, result, home = probe
    ledger = json.loads((home / "provenance.json").read_text())
    (home / "provenance.json").write_text(json.dumps(ledger | {"labeled": ledger["labeled"][1:]}))
    with pytest.raises(LeakFound, match="does not name the images of the other folds: 1 differ"):
        verify(prepared, [result])


def test_an_edited_sweep_is_named_and_so_is_one_that_was_sealed_again(probe):
    prepared, result, home = probe
    sweep = np.load(home / "sweep.npy")
    np.save(home / "sweep.npy", sweep[:, :, ::-1])
    with pytest.raises(LeakFound, match=r"sweep\.npy edited since the fit"):
        verify(prepared, [result])
    fitted = json.loads((home / "fitted.json").read_text())
    fitted["sha256"]["sweep.npy"] = hash_file(home / "sweep.npy")
    (home / "fitted.json").write_text(json.dumps(fitted))
    with pytest.raises(LeakFound, match=r"sweep\.npy is not what its kept weights predict"):
        verify(prepared, [result])


def test_missing_pairs_are_named(probe):
    prepared, result, home = probe
    shutil.rmtree(home)
    with pytest.raises(LeakFound, match="is not whole"):
        verify(prepared, [result])
