"""What the codes of the classes mean in words, by the file that ``[data] names`` names.

Reads JSON (``{"0": "healthy"}``, the same the other way round, rows, or the categories of COCO), CSV or TSV tables, and
text of a code and a name per line; writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kit.config.data import ClassNames
from kit.core.errors import InputError, nearest
from kit.data.table.scan import read_csv

CODES = ("id", "category_id", "code", "label", "class_id", "index")
NAMES = ("name", "scientificName", "scientific_name", "common_name", "label_name", "class_name", "category")
CODE = re.compile(r"[a-z]{0,2}[-_ ]?\d+(\.\d+)?|\d+[a-z]?", re.IGNORECASE)
LINE = re.compile(r"\s*([^\s,;:]+)[\s,;:]+(\S.*)")


def read_class_names(root: Path, source: str | ClassNames) -> dict[str, str]:
    """Return the words of each code.

    Raises
    ------
    InputError
        When the file is missing, is none of the kinds above, or a column is missing; names the file and the remedy.
    """
    file = root / (source if isinstance(source, str) else source.csv)
    if not file.is_file():
        raise InputError(f"{file}: [data] names: no such file; correct the name or leave the key out")
    if file.suffix.lower() == ".json":
        return _read_json(file)
    if file.suffix.lower() == ".txt":
        return _read_lines(file)
    rows = read_csv(file)
    columns = [name for name in rows.columns if name]
    code, name = (source.code, source.name) if isinstance(source, ClassNames) else (None, None)
    code, name = code or next(iter(columns), ""), name or next(iter(columns[1:]), "")
    for column in (code, name):
        if column not in columns:
            raise InputError(f"{file}: [data] names: no column {column!r}; {nearest(column, columns)}")
    return dict(zip(rows[code].tolist(), rows[name].tolist(), strict=True))


def _read_json(file: Path) -> dict[str, str]:
    """Read names of codes from JSON."""
    try:
        document: Any = json.loads(file.read_bytes())
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not JSON ({error}); mend it or leave [data] names out") from error
    if isinstance(document, Mapping) and isinstance(document.get("categories"), list):
        document = document["categories"]
    if isinstance(document, list) and document and all(isinstance(row, Mapping) for row in document):
        code, name = (next((key for key in known if key in document[0]), None) for known in (CODES, NAMES))
        if code is not None and name is not None:
            return {str(row[code]): str(row[name]) for row in document if code in row and name in row}
    if isinstance(document, list) and document and all(isinstance(word, str) for word in document):
        return {str(code): word for code, word in enumerate(document)}
    if isinstance(document, Mapping) and document:
        if all(isinstance(word, str) and not word.isdecimal() for word in document.values()):
            return {str(code): word for code, word in document.items()}
        if all(isinstance(code, int) or str(code).isdecimal() for code in document.values()):
            return {str(code): str(word) for word, code in document.items()}  # the other way round
        if all(isinstance(words, list) and words for words in document.values()):
            return {str(code): str(words[-1]) for code, words in document.items()}  # ImageNet's {"0": [id, name]}
    raise InputError(f'{file}: [data] names: neither {{"code": "name"}}, nor rows of id and name, nor categories')


def _read_lines(file: Path) -> dict[str, str]:
    """Read lines of a code and a name; a name alone in each line has its number as code, from 0."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    pairs = [LINE.fullmatch(line) for line in lines]
    if lines and all(pair and re.search(r"\d", pair[1]) for pair in pairs):
        return {pair[1]: pair[2] for pair in pairs if pair}
    return {str(code): line for code, line in enumerate(lines)}


def are_codes(classes: Collection[str]) -> bool:
    """Tell whether most classes are numbers or codes such as ``c3``, which say nothing to a reader of words."""
    return sum(bool(CODE.fullmatch(name.strip())) for name in classes) > len(classes) / 2
