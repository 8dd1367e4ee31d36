"""The command line: one subcommand per stage, in pipeline order.

Results go to stdout, everything else to stderr. Exit code 0 when the thing asked for was done, 2 for bad input, 1 for
a failure. Modules are imported inside the command that needs them, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import signal
import sys

from kit.cli.call import app, options
from kit.errors import InputError, LeakFound, Stopped, TimeIsUp

# isort: off
# the order of the commands is that of --help
from kit.cli import download, data, mine, prompts, fit, correlation, results, kaggle, bundle, everything, house  # noqa: F401
# isort: on

WITH_VALUE = ("--workspace", "--set", "--seed")
FLAGS = ("--strict", "--quiet", "--json")
PLACE_ERRORS = {  # what is wrong with the place that was written to, and what to do
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOENT: "make it, or choose another --workspace",
} | dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR), "choose another --workspace")


def hoist(arguments: list[str]) -> list[str]:
    """Move global options in front of the command, wherever they were written."""
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


def main() -> None:
    """Run a command; turn what went wrong into one message and an exit code."""
    signal.signal(signal.SIGINT, _stop)
    try:
        app(hoist(sys.argv[1:]), prog_name="./run.sh")
    except InputError as error:
        _fail(str(error), 2)
    except (LeakFound, TimeIsUp, RuntimeError) as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        remedy = PLACE_ERRORS[error.errno]
        _fail(f"{error.filename or options.workspace}: {error.strerror}; what was written before is whole, {remedy}", 2)
    except Stopped:
        _fail("stopped; what was computed is kept, the next call goes on", 130)


def _stop(*_: object) -> None:
    """End on Ctrl-C with our own exception: Typer swallows KeyboardInterrupt."""
    raise Stopped


def _fail(message: str, code: int) -> None:
    from kit import terminal

    terminal.fail(message)
    sys.exit(code)
