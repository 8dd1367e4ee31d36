"""Probabilities of exactly 0 are counted where log-loss punishes them."""

from __future__ import annotations

import dataclasses

import numpy as np

from kit.data.prepared import prepare
from kit.runs.store.score import remark_on_zeros


def test_exact_zeros_are_counted_where_log_loss_counts(colours, trained):
    prepared, result = trained
    oof = result.predictions("oof")
    assert remark_on_zeros(prepared, oof) is None  # accuracy does not mind
    strict = prepare(colours(changes=("competition.metric=log_loss",)))
    assert remark_on_zeros(strict, oof) is None
    codes = dict(zip(prepared.pool.ids[prepared.labeled], prepared.labels, strict=True))
    wrong = np.eye(3)[[(codes[image_id] + 1) % 3 for image_id in oof.ids[:2]]]
    certain = dataclasses.replace(oof, proba=np.concatenate([wrong, oof.proba[2:]]).astype(oof.proba.dtype))
    assert remark_on_zeros(strict, certain).startswith("2 images have a probability of exactly 0")
