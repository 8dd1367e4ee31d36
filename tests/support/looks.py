"""Cheap looks for plans: encoders are loaded and measured once per session, images told apart by their colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

LOADED: dict[Any, Any] = {}
MEASURED: dict[Any, Any] = {}


def _remember(made: dict[Any, Any], make):
    def remembered(spec, *rest, **options):
        key = (repr(spec), *(bool(each) for each in rest), *sorted(options.items()))
        if key not in made:
            made[key] = make(spec, *rest, **options)
        return made[key]

    return remembered


def _tell_by_colour(forward, pixels) -> np.ndarray:
    import torch

    small = torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 4).flatten(1) / 255
    return torch.nn.functional.normalize(small, dim=1).numpy()


@pytest.fixture
def quick_looks(monkeypatch):
    """Let the planner look at images without a forward pass: what it makes of what it sees is the same code."""
    import kit.curate.plan.networks as networks
    import kit.curate.plan.portfolio as portfolio
    import kit.features.encoders as encoders
    from kit.features.forward import ImageForward

    monkeypatch.setattr(encoders, "load_encoder", _remember(LOADED, encoders.load_encoder))
    measure = _remember(MEASURED, portfolio.measure_encoder)
    monkeypatch.setattr(portfolio, "measure_encoder", measure)
    monkeypatch.setattr(networks, "measure_encoder", measure)
    monkeypatch.setattr(ImageForward, "__call__", _tell_by_colour)
