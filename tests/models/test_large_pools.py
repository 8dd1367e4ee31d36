"""Heads on large pools: looked at in parts, and gone from memory with their graph."""

from __future__ import annotations

import gc
import weakref

import pytest
from support.clouds import clouds, split

from kit.models.heads import head as head_module
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.prototypes import Prototypes
from kit.models.heads.tip_adapter import TipAdapter


@pytest.mark.parametrize("options", [{}, {"transduction": "transclip"}, {"self_training": 0.5}])
def test_a_head_takes_its_graph_with_it_when_it_is_gone(options, tmp_path):
    labeled, others = split(*clouds(tmp_path))
    head = LinearProbe("given", smooth=0.8, **options).fit(labeled, others)
    head.predict_proba(others)
    gone = weakref.ref(head)
    gc.disable()  # a large pool's graph must not wait for the collector
    try:
        del head
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("model", [LinearProbe, Prototypes, TipAdapter])
def test_images_looked_at_in_parts_have_the_same_probabilities(model, tmp_path, monkeypatch):
    labeled, others = split(*clouds(tmp_path))
    head = model("given", smooth="nested").fit(labeled, others)
    whole = head.predict_sweep(others)
    monkeypatch.setattr(head_module, "LOGIT_ROWS", 7)
    again = model("given", smooth="nested").fit(labeled, others)
    assert again.predict_sweep(others) == pytest.approx(whole, abs=1e-5)
