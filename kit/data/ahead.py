"""Reading ahead: what comes next is read in a thread while what was read before is used.

Decoding releases Python's lock, and so does a network's forward pass: the two overlap. At most a few items wait, in the
order in which they are asked for; how many threads there are changes nothing of what is read. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Asked = TypeVar("Asked")
Read = TypeVar("Read")

N_AHEAD = 1  # items that wait: enough that neither side waits for the other, and little memory


class Ahead(Generic[Item, Read]):
    """Read items one by one, and the following ones before they are asked for.

    Parameters
    ----------
    read
        Reads one item; called in a thread. What it raises is raised where the item is taken.
    following
        Names the item after this one; None at the end.
    """

    def __init__(self, read: Callable[[Item], Read], following: Callable[[Item], Item | None]) -> None:
        self._read, self._following = read, following
        self._waiting: dict[Item, Future[Read]] = {}
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Ahead[Item, Read]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, item: Item) -> Read:
        """Return an item; those that wait and do not follow it are forgotten."""
        wanted, following = [item], self._following(item)
        while following is not None and len(wanted) <= N_AHEAD:
            wanted.append(following)
            following = self._following(following)
        for other in self._waiting.keys() - set(wanted):
            self._waiting.pop(other).cancel()
        for each in wanted:
            if each not in self._waiting:
                self._waiting[each] = self._thread.submit(self._read, each)
        return self._waiting.pop(item).result()


def read_ahead(read: Callable[[Asked], Read], items: Sequence[Asked]) -> Iterator[Read]:
    """Yield what is read of each item, in order, the next one read while this one is used."""
    with Ahead(lambda place: read(items[place]), lambda place: place + 1 if place + 1 < len(items) else None) as ahead:
        yield from map(ahead.take, range(len(items)))
