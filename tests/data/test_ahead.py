"""Reading ahead: the next item is read while this one is used, in order, and errors come where they belong."""

from __future__ import annotations

import threading
import time

import pytest

from kit.data.ahead import Ahead, read_ahead


def following(number: int) -> int | None:
    return number + 1 if number < 5 else None


def test_the_next_item_is_read_while_this_one_is_used():
    began = [threading.Event() for _ in range(6)]
    used = []

    def read(number: int) -> int:
        began[number].set()
        return number * number

    with Ahead(read, following) as ahead:
        for number in range(6):
            used.append(ahead.take(number))
            if number < 5:  # nothing is asked for meanwhile: only reading ahead can begin the next
                assert began[number + 1].wait(20)
    assert used == [0, 1, 4, 9, 16, 25]


def test_at_most_one_item_waits():
    read = []
    with Ahead(lambda number: read.append(number), following) as ahead:
        ahead.take(0)
        time.sleep(0.05)
    assert set(read) <= {0, 1}


def test_going_on_elsewhere_reads_what_is_asked_for():
    with Ahead(lambda number: -number, following) as ahead:
        assert [ahead.take(number) for number in (0, 3, 4, 1)] == [0, -3, -4, -1]


def test_an_error_is_raised_where_its_item_is_taken():
    def read(number: int) -> int:
        if number == 1:
            raise OSError("item 1 cannot be read")
        return number

    with Ahead(read, following) as ahead:
        assert ahead.take(0) == 0
        with pytest.raises(OSError, match="item 1"):
            ahead.take(1)
    items = read_ahead(read, range(3))
    assert next(items) == 0
    with pytest.raises(OSError, match="item 1"):
        next(items)


def test_an_iteration_that_is_left_reads_no_more():
    read = []
    items = read_ahead(lambda number: read.append(number), range(100))
    next(items)
    items.close()
    assert len(read) <= 3


def test_items_come_in_order():
    assert list(read_ahead(str, range(7))) == list("0123456")
    assert list(read_ahead(str, [])) == []
