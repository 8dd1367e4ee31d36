"""The time limit of one call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.core.deadline import check_deadline, parse_duration, seconds_left, set_deadline, time_is_up
from kit.core.errors import InputError, TimeIsUp


@pytest.fixture(autouse=True)
def no_limit() -> Iterator[None]:
    """Leave no limit to other tests."""
    yield
    set_deadline(None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9h", 32400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("45m", 2700),
        ("45s", 45),
        (" 600 ", 600),
        ("1h1m1s", 3661),
        ("0h5m", 300),
        ("0.5", 0.5),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "1.2.3h", ".", "h", "1..5m", "-5", "-1h", "0", "0h0m", "0.0s", "nan", "1d", "5 m", "30m1h", "1e3"]
)
def test_what_is_no_duration_above_zero_is_refused(text):
    with pytest.raises(InputError, match=r"--time-limit .*: write 9h, 1h30m"):
        parse_duration(text)


def test_without_a_limit_time_is_never_up():
    set_deadline(None)
    assert not time_is_up() and seconds_left() is None
    check_deadline()


def test_a_limit_is_reached_and_says_that_the_next_call_goes_on():
    set_deadline(3600)
    check_deadline()
    assert 3590 < seconds_left() <= 3600
    set_deadline(0)
    with pytest.raises(TimeIsUp, match="the same command goes on"):
        check_deadline()
