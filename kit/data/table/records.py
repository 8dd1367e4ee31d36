"""The rows of whatever lists images: a CSV as it is, a JSON file as if it were one.

Reads the file; writes nothing. Of COCO's and iNaturalist's form (images, annotations, categories) a row is an image
with one of its annotations. Its columns are the image's keys, first its id; then the annotation's, among them
``category_id``; then the category's other keys, ``name`` as ``category_name``. Numbers and truth are text, as written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kit.core.errors import InputError, some
from kit.data.table.scan import read_csv, read_text

JSON_ID, JSON_FILE, JSON_LABEL = ("id", "image_id"), "file_name", "category_id"  # the keys that COCO gives them
CATEGORY = "category_"  # begins the names of a category's columns


def is_json(name: str) -> bool:
    """Tell a JSON file, alone or inside a zip."""
    return name.lower().removesuffix(".zip").endswith(".json")


def read_rows(file: Path) -> pd.DataFrame:
    """Read a CSV, TSV or JSON file, alone or in a zip, as text; a row's index is its line, in JSON its place from 1.

    InputError as of `read_csv`; of JSON where it is none, or neither of the form of COCO, nor a list of objects, nor
    an object of labels by file name.
    """
    if not is_json(file.name):
        return read_csv(file)
    try:
        value = json.loads(read_text(file))
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}); fetch it again") from error
    rows = _as_rows(value, file)
    if not rows:
        return pd.DataFrame(columns=["id"], dtype=object)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = {name: [_as_text(row.get(name, "")) for row in rows] for name in columns}
    return pd.DataFrame(cells, index=pd.RangeIndex(1, len(rows) + 1), dtype=object)


def _as_rows(value: object, file: Path) -> list[dict[str, Any]]:
    """Return a row per image, or per image and annotation."""
    if isinstance(value, dict) and isinstance(value.get("images"), list):
        return _join_parts(value, file)
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return [_put_id_first(entry) for entry in value]
    if isinstance(value, dict) and value and not any(isinstance(entry, dict) for entry in value.values()):
        return [{"id": name, "label": label} for name, label in value.items()]
    raise InputError(
        f"{file}: lists no images: neither images, annotations and categories as in COCO, nor a list of objects, nor "
        "a label for each file's name; write such a CSV and name it"
    )


def _join_parts(value: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    """Return a row per image and annotation of COCO's form; an image without any has a row too."""
    images = [_put_id_first(image) for image in value["images"]]
    key = next((name for name in JSON_ID if images and name in images[0]), None)
    annotations = value.get("annotations") or []
    if not annotations:
        return images
    if key is None:
        raise InputError(f"{file}: its images have no {' or '.join(JSON_ID)}, by which annotations name them")
    categories = {_as_text(_id_of(entry)): entry for entry in value.get("categories") or []}
    of_image: dict[str, list[dict[str, Any]]] = {}
    for annotation in annotations:
        if "image_id" not in annotation:
            raise InputError(f"{file}: an annotation has no image_id; its keys are {some(annotation)}")
        of_image.setdefault(_as_text(annotation["image_id"]), []).append(annotation)
    rows = []
    for image in images:
        for annotation in of_image.pop(_as_text(image[key]), [{}]):
            category = categories.get(_as_text(annotation.get(JSON_LABEL, "")), {})
            named = {_name_category(name): cell for name, cell in category.items()}
            marks = {name: cell for name, cell in annotation.items() if name not in JSON_ID}
            rows.append({key: image[key], **named, **marks, **image})
    if of_image:
        raise InputError(f"{file}: annotations of {len(of_image)} images that it does not list: {some(of_image)}")
    return [_put_id_first(row) for row in rows]


def _name_category(name: str) -> str:
    """Return the column of a category's key."""
    return name if name.startswith(CATEGORY) else CATEGORY + name


def _id_of(entry: Mapping[str, Any]) -> object:
    """Return a category's id."""
    return entry.get("id", entry.get(JSON_LABEL, ""))


def _put_id_first(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the image's id before all else, then its file."""
    first = [name for name in (*JSON_ID, JSON_FILE) if name in entry]
    return {name: entry[name] for name in dict.fromkeys([*first, *entry])}


def _as_text(cell: object) -> str:
    """Return a value of JSON as the text that a CSV has."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
