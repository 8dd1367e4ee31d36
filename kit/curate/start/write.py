"""Write a first competition: what was inferred of a folder becomes competition.toml and a prompt list.

Writes ``NAME/competition.toml`` and ``NAME/prompts/first.toml``; everything in them can be corrected there.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from kit.config.competition import HOME, RUN_NAME
from kit.config.toml import toml_text
from kit.core.errors import InputError
from kit.core.files import Workspace, write_atomic
from kit.core.names import COMPETITION_FILE, MULTICLASS, MULTILABEL
from kit.curate.start.hints import LABELED, TEST, UNLABELED
from kit.curate.start.layout import Layout
from kit.curate.start.templates import (
    FORESTS,
    LABEL_SETS,
    NEIGHBOURS,
    PROMPT_LIST,
    PSEUDO,
    SPREADING,
    TEMPLATES,
    TOML,
    toml_source,
)
from kit.kaggle.client.slug import read_slug


def write_competition(
    name: str, layout: Layout, home: Path, slug: str | None = None, workspace: Workspace | None = None
) -> Path:
    """Write ``competition.toml`` and ``prompts/first.toml`` of a new competition; return its folder.

    Where images have several labels there is no prompt list: words choose one class.

    Parameters
    ----------
    name
        Letters, digits, ``-`` and ``_``.
    home
        The folder of competitions, of the kit or of the workspace; ``home/name`` is written.
    slug
        Kaggle's name for the competition, or its address.
    workspace
        Data inside it are named relative to it, so that it can be moved; else by their absolute path.

    Raises
    ------
    InputError
        When the name or slug cannot be one, or another competition has that name.
    """
    check_competition_name(name, home)
    folder = home / name
    file, prompts = folder / COMPETITION_FILE, folder / "prompts" / "first.toml"
    text = _compose(name, layout, read_slug(slug) if slug else None, workspace)
    if file.exists() and file.read_bytes() != text.encode():
        raise InputError(f"{file} is there already and says something else; choose another name or delete it")
    if layout.task == MULTICLASS and not prompts.exists():  # words somebody wrote are never lost
        with write_atomic(prompts, "w") as opened:
            opened.write(_compose_prompts(layout.classes))
    with write_atomic(file, "w") as opened:
        opened.write(text)
    return folder


def check_competition_name(name: str, home: Path) -> None:
    """Refuse what cannot be the name of a new competition in the folder `home`.

    InputError where it is no folder's name, or that of a competition which comes with the kit.
    """
    if not RUN_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a competition: letters, digits, - and _, a letter or digit first")
    if HOME.resolve() != home.resolve() and (HOME / name / COMPETITION_FILE).exists():
        raise InputError(f"{name!r} is one of the kit's own competitions; choose another name")


def _compose(name: str, layout: Layout, slug: str | None, workspace: Workspace | None) -> str:
    """Return the text of competition.toml."""
    root = layout.root
    if workspace and root.is_relative_to(workspace.root.resolve()):
        root = root.relative_to(workspace.root.resolve())
    sources = {
        "root": root.as_posix(),
        LABELED: layout.labeled,
        UNLABELED: layout.unlabeled,
        TEST: layout.test,
        "sample_submission": layout.sample_submission,
        "solution": layout.solution,
        "hierarchy": layout.hierarchy,
    }
    template = LABEL_SETS if layout.task == MULTILABEL else TOML
    return template.format(
        title=toml_text(slug or name),
        slug=f"slug = {toml_text(slug)}\n" if slug else "",
        data="".join(f"{key} = {toml_source(source)}\n" for key, source in sources.items() if source),
        forests=FORESTS,
        spreading=SPREADING if layout.unlabeled else "",
        neighbours=NEIGHBOURS if layout.unlabeled else "",
        pseudo=PSEUDO if layout.unlabeled else "",
    )


def _compose_prompts(classes: tuple[str, ...]) -> str:
    """Return the text of a first prompt list; classes that would share a word keep their names."""
    spoken = {name: " ".join(re.sub("[_-]", " ", name).split()) for name in classes}
    n_owners = Counter(spoken.values())
    words = {name: word if word and n_owners[word] == 1 else name for name, word in spoken.items()}
    return PROMPT_LIST.format(
        templates=", ".join(map(toml_text, TEMPLATES)),
        words="\n".join(f"{toml_text(name)} = [{toml_text(word)}]" for name, word in words.items()),
    )
