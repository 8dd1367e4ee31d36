"""The command line as one application: what a command looks like in ``--help``, and where global options may stand.

A command is a function under ``@command(panel=..., example=...)``; its file is imported in ``kit/cli/__init__.py``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from kit.core.errors import InputError
from kit.core.names import PROGRAM

START, TRAIN, LOOK, KAGGLE, CURATE, HOUSE = PANELS = ("Start", "Train", "Look", "Kaggle", "Curate", "House")
EXAMPLE = "Example: "

WITH_VALUE = ("--workspace", "--set", "--seed", "--engine", "--address")
FLAGS = ("--strict", "--quiet", "--json")
SWITCH_WORDS = ("true", "false", "yes", "no", "on", "off")

EPILOG = (
    "COMP is a name under kit/competitions or a folder holding competition.toml. Global options may stand before or "
    "after the command.\n\n"
    "Exit codes: 0 done; 1 a failure, or a leak that was found; 2 a mistake to mend; 130 stopped, the next call goes "
    "on.\n\n"
    "In a pipe there are no colours, and a line every half minute in place of bars; FORCE_COLOR=1 keeps the colours, "
    "NO_COLOR=1 drops them "
    "everywhere, COLUMNS=80 sets the width."
)

running: list[Any] = []  # the command that runs, as Typer has it

Function = TypeVar("Function", bound=Callable[..., None])


def hoist(arguments: list[str]) -> list[str]:
    """Move global options in front of the command, wherever they were written; a flag with a value is an InputError."""
    _check_flags(arguments)
    return _move_to_front(arguments)


def _move_to_front(arguments: list[str]) -> list[str]:
    front, rest, ahead = [], [], iter(arguments)
    for argument in ahead:
        if argument == "--":
            rest += [argument, *ahead]
        elif argument in WITH_VALUE:
            front += [argument, *([value] if (value := next(ahead, None)) is not None else [])]
        elif argument in FLAGS or argument.startswith(tuple(f"{name}=" for name in WITH_VALUE)):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _check_flags(arguments: list[str]) -> None:
    """Refuse ``--json true`` and ``--json=true``: the word would be taken for a command."""
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, equals, _ = argument.partition("=")
        if argument == "--":
            return
        if flag in FLAGS and (equals or following.lower() in SWITCH_WORDS):
            written = argument if equals else f"{argument} {following}"
            raise InputError(f"{written}: {flag} takes no value; write it to switch it on, leave it out otherwise")


def _hide_flag_types(params: list[Any]) -> list[Any]:
    """List options without a type behind those that take no value."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


class Command(TyperCommand):
    """One command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a call; where one is missing, say how the whole call is typed."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ != "MissingParameter" or ctx.resilient_parsing:
                raise
            raise InputError(self._complete(ctx, words)) from error

    def _complete(self, ctx: Any, words: list[str]) -> str:
        """Return what a call lacks, and the call with it, its example beside it."""
        given = self.make_parser(ctx).parse_args(list(words))[0]
        lacking = [param for param in self.get_params(ctx) if param.required and not given.get(param.name)]
        named = [str(param.metavar or param.name).upper() for param in lacking]
        options = [[param.opts[0]] if param.param_type_name == "option" else [] for param in lacking]
        added = [word for option, name in zip(options, named, strict=True) for word in (*option, name)]
        call = f"{ctx.command_path} {shlex.join(words)} {' '.join(added)}".replace("  ", " ")
        what = f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} missing"
        example = (self.epilog or "").removeprefix(EXAMPLE)
        return f"{what}; type: {call}{f' (for example {example})' if example else ''}"

    def invoke(self, ctx: Any) -> Any:
        """Run it; what was given on the command line and what was not is known meanwhile."""
        running.append(ctx)
        try:
            return super().invoke(ctx)
        finally:
            running.pop()

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of a command."""
        return _hide_flag_types(super().get_params(ctx))


class Group(TyperGroup):
    """All commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the global options."""
        return _hide_flag_types(super().get_params(ctx))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the words of a call, or what is written of it when the shell asks how it may go on."""
        words = _move_to_front(args) if extra.get("resilient_parsing") else hoist(args)
        return super().make_context(info_name, words, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; say what Typer would end as a bare "Aborted."."""
        try:
            return super().invoke(ctx)
        except typer.Abort as error:
            raise InputError("the question was not answered, so it was taken for a no; nothing was done") from error
        except EOFError as error:
            raise RuntimeError(f"a file ended in the middle ({error}); {PROGRAM} check COMP looks for it") from error


app = typer.Typer(
    help="From a folder of images with few labels to a scored, valid submission.csv.",
    epilog=EPILOG,
    cls=Group,
    add_completion=False,  # `completion` has its own, which knows ./run.sh
    pretty_exceptions_enable=False,
)


def command(name: str | None = None, *, panel: str, example: str) -> Callable[[Function], Function]:
    """Add a command under a heading of ``--help``, one of `PANELS`; its name is the function's where none is given.

    `example` is a call of it to copy, without the program's name; it ends the command's own help.
    """
    return app.command(name, cls=Command, rich_help_panel=panel, epilog=f"{EXAMPLE}{PROGRAM} {example}")
