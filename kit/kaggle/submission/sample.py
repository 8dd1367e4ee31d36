"""Read the sample submission of a competition: which test image each row means, and what is filled in where.

Reads sample_submission.csv and, where there is none, the listing of the labelled images; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.data import Listing
from kit.core.errors import InputError, some
from kit.core.names import MULTICLASS
from kit.core.shapes import Ids, Mask, Rows
from kit.data.prepared import Prepared
from kit.data.table.labels import is_on, label_columns
from kit.data.table.records import read_rows
from kit.data.table.scan import IMAGE_SUFFIXES, read_csv
from kit.data.table.sources import find_file, id_column, name_key
from kit.kaggle.submission.cells import plain_lists
from kit.kaggle.submission.form import CELL_SEPARATORS, Form, read_form, split_row_id
from kit.kaggle.submission.identity import meant_ids
from kit.kaggle.submission.style import PLAIN, Style, read_style
from kit.kaggle.submission.suit import RANKED, state_form, suit_form

MAX_UNKNOWN = 0.05  # of the sample's rows that may have no test image; more are another version's


@dataclass(frozen=True)
class Sample:
    """Hold a sample submission and what it asks for.

    Parameters
    ----------
    rows
        Its rows as text; columns that are not filled in are written as they are.
    form
        How a prediction is written.
    ids
        (n_rows,) the test id that each row means; text that is none of them where there is no such image.
    is_known
        (n_rows,) whether a test image is meant.
    codes
        (n_rows,) of ``"rows"`` the class of each row, as a position among the named classes; else empty.
    style
        How its header and cells are quoted.
    notes
        What was taken for granted or left out, to be told.
    """

    rows: pd.DataFrame
    form: Form
    ids: Ids
    is_known: Mask
    codes: Rows
    style: Style = PLAIN
    notes: tuple[str, ...] = ()


def named_classes(prepared: Prepared) -> tuple[str, ...]:
    """Return the classes, and after them the name of images that show none of them, where ``[decision]`` gives one."""
    none = prepared.competition.decision.none_of_these
    return prepared.classes if none is None or none in prepared.classes else (*prepared.classes, none)


def read_sample(prepared: Prepared) -> Sample:
    """Read the sample file; without one a sample is made, its columns named as those of the labelled images.

    Raises
    ------
    InputError
        When there are no test images, the file is missing, its ids are not those of the test images, its columns or
        values fit neither labels nor classes, or the metric needs what it has no room for.
    """
    competition = prepared.competition
    known = np.concatenate([prepared.pool.ids[prepared.split("test")], np.array(prepared.broken_test, dtype=object)])
    if not len(known):
        raise InputError(f"no test images: {name_key(competition, 'test')} names none, so there is nothing to submit")
    if competition.data.sample_submission is None:
        path, rows, style = competition.file, _make_rows(prepared, known), PLAIN
    else:
        path = find_file(competition, "sample_submission", competition.data.sample_submission)
        rows, style = read_csv(path), read_style(path)
    try:
        _refuse_decimal_commas(rows, style)
        form = find_form(prepared, rows, known)
        _check_columns(prepared, rows, form)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    ids, codes = _read_ids(prepared, rows, form, known)
    is_known = np.isin(ids.astype(str), known.astype(str))
    notes = (*([form.guess] if form.guess else []), *_check_ids(path, prepared, ids, is_known, known, form))
    return Sample(rows, form, ids, is_known, codes, style, notes)


def _refuse_decimal_commas(rows: pd.DataFrame, style: Style) -> None:
    """Refuse numbers such as 0,5 in a sample without commas between its cells: nobody could score them."""
    for name in rows.columns if style.separator != "," else ():
        cells = rows.loc[:, [name]].to_numpy().ravel()
        if len(cells) and all(re.fullmatch(r"\d+,\d+", cell) for cell in cells):
            raise InputError(f"column {name!r} holds numbers with a decimal comma, {cells[0]}; write decimal points")


def find_form(prepared: Prepared, rows: pd.DataFrame, known: Ids) -> Form:
    """Return the form of a sample's rows: what they show, ``[submission]`` says and the metric reads.

    The separator of labels in a cell is that of ``[decision] separator``, of the sample's cells, of ``[data]
    labeled.separator``, or a space. InputError where they clash, or a class's name holds the separator.
    """
    plan, classes = prepared.competition.submission, named_classes(prepared)
    form = read_form(rows, classes, prepared.pool.task, known.tolist(), plan.positive)
    rows = rows if form.listed is None else plain_lists(rows)
    if plan.form is not None:
        form = state_form(form, plan.form, rows, classes, plan.positive)
    form = suit_form(form, prepared.metric, rows, classes, plan.positive, is_stated=plan.form is not None)
    if form.kind not in ("labels", "ranked"):
        return form
    if form.listed is not None:
        return replace(form, n_ranked=min(form.n_ranked, len(prepared.classes)))
    sources = prepared.competition.data.labeled_sources
    given = [source.separator for source in sources if isinstance(source, Listing) and source.separator]
    separators = [prepared.competition.decision.separator, form.separator, *given, CELL_SEPARATORS[0]]
    separator = next(separator for separator in separators if separator)
    if odd := [name for name in prepared.classes if separator in name]:
        raise InputError(
            f"{prepared.competition.file}: class {some(map(repr, odd), 2)} holds {separator!r}, which parts labels in "
            'the submission; write [decision] separator = ";" or what else the competition asks for'
        )
    return replace(form, separator=separator, n_ranked=min(form.n_ranked, len(prepared.classes)))


def _make_rows(prepared: Prepared, known: Ids) -> pd.DataFrame:
    """Return the rows of a sample that nobody gave: columns and ids as the labelled images' CSV has them, sorted."""
    id_name, columns, has_suffix = _listed_columns(prepared)
    written = np.sort(known).tolist()
    if has_suffix:
        test = prepared.split("test")
        paths = dict(zip(prepared.pool.ids[test], prepared.pool.paths[test], strict=True))
        written = [_with_suffix(image_id, paths.get(image_id)) for image_id in written]
    needs_proba, is_single = prepared.metric.needs == "proba", prepared.pool.task == MULTICLASS
    if needs_proba and (len(prepared.classes) > 2 or not is_single) and not RANKED.fullmatch(prepared.metric.name):
        columns = columns if set(columns) == set(prepared.classes) else list(prepared.classes)
    if len(columns) == 1 or set(columns) != set(prepared.classes):
        return pd.DataFrame({id_name: written, columns[0]: next(iter(prepared.classes), "")}, dtype=object)
    shown = ["0.5" if needs_proba else str(int(is_single and at == 0)) for at in range(len(columns))]
    return pd.DataFrame({id_name: written, **dict(zip(columns, shown, strict=True))}, dtype=object)


def _listed_columns(prepared: Prepared) -> tuple[str, list[str], bool]:
    """Return the id column and the label columns of the labelled images' CSV, and whether its ids have suffixes."""
    source = prepared.competition.data.labeled_sources[0]
    if not isinstance(source, Listing) or source.pattern is not None or source.form == "pixels":
        return "id", ["label"], False
    file, key = find_file(prepared.competition, "labeled.csv", source.title), name_key(prepared.competition, "labeled")
    rows = read_rows(file)
    id_name = id_column(rows, source)
    columns = label_columns(rows, id_name, source, key, file)
    if len(columns) > 1 and set(columns) != set(prepared.classes):
        columns = ["label"]
    suffixes = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
    return id_name, columns, bool(rows[id_name].str.lower().str.endswith(suffixes).all())


def _with_suffix(image_id: str, path: str | None) -> str:
    """Return an id with its file's suffix, as a listing whose ids have theirs would write it."""
    suffix = Path(path).suffix if path else ""
    return image_id if image_id.endswith(suffix) else image_id + suffix


def _read_ids(prepared: Prepared, rows: pd.DataFrame, form: Form, known: Ids) -> tuple[Ids, Rows]:
    """Return the test id that each row means, and of a row per image and class its class."""
    written, nothing = rows.iloc[:, form.id_column].to_numpy(dtype=object), np.zeros(0, dtype=np.int64)
    if form.kind != "rows":
        return meant_ids(written, known), nothing
    if form.class_column is not None:
        named = [cell.strip() for cell in rows.iloc[:, form.class_column]]
    else:
        parts = [split_row_id(row_id, form.separator, named_classes(prepared)) or ("", "") for row_id in written]
        written, named = np.array([head for head, _ in parts], dtype=object), [name.strip() for _, name in parts]
    heads = list(dict.fromkeys(written))
    meant = dict(zip(heads, meant_ids(heads, known), strict=True))
    code = {name.strip(): code for code, name in enumerate(named_classes(prepared))}
    return np.array([meant[head] for head in written], dtype=object), np.array([code[name] for name in named])


def _check_ids(path: Path, prepared: Prepared, ids: Ids, is_known: Mask, known: Ids, form: Form) -> Sequence[str]:
    """Refuse ids that repeat or are not the test images'; say which few have no image, or no row."""
    repeated = pd.Series(ids).duplicated().to_numpy()
    if form.kind != "rows" and repeated.any():
        raise InputError(f"{path}: ids repeat: {some(ids[repeated])}; an image has one row, take the others out")
    unknown = sorted({str(image_id) for image_id in ids[~is_known]})
    extra = sorted(set(known) - set(ids))
    key = name_key(prepared.competition, "test")
    if len(unknown) > max(1, MAX_UNKNOWN * len(set(ids))) or not is_known.any():
        near = f", and {len(extra)} test images are not in it ({some(extra, 3)})" if extra else ""
        cause = f"{len(unknown)} ids have no test image: {some(unknown)}{near}"
        raise InputError(f"{path}: {cause}; is it another version, or does {key} leave out a folder?")
    notes = []
    if unknown:
        notes.append(
            f"{path}: {len(unknown)} of {len(set(ids))} ids have no test image: {some(unknown)}; their rows get the "
            "mean of all predictions, for Kaggle wants every row"
        )
    if extra:
        notes.append(f"{path}: {len(extra)} test images are not in it and are left out: {some(extra)}")
    return notes


def _check_columns(prepared: Prepared, rows: pd.DataFrame, form: Form) -> None:
    """Accept one column per class.

    Parents and the name for none of the classes may be left out; classes that no labelled image has may be columns.
    """
    if form.kind not in ("probabilities", "zero_one") or len(form.values) == 1:
        return
    none, spare = prepared.competition.decision.none_of_these, set[str]()
    if none:
        spare.add(none)
    if prepared.pool.is_multilabel and prepared.hierarchy is not None:
        spare |= {prepared.classes[parent] for parent in prepared.hierarchy.parents if parent >= 0}
    columns = {rows.columns[at]: name for at, name in zip(form.values, form.classes, strict=True)}
    odd = [column for column, name in columns.items() if name is None]
    if odd:
        odd = [column for column in odd if column not in _never_seen(prepared)]
    odd += [name for name in prepared.classes if name not in columns.values() and name not in spare]
    if odd:
        raise InputError(
            f"columns are neither one label nor the {len(prepared.classes)} classes: {some(sorted(odd))} differ"
        )


def _never_seen(prepared: Prepared) -> set[str]:
    """Return the columns of the labelled images' CSV that are 0 in every row: classes of which nothing was learned."""
    competition, never = prepared.competition, set[str]()
    for source in competition.data.labeled_sources:
        if isinstance(source, Listing) and source.form in (None, "columns"):
            rows = read_rows(find_file(competition, "labeled.csv", source.title))
            named = set(rows.columns) - {id_column(rows, source), source.group, ""}
            never |= {name for name in named if not is_on(pd.Series(rows[name])).any()}
    return never
