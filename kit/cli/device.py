"""The command that says what this machine has, and the cluster and Kaggle's GPUs where that is asked: device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import START, command
from kit.cli.call import options, say, suggest
from kit.core.names import command_line

if TYPE_CHECKING:
    from rich.table import Table

    from kit.core.engine import Node
    from kit.core.machine import Machine


@command(panel=START, example="device")
def device(
    kaggle: Annotated[
        bool, typer.Option("--kaggle", help="Ask Kaggle, over the internet, for the hours of GPU that are left.")
    ] = False,
) -> None:
    """Show what there is to compute with: cores, memory, disk, GPUs, Ray; with --engine ray the cluster's nodes."""
    from kit.core import engine
    from kit.core.machine import inspect_machine

    nodes = engine.list_nodes()
    machine = inspect_machine(options.workspace)
    quota = _ask_kaggle() if kaggle else None
    document: dict[str, Any] = asdict(machine) | {"nodes": [asdict(node) for node in nodes]}
    say(_render(machine, nodes, quota), document | ({"kaggle": quota} if kaggle else {}))
    suggest("plan")


def _ask_kaggle() -> dict[str, Any]:
    """Return the hours of GPU that are left this week, and the same in words."""
    from kit.kaggle.client.session import Kaggle
    from kit.kaggle.remote import ask_quota, describe_quota

    quota = ask_quota(Kaggle(""))
    return {"quota": quota, "words": describe_quota(quota)}


def _render(machine: Machine, nodes: list[Node], quota: dict[str, Any] | None) -> Table:
    """Return a table with a line for each thing that there is."""
    from kit.core.terminal import empty_table, escape

    table = empty_table()
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _lines(machine, nodes, quota):
        table.add_row(label, escape(text))
    return table


def _lines(machine: Machine, nodes: list[Node], quota: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Give what there is, each with what it is called."""
    from kit.core.terminal import count

    amx = "bfloat16 is fast (AMX)" if machine.has_amx else "bfloat16 is not fast (no AMX)"
    yield "CPU", f"{machine.cpu}: {count(machine.cores, 'core')}, {count(machine.threads, 'thread')} a task; {amx}"
    yield "memory", f"{machine.gibibytes:,.1f} GiB"
    free = machine.disk_free_gibibytes
    yield "disk", f"{options.workspace}: {'not known' if free is None else f'{free:,.1f} GiB are free'}"
    for number, gpu in enumerate(machine.gpus):
        has_bf16 = "with bfloat16" if gpu.half == "bfloat16" else "without bfloat16: float16 is taken"
        yield f"GPU {number}", f"{gpu.name}: {gpu.free_gibibytes:,.1f} of {gpu.gibibytes:,.1f} GiB are free; {has_bf16}"
    if not machine.gpus:
        yield "GPU", "Apple's, in float32" if machine.has_mps else "none that torch sees"
    yield "Ray", _spell_ray(machine)
    for node in nodes:
        gpus = f", {count(node.gpus, 'GPU')}" if node.gpus else ""
        yield f"node {node.host}", f"{count(node.cpus, 'core')}{gpus}, {node.gibibytes:,.1f} GiB for tasks"
    known = f"{command_line('device', '--kaggle')} asks for the hours of GPU that are left"
    yield "Kaggle", known if quota is None else quota["words"]


def _spell_ray(machine: Machine) -> str:
    """Say whether Ray is installed, and which cluster answers."""
    if machine.ray is None:
        return "not installed: pip install 'kit[ray]'"
    if machine.cluster is not None:
        return f"{machine.ray}; a cluster answers at {machine.cluster}: --engine ray uses it"
    return f"{machine.ray}; no cluster here: --engine ray --address HOST:PORT names one, `ray start --head` begins one"
