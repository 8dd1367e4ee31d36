"""A node that sees nothing of the driver's files, in this process: they are there only while its desk is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.core.engine import Shared, Task, cluster, elsewhere
from kit.core.engine import task as serving
from kit.core.engine.task import Order, read_outcome


class HiddenDesk:
    """A desk whose machine has `base`, which nobody else sees meanwhile."""

    def __init__(self, base: Path) -> None:
        self._desk, self._base, self._away = elsewhere.Desk(), base, base.with_name(f"{base.name}-away")
        self._alone = threading.Lock()  # the courier asks too

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a method of the desk on its machine."""
        with self._alone:
            self._away.rename(self._base)
            try:
                return getattr(self._desk, name)(*arguments)
            finally:
                self._base.rename(self._away)

    @contextmanager
    def hiding(self) -> Iterator[None]:
        """Hide the base in this block."""
        self._base.rename(self._away)
        try:
            yield
        finally:
            self._away.rename(self._base)


def do_apart(tasks: Sequence[Task], shared: Shared, base: Path) -> None:
    """Do tasks where nothing of `base` is seen, in a workspace below the folder of temporary files."""
    token = elsewhere.Token(shared.root / ".engine-none", "")
    origin = cluster.Origin("session", cluster.describe_computer(), token, shared.root, cluster.CHECKOUT, shared.hidden)
    desk: Any = HiddenDesk(base)
    try:
        for task in tasks:
            with desk.hiding():
                outcome = cluster._work_apart(Order(task, 1, None), shared, origin, desk)
            read_outcome(task, outcome)
    finally:
        serving.is_serving = False
