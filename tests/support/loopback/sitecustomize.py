"""Keep a process on this machine: Python refuses to look for another host, whatever asks it to.

Run by conftest.py for the tests' own process; first on the path of the Kaggle client's, where Python imports it by its
name before anything else.
"""

from __future__ import annotations

import sys

PLACES = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}  # of the host
HERE = ("localhost", "::1", "", "0.0.0.0")


def refuse_others(event: str, arguments: tuple) -> None:
    """Refuse to look for, or connect to, anything but loopback; sockets that are files have no host."""
    where = arguments[PLACES[event]] if event in PLACES else None
    if where is None or (event in ("socket.connect", "socket.sendto") and not isinstance(where, tuple)):
        return
    host = where[0] if isinstance(where, tuple) else where
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host not in HERE and not host.startswith("127."):
        raise OSError(f"tests stay on this machine: {host} was not asked")


sys.addaudithook(refuse_others)
