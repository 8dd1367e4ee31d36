"""Whether a node would give the driver's bytes: the same versions, decoders, neighbours, kernels and precision.

Reads nothing. A node that differs is refused, in one sentence: which node, in what, and what to do about it.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from kit import __version__
from kit.core.engine.elsewhere import Counter
from kit.core.engine.task import Order
from kit.core.errors import InputError
from kit.core.precision import half_on_gpu, has_amx
from kit.core.rounding import ABSENT, find_faiss, list_decoders, list_kernels, list_versions

KERNELS = {"blas": "OPENBLAS_CORETYPE", "torch": "ATEN_CPU_CAPABILITY"}  # what chooses them before a process starts


@dataclass(frozen=True)
class Computer:
    """Hold what decides the bytes that a machine computes.

    Parameters
    ----------
    versions
        Of Python, the kit and the packages that decide how numbers are rounded.
    decoders
        Of what decodes images, by name.
    faiss
        The version of what finds neighbours in a large pool, ``"none"`` without it.
    kernels
        For which processor linear algebra and torch compute.
    has_amx
        Whether the CPU has AMX, by which the precision of encoding and training on a CPU is chosen.
    """

    host: str
    versions: dict[str, str]
    decoders: dict[str, str]
    faiss: str
    kernels: dict[str, str]
    has_amx: bool


def describe_computer() -> Computer:
    """Return what decides the bytes that this process computes."""
    python = ".".join(map(str, sys.version_info[:2]))
    versions = {"kit": __version__, "Python": python} | list_versions()
    return Computer(socket.gethostname(), versions, list_decoders(), find_faiss(), list_kernels(), has_amx())


def find_difference(driver: Computer, node: Computer, order: Order, desk: Counter) -> InputError | None:
    """Return what is to be said where this node would compute other bytes than the driver; else None.

    What is no more than another precision counts only where the task minds it. `desk` knows the first node's GPU.
    """
    for differ in (_in_versions, _in_decoders, _in_neighbours, _in_kernels):
        if said := differ(driver, node):
            return InputError(f"node {node.host} {said}, or leave it out")
    if order.task.minds_amx and not order.has_gpu and node.has_amx != driver.has_amx:
        one, other = ("with AMX", "without it") if node.has_amx else ("without AMX", "with it")
        return InputError(
            f"node {node.host} has a CPU {one}, {driver.host} one {other}: bfloat16 and float32 mix; leave it out"
        )
    if order.has_gpu and (half := half_on_gpu()) != (first := desk.ask("agree", half, node.host))[0]:
        host, other = first[1], first[0]
        return InputError(f"node {node.host} has a GPU of {half}, {host} one of {other}, and they mix; leave one out")
    return None


def _in_versions(driver: Computer, node: Computer) -> str:
    if not (odd := _list_odd(driver.versions, node.versions)):
        return ""
    return f"has {odd} as {driver.host} has: install the same there"


def _in_decoders(driver: Computer, node: Computer) -> str:
    if not (odd := _list_odd(driver.decoders, node.decoders)):
        return ""
    return f"decodes images by {odd} as {driver.host} does, so pixels would mix: install the same there"


def _in_neighbours(driver: Computer, node: Computer) -> str:
    if driver.faiss == node.faiss:
        return ""
    has, other = ("no faiss" if each.faiss == ABSENT else f"faiss {each.faiss}" for each in (node, driver))
    return f"has {has} and {driver.host} has {other}, so the neighbours of images would mix: install the same there"


def _in_kernels(driver: Computer, node: Computer) -> str:
    odd = [name for name, kernel in driver.kernels.items() if node.kernels[name] != kernel]
    if not odd:
        return ""
    has, other = (", ".join(f"{name} for {each.kernels[name]}" for name in odd) for each in (node, driver))
    chosen = " and ".join(KERNELS[name] for name in odd)
    return f"computes by {has} and {driver.host} by {other}, which round differently: set {chosen} alike on both"


def _list_odd(driver: dict[str, str], node: dict[str, str]) -> str:
    """Return in what a node differs: ``"numpy 2.1, not 2.2"``; empty where in nothing."""
    names = dict.fromkeys([*driver, *node])
    pairs = [(name, node.get(name, ABSENT), driver.get(name, ABSENT)) for name in names]
    return ", ".join(f"{name} {here}, not {there}" for name, here, there in pairs if here != there)
