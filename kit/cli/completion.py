"""Shell completion: the script that a shell runs after a tab, printed or installed.

The script asks the program itself how a call may go on. It belongs to a program's name (``run.sh``, in whatever folder
it lies, or ``kit``) and calls it as it was typed; Typer's scripts for zsh and fish call a program of the PATH alone.
"""

from __future__ import annotations

from pathlib import Path

import typer

from kit.core.names import PROGRAM

NAME = Path(PROGRAM).name
VARIABLE = "_KIT_COMPLETE"  # in the environment: the shell asks
AS_TYPED = {"zsh": "${words[1]}", "fish": "(commandline -opc)[1]"}  # the first word of the line, in the shell's words


def show_completion(is_asked: bool) -> None:
    """Print the script for the shell that called, and end."""
    from typer._completion_shared import _get_shell_name, get_completion_script

    if is_asked:
        shell = _get_shell_name() or "bash"
        script = get_completion_script(prog_name=NAME, complete_var=VARIABLE, shell=shell)
        typer.echo(_call_as_typed(script, shell))
        raise typer.Exit


def install_completion(is_asked: bool) -> None:
    """Put the script where the shell that called reads it, say where, and end."""
    from typer._completion_shared import install

    if is_asked:
        shell, file = install(prog_name=NAME, complete_var=VARIABLE)
        if shell in AS_TYPED:
            file.write_text(_call_as_typed(file.read_text(encoding="utf-8"), shell), encoding="utf-8")
        typer.echo(f"completion for {shell} written to {file}; it works in the next terminal")
        raise typer.Exit


def _call_as_typed(script: str, shell: str) -> str:
    """Return a script that calls the program by the path that was typed."""
    typed = AS_TYPED.get(shell, NAME)
    return script.replace(f" {NAME})", f" {typed})").replace(f' {NAME}"', f' {typed}"')
