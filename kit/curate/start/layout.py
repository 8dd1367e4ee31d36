"""Infer the layout of a folder of images: each question answered by the files, with its evidence.

Reads the names of files (archives are listed, not unpacked) and the tables beside them; unpacks the archive that it is
given. The result is a `Layout`, for a person to confirm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from kit.config.data import ClassNames, Listing
from kit.core.errors import InputError, nearest, some
from kit.core.names import MULTICLASS, MULTILABEL
from kit.curate.start.cells import PATH, are_paths
from kit.curate.start.choices import Answers, Choice
from kit.curate.start.columns import ID_COLUMNS, LABEL_COLUMNS
from kit.curate.start.folders import find_class_folders, find_named
from kit.curate.start.groups import choose_group, offer_folds
from kit.curate.start.hints import explain_ids
from kit.curate.start.listed import Labeled, find_listed
from kit.curate.start.roles import LABELED, TEST, UNLABELED, VALIDATION, find_roles
from kit.curate.start.samples import Sample, find_sample, find_solution, guess_metric
from kit.curate.start.splits import Found, Source, find_pool, find_test, find_validation
from kit.curate.start.survey import Survey, survey_folder
from kit.curate.start.words import Words, find_words
from kit.data.class_names import are_codes
from kit.data.table.archives import is_archive
from kit.data.table.sources import list_folders

ASIDE_DEPTH = 2  # of the folders that are told apart
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


@dataclass(frozen=True)
class Layout:
    """Hold what was inferred of a folder of images.

    Parameters
    ----------
    labeled, unlabeled, test
        As in ``[data]`` of competition.toml: a folder, several folders or a listing, relative to `root`.
    counts
        Images by split: labeled, unlabeled, test, validation.
    validation
        Folders of validation images, which nothing reads.
    task
        ``"multilabel"`` where a CSV gives images several labels.
    hierarchy
        The separator of labels that are paths, or None.
    metric, group, positive, slug
        Of competition.toml; None where it shall not say.
    n_folds
        Of the organisers' folds, where `group` is their column; else None.
    names, words
        The file that says what the classes' codes mean, and the words themselves.
    choices
        Every question with its evidence.
    left_aside
        How many images and other files nothing reads, by kind.
    """

    root: Path
    labeled: str | Listing
    classes: tuple[str, ...]
    counts: dict[str, int]
    unlabeled: Source = None
    test: Source = None
    validation: tuple[str, ...] = ()
    sample_submission: str | None = None
    solution: str | None = None
    task: str = MULTICLASS
    hierarchy: str | None = None
    metric: str = "accuracy"
    group: str | None = None
    n_folds: int | None = None
    positive: str | None = None
    slug: str | None = None
    names: str | ClassNames | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    left_aside: Mapping[str, int] = field(default_factory=dict)

    def choice(self, question: str) -> Choice:
        """Return what was chosen for a question."""
        return next(choice for choice in self.choices if choice.question == question)


def infer_layout(data: Path, unpack_to: Path | None = None, answers: Answers | None = None) -> Layout:
    """Infer which files of a folder are labelled, unlabelled and test images, and what else the files tell.

    Labels are class folders (``train/<class>/``, ``<class>/``), a table whose ids are image files, or the beginnings of
    file names; where a table and folders name different classes, the table is believed.

    Parameters
    ----------
    data
        A folder, or a zip or tar archive.
    unpack_to
        Where an archive is unpacked: the workspace's ``data/NAME``.
    answers
        What a person says; the files tell the rest.

    Raises
    ------
    InputError
        When there is no file, no image, or nothing that labels images, when two answers are as likely, or when an
        answer fits nothing; the message tells what was looked for.
    """
    answers = answers or Answers()
    survey = survey_folder(data, unpack_to)
    sample = find_sample(survey)
    classes = set(sample.columns) if sample and len(sample.columns) > 1 else (sample.tokens if sample else set())
    roles = find_roles(survey.tree, classes)
    labeled, label = _choose_labeled(survey, roles, sample, answers, classes)
    test = find_test(survey, roles, sample, labeled)
    pool = find_pool(survey, roles, labeled, test)
    validation = find_validation(survey, roles, labeled.names | pool.names | test.names)
    _refuse_unreadable(survey.root, labeled, test, pool, validation)
    return _compose(data, survey, sample, answers, labeled, label, test, pool, validation)


def _compose(
    data: Path,
    survey: Survey,
    sample: Sample | None,
    answers: Answers,
    labeled: Labeled,
    label: Choice,
    test: Found,
    pool: Found,
    validation: Found,
) -> Layout:
    """Return the layout with what follows from the labels: groups, words, metric, positive class, slug."""
    assert labeled.source is not None
    classes = tuple(sorted(labeled.classes))
    task = answers.task or labeled.task
    rows = _rows_of(survey, labeled.source)
    spare = _columns_of(labeled.source)
    group, words = choose_group(rows, spare, answers), find_words(survey, labeled.source, classes)
    metric, positive = _choose_metric(sample, task, classes, answers), _choose_positive(sample, classes, answers)
    slug, folds = _choose_slug(data, answers), offer_folds(rows, spare)
    counts = {
        LABELED: len(labeled.labels),
        UNLABELED: pool.n_images,
        TEST: test.n_images,
        VALIDATION: validation.n_images,
    }
    questions = [label, _explain_ids(labeled), _explain_test(test, sample), group, metric]
    questions += [
        _explain_folds(group, folds),
        _explain_words(words, classes),
        _explain_form(sample, task, classes, metric.value),
    ]
    aside = _count_aside(survey, labeled, test, pool)
    return Layout(
        root=survey.root,
        labeled=labeled.source,
        classes=classes,
        counts=counts,
        unlabeled=pool.source,
        test=test.source,
        validation=validation.source if isinstance(validation.source, tuple) else (),
        sample_submission=sample.file if sample else None,
        solution=find_solution(survey.tables),
        task=task,
        hierarchy=PATH if task == MULTILABEL and are_paths(labeled.classes) else None,
        metric=metric.value,
        group=group.value or None,
        n_folds=folds[1] if folds and group.value == folds[0] else None,
        positive=positive.value or None if positive else None,
        slug=slug.value if slug else None,
        names=words.source,
        words=words.of_class,
        choices=(*questions, *filter(None, (positive, slug))),
        left_aside=aside,
    )


def _choose_labeled(
    survey: Survey, roles: dict[str, list[str]], sample: Sample | None, answers: Answers, classes: set[str]
) -> tuple[Labeled, Choice]:
    """Return the labelled images and why: a table is believed where folders name other classes, or it names groups."""
    listed = find_listed(survey, roles, sample, answers)
    folders = find_class_folders(survey, roles, classes)
    best = listed[0] if listed else Labeled(None)
    options = {"label": "--label COLUMN", "id": "--id COLUMN"}
    rejected = list(best.rejected)
    if best.source is None or (_agree(best, folders) and not _adds_groups(survey, best, answers)):
        if best.source is not None:
            rejected = [f"{_show_label(best)}, which says the same"]
        best = folders if folders.source is not None else best
    elif folders.source is not None:
        rejected.append(f"class folders in {folders.source!r}" if isinstance(folders.source, str) else "folders")
    if best.source is None:
        best = find_named(survey, roles)
    if best.source is None:
        raise next(iter(survey.complaints.values()), None) or _no_labels(survey)
    rejected += [_show_label(other) for other in listed[1:] if other is not best][:3]
    return best, Choice("label", _show_label(best), best.evidence, tuple(rejected), options["label"])


def _agree(listed: Labeled, folders: Labeled) -> bool:
    """Tell whether class folders say of every listed image what the table says."""
    if folders.source is None or listed.task != MULTICLASS or listed.classes != folders.classes:
        return False
    return all(folders.labels.get(name) == of_image for name, of_image in listed.labels.items())


def _adds_groups(survey: Survey, listed: Labeled, answers: Answers) -> bool:
    """Tell whether a table says more than folders: which images belong together, or what was asked for by name."""
    rows = _rows_of(survey, listed.source)
    return bool(answers.label or choose_group(rows, _columns_of(listed.source), answers).value)


def _show_label(labeled: Labeled) -> str:
    """Return where labels come from, as a message names it."""
    source = labeled.source
    if not isinstance(source, Listing):
        return f"class folders in {source!r}"
    if source.csv is None:
        return f"names in {source.images!r}"
    label = source.label if isinstance(source.label, str) else f"{len(labeled.classes)} columns"
    return f"{source.csv}:{label}"


def _rows_of(survey: Survey, source: str | Listing | None) -> pd.DataFrame | None:
    """Return the rows of the table that lists images; None where none does."""
    return survey.tables[source.csv] if isinstance(source, Listing) and source.csv else None


def _columns_of(source: str | Listing | None) -> set[str]:
    """Return the columns of ids and labels."""
    if not isinstance(source, Listing):
        return set()
    labels = [source.label] if isinstance(source.label, str) else source.label or []
    return {name for name in (source.id, source.file, *labels) if name}


def _explain_ids(labeled: Labeled) -> Choice:
    """Return how images are named."""
    source = labeled.source
    if not isinstance(source, Listing) or source.csv is None:
        return Choice("ids", "the files' names", "no table lists the labelled images")
    if source.form == "pixels":
        return Choice(
            "ids", source.id or "the rows, counted", f"the pixels stand in {source.csv}", option="--id COLUMN"
        )
    n, where = len(labeled.labels), some(list_folders(source), 3)
    return Choice("ids", f"{source.csv}:{source.id}", f"{n:,} of its cells name an image in {where}", (), "--id COLUMN")


def _explain_test(test: Found, sample: Sample | None) -> Choice:
    """Return which images are tested."""
    others = tuple(sample.others) if sample else ()
    return Choice("test", f"{test.n_images:,} images" if test.source else "", test.evidence, others)


def _explain_folds(group: Choice, folds: tuple[str, int] | None) -> Choice:
    """Return how images are split, and the organisers' folds on offer."""
    if folds is None:
        return Choice("folds", "5, stratified", "no column of folds is given")
    if group.value == folds[0]:
        return Choice("folds", f"{folds[1]}, the organisers'", f"--group {folds[0]}")
    why = f"column {folds[0]!r} holds the organisers' {folds[1]} folds"
    return Choice("folds", "5, stratified", why, option=f"--group {folds[0]} keeps them")


def _explain_words(words: Words, classes: tuple[str, ...]) -> Choice:
    """Return what the classes are called."""
    if words.source is None:
        why = "codes that no file explains: words are yours to write" if are_codes(classes) else "their names"
        return Choice("words", "", why)
    shown = words.source if isinstance(words.source, str) else f"{words.source.csv}:{words.source.name}"
    first = next(iter(words.of_class.items()))
    return Choice("words", shown, f"it names {first[0]!r} {first[1]!r}", words.rejected)


def _explain_form(sample: Sample | None, task: str, classes: tuple[str, ...], metric: str) -> Choice:
    """Return what a submission looks like."""
    if sample is None:
        why = "there is no sample submission; ids are written without folder and suffix, or as its own are"
        return Choice("form", "id and label", why, option="a sample_submission.csv", is_guess=True)
    if len(sample.columns) > 1:
        return Choice("form", f"{len(sample.columns)} columns of numbers", f"{sample.file} has so many")
    if sample.is_decimal and len(classes) == 2:
        return Choice("form", "one number per image", f"{sample.file} holds {min(sample.cells)}")
    several = task == MULTILABEL or metric.startswith("map@")
    shown = next(iter(sorted(sample.cells)), "")
    return Choice("form", "labels in one cell" if several else "a label per image", f"{sample.file} holds {shown!r}")


def _choose_metric(sample: Sample | None, task: str, classes: tuple[str, ...], answers: Answers) -> Choice:
    """Return the metric: the answer, else the likeliest."""
    option = "--metric NAME"
    if answers.metric:
        return Choice("metric", answers.metric, option, option=option)
    guess = guess_metric(sample, task == MULTILABEL, classes)
    return Choice("metric", guess.metric, f"{guess.evidence}; the Evaluation page names it", (), option, is_guess=True)


def _choose_positive(sample: Sample | None, classes: tuple[str, ...], answers: Answers) -> Choice | None:
    """Return the class that one number per image is the probability of; None where there is no such number."""
    option = "--positive CLASS"
    if answers.positive:
        if answers.positive not in classes:
            raise InputError(f"--positive {answers.positive}: not a class; {nearest(answers.positive, classes)}")
        return Choice("positive", answers.positive, option, option=option)
    if sample is None or sample.label is None or len(classes) != 2 or not sample.is_decimal:
        return None
    if sample.label in classes:
        return Choice("positive", sample.label, f"the column of {sample.file}", option=option)
    if set(classes) <= {"0", "1", "0.0", "1.0", "False", "True", "false", "true"}:
        return Choice("positive", classes[-1], f"{sample.label!r} is 1 or true of it", (classes[0],), option)
    return Choice("positive", classes[-1], "the class that sorts last", (classes[0],), option, is_guess=True)


def _choose_slug(data: Path, answers: Answers) -> Choice | None:
    """Return Kaggle's name: the answer, else that of a folder that looks so."""
    if answers.slug:
        return Choice("slug", answers.slug, "--slug", option="--slug NAME")
    name = data.name if data.is_dir() else re.sub(r"(\.tar)?\.\w+$", "", data.name)
    if SLUG.fullmatch(name):
        return Choice("slug", name, "the folder is called so", (), "--slug NAME", is_guess=True)
    return None


def _count_aside(survey: Survey, labeled: Labeled, test: Found, pool: Found) -> dict[str, int]:
    """Return how many images of each folder, and other files by suffix, no split has."""
    read = labeled.names | test.names | pool.names
    aside: dict[str, int] = {}
    for name in survey.names:
        if name not in read:
            where = f"images in {'/'.join(name.split('/')[:-1][:ASIDE_DEPTH]) or '.'}"
            aside[where] = aside.get(where, 0) + 1
    return aside | {f"{suffix} files": n for suffix, n in survey.n_others.most_common()}


def _no_labels(survey: Survey) -> InputError:
    """Return the error where nothing labels the images."""
    return InputError(
        f"{survey.root}: no labels found: neither class folders (train/<class>/, or <class>/) nor a CSV with a "
        f"column of image names ({some(ID_COLUMNS, 3)}, ...) and one of classes ({some(LABEL_COLUMNS, 3)}, ...); "
        f"found {survey.show()}{explain_ids(survey)}"
    )


def _refuse_unreadable(root: Path, labeled: Labeled, test: Found, pool: Found, validation: Found) -> None:
    """Refuse what the image table could not read: class folders beside validation images, folders inside archives."""
    beside = [path for path in validation.source or () if (str(path).rpartition("/")[0] or ".") == labeled.source]
    if beside:
        remedy = "move the class folders into a folder of their own, such as train/"
        raise InputError(f"{root}: the class folders lie beside {some(beside)}; {remedy}")
    for source in (labeled.source, pool.source, test.source):
        for path in list_folders(source):
            above = next((above for above in PurePosixPath(path).parents if is_archive(above.name)), None)
            if above is not None:
                remedy = f"unpack it, or give it instead of the folder: --data {root / above}"
                raise InputError(f"{root}: the images lie in {path!r}, inside {above}; {remedy}")
