"""``[competition]`` and ``[data]``: what the organisers decided, and where the files are."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kit.config.strict import Table
from kit.core.errors import some
from kit.scoring.metrics import check_metric_name


class Listing(Table):
    """Name the images of one split by a CSV file, or by a pattern of their files' names.

    Parameters
    ----------
    csv
        The file that lists them, below the data root: ``.csv``, ``.tsv``, either inside a zip, or a ``.json`` as COCO
        and iNaturalist write it (images, annotations, categories), whose columns `kit.data.table.records` names.
    images
        The folder that holds them, or several; searched at any depth.
    id
        Column of the image's id, by default the first; where it is its file's name, folder and suffix are optional.
    file
        Column of the file's name where that is not the id, as where a sample submission counts images of a test list.
    label
        Column of the class; by default the only one left. Unread for unlabelled and test images.
        A list of columns for those that `form` ``"columns"`` and ``"tags"`` read; all but id and group by default.
    group
        Column whose equal values must not straddle folds (a patient, a photographer).
    form
        How labels are written: ``"rows"``, a row per image and label; ``"cell"``, all in one cell; ``"columns"``, a
        column per class that holds 0 or 1, also with one label each; ``"tags"``, columns that each hold a label or
        nothing, as in Azure Custom Vision's export. By default it is inferred where there is no doubt.
        ``"shares"``: a column per class that holds the share of the raters who chose it; the image's one class is that
        of the largest share.
        ``"pixels"``: each row is an image, its grey values or colours in columns or in one cell; without a column of
        ids, these are row numbers that begin where the sample submission's do.
    separator
        Of ``"cell"``: what stands between two labels. By default it is inferred where there is no doubt.
    value
        Of ``"rows"``: the column that holds 0 where the image does not have the label of the row.
    pattern
        In place of `csv`: a regular expression, searched in each file's path below `images`, whose group
        ``(?P<label>...)`` is the class, as in ``"(?P<label>cat|dog)[.][0-9]+[.]jpg"``; ``(?P<id>...)`` and
        ``(?P<group>...)`` are optional.
    """

    csv: str | None = None
    images: str | Annotated[list[str], Field(min_length=1)] = "."
    id: str | None = None
    file: str | None = None
    label: str | Annotated[list[str], Field(min_length=1)] | None = None
    group: str | None = None
    form: Literal["rows", "cell", "columns", "tags", "shares", "pixels"] | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None
    value: str | None = None
    pattern: str | None = None

    @property
    def folders(self) -> list[str]:
        """Return the folders that hold the images."""
        return [self.images] if isinstance(self.images, str) else self.images

    @property
    def title(self) -> str:
        """Return what lists the images, for messages: the CSV, or the folders whose files' names do."""
        return self.csv or ", ".join(self.folders)

    @model_validator(mode="after")
    def _one_of_csv_and_pattern(self) -> Listing:
        if (self.csv is None) == (self.pattern is None):
            raise ValueError('a listing needs either csv = "train.csv" or pattern = "(?P<label>[a-z]+)[.][0-9]+[.]jpg"')
        if self.pattern is not None:
            self._check_pattern(self.pattern)
        if self.form == "pixels" and self.file is not None:
            raise ValueError('form = "pixels" has its images in the CSV; take out file')
        return self

    def _check_pattern(self, pattern: str) -> None:
        """Refuse a pattern that is none or names no label, and keys that name columns beside it."""
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern {pattern!r} is no regular expression ({error})") from error
        if odd := sorted(set(groups) - {"label", "id", "group"}):
            raise ValueError(f"pattern {pattern!r}: group {some(odd)} is unknown; there are label, id and group")
        if columns := [
            key for key in ("id", "file", "label", "group", "form", "separator", "value") if getattr(self, key)
        ]:
            raise ValueError(f"{some(columns)} names columns of a csv; with pattern write (?P<{columns[0]}>...) in it")


Source = str | list[str] | Listing


class Tree(Table):
    """Say which class stands above which: by labels that are paths, or by a CSV file.

    Parameters
    ----------
    separator
        What stands between the parts of a label that is a path, such as ``Cans/Slim/Cranpom``.
    csv
        A CSV file below the data root: of the columns `child` and `parent`, or of a column for each of `levels`.
    child, parent
        Its columns; the first and the second by default. An empty parent says that a class has none.
    levels
        Names of the levels, the coarsest first: with `csv` its columns, of which the last holds the classes; with
        `separator` names for ``level_1``, ``level_2``, ... of single-label classes.
    """

    separator: Annotated[str, Field(min_length=1)] | None = None
    csv: str | None = None
    child: str | None = None
    parent: str | None = None
    levels: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Tree:
        if (self.separator is None) == (self.csv is None):
            raise ValueError('hierarchy needs either separator = "/" or csv = "file.csv"')
        named = self.child is not None or self.parent is not None
        if named and (self.csv is None or self.levels is not None):
            raise ValueError("hierarchy.child and hierarchy.parent are columns of a csv without levels")
        if self.csv is not None and self.levels is not None and len(self.levels) < 2:
            raise ValueError("hierarchy.levels of a csv needs two columns at least, the last of them the classes")
        return self


def _tree_of(value: object) -> object:
    """Return the table that a separator alone stands for."""
    return {"separator": value} if isinstance(value, str) else value


class ClassNames(Table):
    """Name the table that says what the classes' codes mean.

    Parameters
    ----------
    csv
        A CSV or TSV file below the data root.
    code, name
        Its columns; the first and the second by default.
    """

    csv: str
    code: str | None = None
    name: str | None = None


def _as_pair(value: object) -> object:
    """Return a list of TOML as the pair that it stands for."""
    return tuple(value) if isinstance(value, list) else value


class Facts(Table):
    """Hold what the organisers decided.

    Parameters
    ----------
    title
        What the competition is called.
    slug
        Kaggle's name of it; absent for practice.
    task
        ``"multiclass"``: one label per image; ``"multilabel"``: several, or none.
    metric
        A name in `kit.scoring.metrics.METRICS`; ``map@K`` or ``top_K`` for a number K; an F-beta such as
        ``samples_f2``; or ``module.function`` of a Python file beside competition.toml or in the workspace, see
        `kit.scoring.metrics.custom`.
    order
        The classes from the lowest grade to the highest, for ``quadratic_kappa`` of names that are no numbers.
    """

    title: str
    slug: str | None = None
    task: Literal["multiclass", "multilabel"] = "multiclass"
    metric: str = "accuracy"
    order: Annotated[list[str], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _metric_suits(self) -> Facts:
        check_metric_name(self.metric, self.task)
        if self.order is not None and self.metric != "quadratic_kappa":
            raise ValueError('order is read with metric = "quadratic_kappa" alone; take it out')
        return self


class Data(Table):
    """Say where the files are, relative to `root`; `root` is relative to the workspace.

    Parameters
    ----------
    root
        The folder as Kaggle gives it.
    labeled
        A folder of class folders, or a listing; a list of them where training and validation images lie apart.
    unlabeled, test
        A folder, several folders, or a listing; zip, tar and 7z archives are unpacked.
    sample_submission
        The CSV whose ids, columns and order a submission must have.
    solution
        Practice only: the CSV file of the hidden labels; only the scorer reads it.
    embeddings
        A ``.npy`` file of features given by the organisers, one row per listed id.
    greys
        Of images of more than 8 bits the values of black and white; by default those of all such images together.
    embedded
        ``"digits"`` for the data set that the kit writes itself.
    labels_are_mined
        The labels are those that `mine` wrote. They may be wrong, so that CV measures agreement with them.
    hierarchy
        Which class stands above which: ``"/"`` where labels are paths, or a table, see `Tree`.
    names
        The file that says what the classes' codes mean: JSON, text, or a table, see `ClassNames`. The report and the
        first prompt list use the words; labels and submissions keep the codes.
    merge
        Classes that shall be one: ``{ new = ["a", "b"] }``, the names as the files have them.
    """

    root: str
    labeled: str | Listing | Annotated[list[str | Listing], Field(min_length=1)]
    unlabeled: Source | None = None
    test: Source | None = None
    sample_submission: str | None = None
    solution: str | None = None
    embeddings: str | None = None
    greys: Annotated[tuple[float, float] | None, BeforeValidator(_as_pair)] = None
    embedded: Literal["digits"] | None = None
    labels_are_mined: bool = False
    hierarchy: Annotated[Tree | None, BeforeValidator(_tree_of)] = None
    names: str | ClassNames | None = None
    merge: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _white_is_above_black(self) -> Data:
        if self.greys is not None and self.greys[0] >= self.greys[1]:
            raise ValueError(f"greys = {list(self.greys)}: black comes first, and white is above it")
        return self

    @model_validator(mode="after")
    def _each_class_is_merged_once(self) -> Data:
        counts = Counter(name for olds in self.merge.values() for name in olds)
        if twice := [name for name, n in counts.items() if n > 1]:
            raise ValueError(f"merge: class {some(map(repr, twice))} stands twice; a class becomes one other")
        return self

    @property
    def score_name(self) -> str:
        """Return what a score on the labels is called: on mined ones it is agreement, and no accuracy."""
        return "agreement" if self.labels_are_mined else "CV"

    @property
    def labeled_sources(self) -> list[str | Listing]:
        """Return the sources of the labelled images."""
        return self.labeled if isinstance(self.labeled, list) else [self.labeled]

    @property
    def renamed(self) -> dict[str, str]:
        """Return the new name of every class that is merged."""
        return {old: new for new, olds in self.merge.items() for old in olds}
