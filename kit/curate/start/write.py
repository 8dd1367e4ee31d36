"""Write a first competition: what was inferred of a folder becomes competition.toml and a prompt list.

Writes ``NAME/competition.toml``, a comment above each choice, and ``NAME/prompts/first.toml``; all of it can be
corrected there.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kit.config.competition import HOME, RUN_NAME
from kit.config.toml import toml_text
from kit.core.errors import InputError, some
from kit.core.files import Workspace, write_atomic
from kit.core.names import COMPETITION_FILE, MULTICLASS
from kit.core.terminal import note, warn
from kit.curate.plan import head_of, is_all_planned
from kit.curate.start.choices import Choice
from kit.curate.start.layout import Layout
from kit.curate.start.roles import LABELED, TEST, UNLABELED
from kit.curate.start.templates import HEAD, PROMPT_LIST, TEMPLATES, draft_runs, toml_source
from kit.data.class_names import are_codes
from kit.features.prompts import read_prompts
from kit.kaggle.client.slug import read_slug

WIDTH = 118
FOLDS = 5


def write_competition(
    name: str,
    layout: Layout,
    home: Path,
    slug: str | None = None,
    workspace: Workspace | None = None,
    force: bool = False,
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
        Kaggle's name for the competition, or its address; that of the layout by default.
    workspace
        Data inside it are named relative to it, so that it can be moved; else by their absolute path.
    force
        Write over a competition.toml that says something else.

    Raises
    ------
    InputError
        When the name or slug cannot be one, or another competition has that name.
    """
    check_competition_name(name, home)
    folder = home / name
    file, prompts = folder / COMPETITION_FILE, folder / "prompts" / "first.toml"
    slug = slug or layout.slug
    text = _compose(name, layout, read_slug(slug) if slug else None, workspace)
    if file.exists() and not force and not _is_the_same(file.read_text(encoding="utf-8-sig"), text):
        remedy = "choose another name, delete it, or write over it with --force"
        raise InputError(f"{file} is there already and says something else; {remedy}")
    if layout.task == MULTICLASS and not _keep_words(prompts, layout.classes, force):
        with write_atomic(prompts, "w") as opened:
            opened.write(compose_prompts(layout.classes, layout.words))
        if not has_words(layout):
            cause = (
                f"classes such as {some(map(repr, layout.classes), 3)} are codes, which say nothing to a text encoder"
            )
            warn(f"{prompts}: {cause}: no run reads this list until words stand in it")
    with write_atomic(file, "w") as opened:
        opened.write(text)
    return folder


def _is_the_same(there: str, text: str) -> bool:
    """Tell whether a competition.toml says the same: to the letter, or but for runs that were planned since."""
    return there == text or (is_all_planned(there) and head_of(there) == head_of(text))


def check_competition_name(name: str, home: Path) -> None:
    """Refuse what cannot be the name of a new competition in the folder `home`.

    InputError where it is no folder's name, or that of a competition which comes with the kit.
    """
    if not RUN_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a competition: letters, digits, - and _, a letter or digit first")
    if HOME.resolve() != home.resolve() and (HOME / name / COMPETITION_FILE).exists():
        raise InputError(f"{name!r} is one of the kit's own competitions; choose another name")


def has_words(layout: Layout) -> bool:
    """Tell whether the classes are called something that a text encoder may know."""
    return not are_codes([layout.words.get(name, name) for name in layout.classes])


def _keep_words(prompts: Path, classes: tuple[str, ...], force: bool) -> bool:
    """Tell whether a prompt list is there: nothing written is lost, other classes are put aside."""
    if not prompts.exists() or not force:
        return prompts.exists()
    try:
        read_prompts(prompts.parent, prompts.stem, classes)
    except InputError as error:
        aside = prompts.with_name(f"{prompts.name}.old")
        prompts.replace(aside)
        note(f"{error}; it is kept as {aside.name}, and written anew")
        return False
    return True


def _compose(name: str, layout: Layout, slug: str | None, workspace: Workspace | None) -> str:
    """Return the text of competition.toml."""
    root = layout.root
    if workspace and root.is_relative_to(workspace.root.resolve()):
        root = root.relative_to(workspace.root.resolve())
    reasons = {choice.question: choice for choice in layout.choices}
    facts = [("title", toml_text(slug or name), None)]
    facts += [("slug", toml_text(slug), reasons.get("slug"))] if slug else []
    facts += [("task", toml_text(layout.task), None), ("metric", toml_text(layout.metric), reasons.get("metric"))]
    sources = {
        "root": (root.as_posix(), None),
        LABELED: (layout.labeled, reasons.get("label")),
        UNLABELED: (layout.unlabeled, None),
        TEST: (layout.test, reasons.get("test")),
        "sample_submission": (layout.sample_submission, reasons.get("form")),
        "solution": (layout.solution, None),
        "hierarchy": (layout.hierarchy, None),
        "names": (layout.names, reasons.get("words")),
    }
    data = [(key, toml_source(source), choice) for key, (source, choice) in sources.items() if source]
    folds = [("n", str(layout.n_folds or FOLDS), _if_offered(reasons.get("folds"))), ("seed", "0", None)]
    folds += [("group", toml_text(layout.group), reasons.get("group"))] if layout.group else []
    submission = ""
    if layout.positive:
        submission = "\n# What a submission holds.\n[submission]\n"
        submission += _lines([("positive", toml_text(layout.positive), reasons.get("positive"))])
    runs = draft_runs(layout.task, bool(layout.unlabeled), has_words(layout))
    return HEAD.format(
        facts=_lines(facts), data=_lines(data), folds=_lines(folds), submission=f"{submission}\n", runs=runs
    ).replace("\n\n\n", "\n\n")


def _if_offered(choice: Choice | None) -> Choice | None:
    """Return the choice of folds where the organisers have their own."""
    return choice if choice and choice.option else None


def _lines(keys: list[tuple[str, str, Choice | None]]) -> str:
    """Return the lines of a table, the reason above each key that has one."""
    lines = []
    for key, value, choice in keys:
        if choice is not None:
            correct = f"; correct it here or with {choice.option}" if choice.option else ""
            reason = f"{choice.question}: {choice.reason}{correct}"
            lines += textwrap.wrap(" ".join(reason.split()), WIDTH, initial_indent="# ", subsequent_indent="#   ")
        lines.append(f"{key} = {value}")
    return "\n".join(lines) + "\n"


def compose_prompts(classes: tuple[str, ...], words: Mapping[str, str]) -> str:
    """Return the text of a first prompt list; classes that would share a word keep their names."""
    spoken = {name: " ".join(re.sub("[_-]", " ", words.get(name, name)).split()) for name in classes}
    n_owners = Counter(spoken.values())
    chosen = {name: word if word and n_owners[word] == 1 else name for name, word in spoken.items()}
    return PROMPT_LIST.format(
        templates=", ".join(map(toml_text, TEMPLATES)),
        words="\n".join(f"{toml_text(name)} = [{toml_text(word)}]" for name, word in chosen.items()),
    )
