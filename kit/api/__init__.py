"""The kit from Python: `open` or begin a competition, and do with it what the commands do.

Names are found in `kit` itself, without importing what they need before they are called::

    import kit

    flowers = kit.new("flowers", name="flowers")  # or a DataFrame of paths and labels
    flowers.all(time_limit="30m")
    flowers.leaderboard()

- `place`: where a call works and whom it waits for. `stages`, `sending`, `starting`: what both faces call.
- `competition`: the object, upon `opened`. `tables`, `pictures`: what it returns. `fresh`: images that it predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kit.api.competition import Competition
from kit.api.opened import Changes
from kit.api.pictures import Mistakes, Page
from kit.core.errors import DamagedFile, InputError, LeakFound, MissingWeights, TeacherMissing, TimeIsUp
from kit.core.installed import naming_absent

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Competition",
    "DamagedFile",
    "InputError",
    "LeakFound",
    "Mistakes",
    "MissingWeights",
    "Page",
    "TeacherMissing",
    "TimeIsUp",
    "competitions",
    "new",
    "open",
    "silenced",
]


def open(
    name: str | Path,
    *,
    workspace: str | Path | None = None,
    changes: Changes = (),
    seed: int | None = None,
    quiet: bool = False,
) -> Competition:
    """Open a competition by its name, or by the path of its folder; see `Competition` for the parameters.

    InputError where there is none, or its competition.toml is refused.

    Examples
    --------
    >>> kit.open("digits", workspace=folder).name
    'digits'
    >>> kit.open("digit", workspace=folder)
    Traceback (most recent call last):
    kit.core.errors.InputError: no competition 'digit'; did you mean 'digits'?...
    """
    return Competition(name, workspace, changes, seed, quiet)


def new(
    data: str | Path | pd.DataFrame,
    name: str,
    *,
    test: str | Path | pd.DataFrame | None = None,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
    metric: str | None = None,
    positive: str | None = None,
    task: str | None = None,
    slug: str | None = None,
    preset: str = "good",
    time: str | None = None,
    weights: str | Path | None = None,
    test_images: bool = True,
    force: bool = False,
    workspace: str | Path | None = None,
    quiet: bool = False,
) -> Competition:
    """Begin a competition: infer what the files are, plan runs for this machine, write competition.toml.

    Parameters
    ----------
    data
        A folder of images, an archive of one, or a DataFrame with a column of paths and one of labels; rows without a
        label are unlabelled images. Images stay where they are.
    test
        Test images beside a DataFrame: another one, or a folder.
    label, id, group
        Columns, where they cannot be found by their names.
    metric, positive, task, slug
        What no file says: as in competition.toml.
    preset, time, weights, test_images
        Of the plan: ``"quick"``, ``"good"`` or ``"best"``; a duration; a folder of weights; whether test images may
        serve as unlabelled ones.
    force
        Write over a competition of that name.

    Raises
    ------
    InputError
        When the files cannot be understood, or the name is taken.

    Examples
    --------
    >>> labeled = digits.images.dropna(subset="label")[["path", "label"]]
    >>> mine = kit.new(labeled, "mine", preset="quick", workspace=folder, quiet=True)
    >>> mine
    <kit.Competition 'mine': 10 classes, 150 labeled, 0 unlabeled, 0 test>
    """
    from kit.api.place import workspace_folder
    from kit.api.starting import read_wishes, start_folder, start_frame
    from kit.core.files import Workspace
    from kit.curate.start import Answers

    place = Workspace(workspace_folder(workspace))
    answers = Answers(label, id, group, metric, positive, task, slug)
    wishes = read_wishes(preset, time, Path(weights) if weights else None, test_images)
    with silenced(quiet), naming_absent("this call"):
        if isinstance(data, str | Path):
            if test is not None:
                raise InputError("test names test images beside a DataFrame; those of a folder are found in it")
            start_folder(name, Path(data), place, answers, wishes, force)
        elif not hasattr(data, "columns"):
            raise InputError(
                f"data is a {type(data).__name__}; give a folder, an archive, or a DataFrame: "
                'pandas.DataFrame({"path": [...], "label": [...]})'
            )
        elif not (test is None or isinstance(test, str | Path) or hasattr(test, "columns")):
            raise InputError(
                f'test is a {type(test).__name__}; give a folder, or a DataFrame: pandas.DataFrame({{"path": [...]}})'
            )
        else:
            start_frame(name, data, place, answers, wishes, force, test)
    return Competition(name, workspace, quiet=quiet)


def competitions(workspace: str | Path | None = None) -> list[str]:
    """Return the names that `open` takes: the kit's own competitions and those of the workspace.

    Examples
    --------
    >>> "digits" in kit.competitions()
    True
    """
    from kit.api.place import workspace_folder
    from kit.config.known import list_competitions
    from kit.core.files import Workspace

    return sorted(list_competitions(Workspace(workspace_folder(workspace))))


@contextmanager
def silenced(is_silent: bool = True) -> Iterator[None]:
    """Say nothing on stderr of what is done inside: no stages, no notes, no progress.

    Examples
    --------
    >>> with kit.silenced():
    ...     board = digits.leaderboard()
    """
    from kit.core import terminal

    was = terminal.err.quiet
    terminal.err.quiet = is_silent or was
    try:
        yield
    finally:
        terminal.err.quiet = was
