"""The command that lists what a run's table may say: models."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import TRAIN, command
from kit.cli.call import say, suggest

if TYPE_CHECKING:
    from rich.table import Table

    from kit.models.options import Option

WIDTH = 100  # characters, at most: longer lines are hard to read
NARROW = 70  # characters, below which only names and sentences have room
INDENT = "    "


@command("models", panel=TRAIN, example="models linear_probe")
def models_(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="One of them: every option it has.")] = None,
) -> None:
    """List the models; or every option of one of them: type, default, meaning."""
    from dataclasses import asdict

    from kit.config.toml import toml_value
    from kit.core import terminal
    from kit.models import MODELS
    from kit.models.options import describe_model, example_run, first_options, list_options

    if name is None:
        known = {model: {"summary": describe_model(model), "tasks": MODELS[model].tasks} for model in MODELS}
        say(_table(known), known)
        suggest("models", "linear_probe")
        return
    options, first = list_options(name), first_options(name)
    width, example = min(terminal.out.width, WIDTH), example_run(name)
    rest = [option for option in options if option not in first]
    table = [f"[runs.my_{name}]", *(f"{key} = {toml_value(value)}" for key, value in example.items())]
    lines = [*textwrap.wrap(f"{name}: {describe_model(name)}", width), "", "to copy into competition.toml:", ""]
    lines += [*table, "", f"what matters first:{'' if rest else ' that is all'}", "", *_lines(first, width)]
    lines += ["", "all other keys:", "", *_lines(rest, width)] if rest else []
    text = "\n".join(lines)
    document = {"model": name, "summary": describe_model(name), "tasks": MODELS[name].tasks}
    document |= {"first": [option.name for option in first], "example": example}
    say(text, document | {"options": [asdict(option) for option in options]})
    terminal.note(
        "every run may also have pseudo, use_test_images, bags, seeds, refit, exclude and search: kit/config/README.md"
    )


def _table(models: dict[str, dict[str, Any]]) -> Table:
    """Return a line per model."""
    from kit.core import terminal
    from kit.core.names import MULTILABEL

    rows = {name: ("yes" if MULTILABEL in facts["tasks"] else "", facts["summary"]) for name, facts in models.items()}
    headers = ["model", "several labels", "what it does"]
    if terminal.out.width < NARROW:
        headers, rows = [headers[0], headers[2]], {name: cells[1:] for name, cells in rows.items()}
    table = terminal.empty_table()
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header == "model")
    for name, cells in rows.items():
        table.add_row(name, *map(terminal.escape, cells))
    return table


def _lines(options: list[Option], width: int) -> list[str]:
    """Return each option with its default and type, and below it what it means."""
    lines = []
    for option in options:
        head = f"{option.name}: required" if option.is_required else f"{option.name} = {_toml(option.default)}"
        lines += textwrap.wrap(f"{head}   ({option.type})", width, subsequent_indent=INDENT)
        lines += textwrap.wrap(option.meaning, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def _toml(value: Any) -> str:
    """Return a default as TOML writes it; what is left out of the table is none."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)
