"""The command line: one subcommand per stage, in pipeline order.

Results go to stdout, everything else to stderr. Exit code 0 when the thing asked for was done, 1 for a failure, 2 for
a mistake to mend, 130 when it was stopped. Modules are imported inside the command that needs them, so that
``--help`` is instant.
"""

from __future__ import annotations

import errno
import functools
import signal
import sys
from typing import Any, NoReturn

from typer._completion_classes import completion_init
from typer.main import get_command

from kit.api.place import blame
from kit.cli.app import app
from kit.cli.call import options
from kit.cli.completion import VARIABLE
from kit.cli.streams import STDOUT, ReaderGone, drop_stdout, open_streams
from kit.core.errors import InputError, LeakFound, Stopped, TimeIsUp
from kit.core.installed import naming_absent
from kit.core.names import PROGRAM
from kit.core.process import set_up_process

# isort: off
# the order of the commands is that of --help
from kit.cli import everything, start, plan, device, data, models, train, share, tune, leaderboard  # noqa: F401
from kit.cli import history, status, report  # noqa: F401
from kit.cli import decisions, correlation, explain, kaggle, bundle, remote, prompts, mine, triage, house  # noqa: F401
# isort: on

PLACE_ERRORS = {  # what is wrong with the place that was written to, and what to do
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOENT: "make it, or choose another --workspace",
    errno.EISDIR: "move that folder away",
    errno.EEXIST: "move that file away",
    errno.ELOOP: "mend that link, which leads back to itself",
} | dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR), "choose another --workspace")


def main() -> None:
    """Run a command; turn what went wrong into one message and an exit code."""
    open_streams()
    set_up_process()
    signal.signal(signal.SIGINT, _stop)
    try:
        try:
            completion_init()
            with naming_absent("this command"):
                _all_commands()(sys.argv[1:] or ["--help"], prog_name=PROGRAM, complete_var=VARIABLE)
        finally:
            sys.stdout.flush()  # what cannot be written is found out here, not when Python has ended
    except InputError as error:
        _fail(blame(str(error), options.changes), 2)
    except (LeakFound, TimeIsUp, RuntimeError) as error:
        _fail(str(error), 1)
    except ReaderGone:  # as `| head` leaves it: what was asked for is done
        drop_stdout()
        sys.exit(0)
    except OSError as error:
        _fail_at(error)
    except Stopped:
        _fail("stopped; what was computed is kept, the next call goes on", 130)


@functools.cache
def _all_commands() -> Any:
    """Return what reads the command line; made once, since a process may call `main` many times."""
    return get_command(app)


def _fail_at(error: OSError) -> None:
    """Name the place that could not be read or written; an error without one, and of no known kind, is a bug."""
    if error.filename == STDOUT:
        drop_stdout()
        _fail(f"{STDOUT}: {error.strerror}; the result could not be printed, what was written to files is whole", 2)
    if error.filename is None and error.errno not in PLACE_ERRORS:
        raise error
    place = error.filename2 or error.filename or options.workspace
    remedy = PLACE_ERRORS.get(error.errno or 0)
    if remedy is None:
        _fail(f"{place}: {error.strerror or error}; what was written before is whole", 1)
    _fail(f"{place}: {error.strerror}; what was written before is whole, {remedy}", 2)


def _stop(*_: object) -> None:
    """End on Ctrl-C with our own exception: Typer swallows KeyboardInterrupt."""
    raise Stopped


def _fail(message: str, code: int) -> NoReturn:
    from kit.core import terminal

    terminal.fail(message)
    sys.exit(code)
