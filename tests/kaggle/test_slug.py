"""A competition's slug, read from a name or an address."""

from __future__ import annotations

import pytest

from kit.core.errors import InputError
from kit.kaggle.client.slug import read_slug


@pytest.mark.parametrize(
    "text",
    [
        "digit-recognizer",
        "https://www.kaggle.com/competitions/digit-recognizer/data?x=1",
        "kaggle.com/c/digit-recognizer",
    ],
)
def test_a_slug_may_be_an_address(text):
    assert read_slug(text) == "digit-recognizer"


def test_what_is_no_slug_is_refused():
    with pytest.raises(InputError, match="is no Kaggle competition"):
        read_slug("https://example.org/x y")
