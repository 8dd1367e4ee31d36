"""How long a bundle will take: by a pace that was measured on several images, as a range."""

from __future__ import annotations

import pandas as pd
import pytest

from kit.kaggle.bundle.trial import BundleTrial, _add_others, _find_slopes


def test_the_estimate_grows_with_images_and_loads_once_per_chunk():
    trial = BundleTrial(100, 0.0, 0, images_per_second=50.0, load_seconds=10.0, device="cpu")
    assert trial.estimate(1000) == pytest.approx(10 + 20)
    assert trial.estimate(10_000) == pytest.approx(3 * 10 + 200)


def test_the_estimate_ranges_from_the_fastest_to_the_slowest_pace_between_sizes():
    slope, slopes = _find_slopes([16, 64, 256], [2.0, 6.8, 16.4])
    trial = BundleTrial(256, 0.0, 0, 1 / slope, 0.0, "cpu", 256, slowest=1 / max(slopes), fastest=1 / min(slopes))
    assert trial.estimates(1000) == pytest.approx((50, 100))
    assert trial.estimate(1000) == pytest.approx(60)


def test_a_single_test_image_is_timed_with_others(prepared):
    rows = prepared.split("test")[:1]
    table = pd.DataFrame({"id": prepared.pool.ids[rows], "path": prepared.pool.paths[rows], "split": "test"})
    timed = _add_others(prepared, table)
    assert len(timed) == 1 + 30 and timed["id"].is_unique
