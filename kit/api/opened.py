"""What every call in Python shares: settings read anew, images read once, the runs folder, what is said and refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kit.api.place import blame, called_as, check_begun, holding, looking, workspace_folder
from kit.core.errors import InputError
from kit.core.installed import naming_absent

if TYPE_CHECKING:
    from kit.config.competition import Competition as Settings
    from kit.data.prepared import Prepared

Changes = Mapping[str, object] | Sequence[str]


class Opened:
    """A competition whose files can be read and whose workspace can be held; `Competition` does the rest."""

    def __init__(
        self,
        name: str | Path,
        workspace: str | Path | None = None,
        changes: Changes = (),
        seed: int | None = None,
        quiet: bool = False,
    ) -> None:
        from kit.core.process import set_up_process

        set_up_process()
        self.quiet = quiet
        self._asked, self._seed = str(name), seed
        self._workspace, self._changes = workspace_folder(workspace), _as_words(changes)
        self._ready: tuple[Settings, Prepared] | None = None
        with self._call("open()"):
            self._check_changed(self._settings())

    def _settings(self) -> Settings:
        """Read competition.toml."""
        from kit.config.reader import read_competition
        from kit.core.files import Workspace

        return read_competition(self._asked, Workspace(self._workspace), self._changes, self._seed)

    def _check_changed(self, settings: Settings) -> None:
        """Refuse a change of an option that the run's model does not have, before anything is computed."""
        changed = [change.partition("=")[0].strip().split(".") for change in self._changes]
        if names := {path[1] for path in changed if path[0] == "runs" and len(path) > 2}:
            from kit.runs.store.build import build_model

            for run in settings.runs.values():
                if names & {run.name, run.grid}:
                    build_model(settings, run)

    def _prepare(self, settings: Settings) -> Prepared:
        """Return the competition made ready: as it was, where competition.toml says the same."""
        from kit.data.prepared import prepare

        if self._ready is None or self._ready[0] != settings:
            self._ready = settings, prepare(settings)
        return self._ready[1]

    @contextmanager
    def _looking(self, words: str, at_runs: bool = False) -> Iterator[Prepared]:
        """Give the competition, ready to be read beside who works on it; `at_runs` needs folds that are there."""
        with self._call(words):
            settings = self._settings()
            if at_runs:
                check_begun(settings)
            with looking(settings):
                yield self._prepare(settings)

    @contextmanager
    def _holding(self, look_again: bool = False) -> Iterator[Prepared]:
        """Give the competition, alone in its workspace; `look_again` seeks altered copies before first folds."""
        from kit.api.stages import keep_copies_together

        with holding(settings := self._settings()):
            if look_again:
                keep_copies_together(settings)
            yield self._prepare(settings)

    @contextmanager
    def _call(self, words: str) -> Iterator[None]:
        """Do what a call asks: silent where that is wanted, named in `status`, refused in the command line's words."""
        from kit.core import terminal

        told, was = called_as.set(f"kit.open({self._asked!r}).{words}"), terminal.err.quiet
        terminal.err.quiet = self.quiet or was
        try:
            with naming_absent("this call"):
                yield
        except InputError as error:
            error.args = (blame(str(error), self._changes), *error.args[1:])
            raise
        finally:
            terminal.err.quiet = was
            called_as.reset(told)


def as_names(given: object, what: str, form: str) -> list[str]:
    """Return one name, or several, as a list; InputError that shows the right `form` where it is something else."""
    names = [given] if isinstance(given, str) else given
    if isinstance(names, Iterable) and not isinstance(names, Mapping | bytes):
        names = list(names)
        if all(isinstance(name, str) for name in names):
            return names
    raise InputError(f"{what} is {given!r} ({type(given).__name__}); it is to look like {form}")


def _as_words(changes: Changes) -> tuple[str, ...]:
    """Return changes as ``--set`` takes them; InputError where they are neither a dict nor texts."""
    from kit.config.toml import toml_value

    form = '{"runs.probe.C": 3} or ["runs.probe.C=3"]'
    if not isinstance(changes, Mapping):
        return tuple(as_names(changes, "changes", form))
    as_names(changes.keys(), "a key of changes", form)
    plain = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in changes.items()}  # of NumPy
    for key, value in plain.items():
        if not isinstance(value, str | bool | int | float | list | tuple | dict):
            found = f"changes[{key!r}] is {value!r} ({type(value).__name__})"
            raise InputError(f"{found}; a value is a text, a number, True or False, a list or a dict of such")
    return tuple(f"{key}={toml_value(value)}" for key, value in plain.items())
