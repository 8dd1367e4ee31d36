"""Run the command line: ``python -m kit``, and the command ``kit``."""

import sys

from kit.core.errors import InputError
from kit.core.installed import prepare_python


def main() -> None:
    """See that the packages are there, then run a command."""
    try:
        prepare_python(lambda text: print(f"{'packages':<11} {text}", file=sys.stderr))
    except InputError as error:  # before the terminal's library is imported: it may be what is absent
        print(f"{'error':<11} {error}", file=sys.stderr)
        sys.exit(2)
    from kit.cli import main as run

    run()


if __name__ == "__main__":
    main()
