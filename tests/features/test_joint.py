"""Joint features: each encoder counts alike, and options name them in one way."""

from __future__ import annotations

import numpy as np
import pytest

from kit.core.errors import InputError
from kit.features.joint import encoders_of, side_by_side


def test_the_cosine_of_joined_features_is_the_mean_of_the_encoders():
    draw = np.random.default_rng(0)
    values = [draw.normal(size=(6, n_dims)).astype(np.float32) for n_dims in (4, 9)]
    values = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in values]
    joined = side_by_side(values)
    assert joined.shape == (6, 13) and joined.dtype == np.float32
    assert joined @ joined.T == pytest.approx((values[0] @ values[0].T + values[1] @ values[1].T) / 2, abs=1e-6)


def test_one_encoder_beside_none_is_itself():
    values = np.eye(3, dtype=np.float32)
    assert np.array_equal(side_by_side([values]), values)


def test_options_name_encoders_as_notations_or_tables():
    table = {"encoder": "timm:b", "encoder_args": {"pad_type": "same"}}
    assert encoders_of({"encoder": "timm:a", "encoders": ["timm:c", table]}) == [
        ("timm:a", {}),
        ("timm:c", {}),
        ("timm:b", {"pad_type": "same"}),
    ]
    assert encoders_of({"encoder": None}) == [] and encoders_of({"encoders": ["timm:c"]}) == [("timm:c", {})]


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ([{"name": "timm:a"}], r'is no encoder; write "timm:NAME" or'),
        ([{"encoder": "timm:a", "args": {}}], "is no encoder"),
        (["timm:a", "timm:a"], "'timm:a' stands there twice"),
    ],
)
def test_what_names_no_encoder_is_refused(encoders, message):
    with pytest.raises(InputError, match=message):
        encoders_of({"encoders": encoders})
