"""A first competition: what was understood of a folder becomes competition.toml and a prompt list.

Writes ``NAME/competition.toml`` and ``NAME/prompts/first.toml``; everything in them can be corrected there.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from rich.table import Table

from kit.config.competition import HOME, RUN_NAME, Listing
from kit.config.toml import toml_text
from kit.core.errors import InputError, some
from kit.core.files import Workspace, write_atomic
from kit.core.names import COMPETITION_FILE, MULTICLASS, MULTILABEL
from kit.core.terminal import empty_table, escape
from kit.curate.start.hints import LABELED, TEST, UNLABELED, VALIDATION
from kit.curate.start.layout import Layout
from kit.kaggle.client.slug import read_slug

LABEL_SETS = """\
# What the organisers decided. `metric` stands on the competition's Evaluation page.
[competition]
title = {title}
{slug}task = "multilabel"
metric = "macro_f1"

# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds.
[folds]
n = 5
seed = 0

# One table per experiment: a model, and its options beside it. These read pixels and work offline: a floor to beat.
[runs.forest]
model = "forest"

[runs.extra_trees]
model = "forest"
trees = "extra"

# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"

[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
flip = true
balance = "sqrt_inverse"  # rare classes count more

# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of a {}.", "an image showing a {}.")

TOML = """\
# What the organisers decided. `metric` stands on the competition's Evaluation page.
[competition]
title = {title}
{slug}task = "multiclass"
metric = "accuracy"  # or macro_f1, balanced_accuracy, log_loss

# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds; n is lowered where a class has fewer images.
[folds]
n = 5
seed = 0

# One table per experiment: a model, and its options beside it. These read pixels and work offline: a floor to beat.
[runs.forest]
model = "forest"

[runs.extra_trees]
model = "forest"
trees = "extra"

[runs.svm]
model = "svm"
{spreading}
# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
# prompts = "first" is prompts/first.toml: better words for the classes are the cheapest points there are.
[runs.zero_shot]
model = "zero_shot"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"

[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
{neighbours}
[runs.wise_ft]
model = "clip_finetune"
encoder = "open_clip:ViT-B-16/openai"
prompts = "first"
flip = true  # mirror images in training; not where left and right differ, as in digits and text

[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
flip = true
{pseudo}
# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
SPREADING = """
# Learns from the unlabelled images too: labels flow to the neighbours.
[runs.label_spreading]
model = "label_spreading"
"""
NEIGHBOURS = """
# The same probe; what is said of an image flows to its neighbours, as far as the other folds show that it helps.
# use_test_images = true lets test images be neighbours too, where the rules allow it.
[runs.probe_neighbours]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
smooth = "nested"
"""
PSEUDO = """
# Learns from the unlabelled images too, with the labels its teachers agree on.
[runs.probe_pseudo]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
pseudo = { teachers = ["probe", "wise_ft"] }
"""
PROMPTS = """\
# Every word goes into every template. Several words per class are averaged: write what a caption would say.
templates = [{templates}]

[words]
{words}
"""


def describe(layout: Layout) -> Table:
    """Return a table of what was understood, for the user to confirm."""
    table = empty_table(f"what lies in {layout.root}")
    for column in ("", "where", "images", ""):
        table.add_column(column, justify="right" if column == "images" else "left", overflow="fold")
    several = ", several per image" if layout.task == MULTILABEL else ""
    classes = f"{len(layout.classes)} classes{several}: {some(layout.classes)}"
    details = {LABELED: classes, VALIDATION: "not used: the folds do its work; its images may join the labelled ones"}
    for split in (LABELED, UNLABELED, TEST, VALIDATION):
        source = getattr(layout, split)
        where = escape(_toml_source(source)) if source else "none found"
        if source or split != VALIDATION:
            n_images = f"{layout.counts[split]:,}" if source else ""
            table.add_row(split, where, n_images, escape(details.get(split, "")))
    table.add_row("sample submission", escape(layout.sample_submission or "none found"), "", "")
    if layout.solution:
        table.add_row("solution", escape(layout.solution), "", "practice: scores submissions, read by nothing else")
    return table


def write_competition(
    name: str, layout: Layout, home: Path, slug: str | None = None, workspace: Workspace | None = None
) -> Path:
    """Write ``competition.toml`` and ``prompts/first.toml`` of a new competition; return its folder.

    Where images have several labels there is no prompt list: words choose one class.

    Parameters
    ----------
    name
        Letters, digits, ``-`` and ``_``.
    layout
        What `infer_layout` understood.
    home
        The folder of competitions: that of the kit or of the workspace; ``home/name`` is written.
    slug
        Kaggle's name for the competition, or its address.
    workspace
        Data inside it are named relative to it, so that it can be moved; else by their absolute path.

    Raises
    ------
    InputError
        When the name or slug cannot be one, or another competition of that name is there.
    """
    check_name(name, home)
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


def check_name(name: str, home: Path) -> None:
    """Refuse what cannot be the name of a new competition in the folder `home`.

    Raises
    ------
    InputError
        When it is no folder's name or one of the kit's own competitions.
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
    keys = (LABELED, UNLABELED, TEST, "sample_submission", "solution", "hierarchy")
    sources = {"root": root.as_posix()} | {key: getattr(layout, key) for key in keys}
    template = LABEL_SETS if layout.task == MULTILABEL else TOML
    return template.format(
        title=toml_text(slug or name),
        slug=f"slug = {toml_text(slug)}\n" if slug else "",
        data="".join(f"{key} = {_toml_source(source)}\n" for key, source in sources.items() if source),
        spreading=SPREADING if layout.unlabeled else "",
        neighbours=NEIGHBOURS if layout.unlabeled else "",
        pseudo=PSEUDO if layout.unlabeled else "",
    )


def _toml_source(source: str | tuple[str, ...] | Listing) -> str:
    """Return a source as competition.toml writes it."""
    if isinstance(source, str):
        return toml_text(source)
    if isinstance(source, Listing):
        keys = source.model_dump(exclude_none=True)
        return "{ " + ", ".join(f"{key} = {toml_text(value)}" for key, value in keys.items()) + " }"
    return "[" + ", ".join(map(toml_text, source)) + "]"


def _compose_prompts(classes: tuple[str, ...]) -> str:
    """Return the text of a first prompt list; classes that would share a word keep their names."""
    spoken = {name: " ".join(re.sub("[_-]", " ", name).split()) for name in classes}
    n_owners = Counter(spoken.values())
    words = {name: word if word and n_owners[word] == 1 else name for name, word in spoken.items()}
    return PROMPTS.format(
        templates=", ".join(map(toml_text, TEMPLATES)),
        words="\n".join(f"{toml_text(name)} = [{toml_text(word)}]" for name, word in words.items()),
    )
