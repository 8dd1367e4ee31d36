"""What triage leaves behind: a ranked CSV and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.files import read_object, write_csv, write_json
from kit.curate.triage.ranking import Triage
from kit.data.prepared import Prepared
from kit.data.sheet import SheetTile, existing_sheets, write_sheet

TRIAGE_FOLDER = "triage"
MADE_FILE = "made.json"  # in it: of which run, labels and folds
PER_ROW, MOST_ROWS = 10, 8  # tiles of a contact sheet


def write_triage(prepared: Prepared, found: Triage) -> Path:
    """Write labels.csv, labels.png, outliers.png and, last, of what they are; return the CSV.

    The CSV holds every scored image, the most suspicious first. To leave images out of training, keep their rows and
    delete the others.
    """
    folder = triage_folder(prepared)
    (folder / MADE_FILE).unlink(missing_ok=True)  # else a kill would leave these rows under earlier facts
    rows = describe_images(prepared, found, found.order)
    write_csv(folder / "labels.csv", list(rows[0]), (row.values() for row in rows))
    shown = found.suspicious[: PER_ROW * MOST_ROWS]
    tiles = [
        SheetTile(row["path"], [*_differ(prepared, found, i), f"{row['probability']} {row['id']}"])
        for i, row in zip(shown.tolist(), describe_images(prepared, found, shown), strict=True)
    ]
    write_sheet(folder / "labels.png", _title(found), _in_rows(tiles))
    if found.outlier is not None:
        odd = np.argsort(found.outlier, kind="stable")[: PER_ROW * 2]
        tiles = [SheetTile(row["path"], [row["given"], row["id"]]) for row in describe_images(prepared, found, odd)]
        write_sheet(folder / "outliers.png", "images like no other", _in_rows(tiles))
    write_json(folder / MADE_FILE, {"run": found.run, "key": found.key, "fold_key": prepared.fold_key})
    return folder / "labels.csv"


def _title(found: Triage) -> str:
    """Say what the sheet of labels shows."""
    meaning = "; - given and not said, + said and not given" if found.labels.ndim == 2 else ""
    return f"most suspicious labels, by {found.run}{meaning}"


def describe_images(prepared: Prepared, found: Triage, positions: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of the images at some positions, as the CSV has them."""
    pool = prepared.pool
    contradicted = {image["id"] for cluster in found.contradictions for image in cluster if image["split"] == "labeled"}
    described = []
    rank_of = {i: rank for rank, i in enumerate(found.order.tolist(), start=1)}
    for i in positions.tolist():
        image_id = str(pool.ids[found.rows[i]])
        described.append(
            {
                "id": image_id,
                "rank": rank_of[i],
                "given": _name(prepared, found.labels[i]),
                "suggested": _name(prepared, found.suggested[i]),
                "probability": f"{found.probability[i]:.3f}",
                "quality": f"{found.quality[i]:.3f}",
                "confident_learning": "wrong" if found.issue[i] else "",
                "duplicate": "has another label" if image_id in contradicted else "",
                "typical": "" if found.outlier is None else f"{found.outlier[i]:.3f}",
                "path": str(pool.paths[found.rows[i]]),
            }
        )
    return described


def _name(prepared: Prepared, code: Any) -> str:
    """Return the class, or the classes, of a code or of a row of zeros and ones."""
    if np.ndim(code) == 0:
        return prepared.classes[int(code)]
    return "|".join(prepared.classes[i] for i in np.flatnonzero(code))


def _differ(prepared: Prepared, found: Triage, i: int) -> list[str]:
    """Say in two lines how a label and what is suggested differ; of several labels, only those that do."""
    given, suggested = found.labels[i], found.suggested[i]
    if np.ndim(given) == 0:
        return [f"given {_name(prepared, given)}", f"says {_name(prepared, suggested)}"]
    signs = (("-", given > suggested), ("+", suggested > given))
    return [sign + _name_briefly(prepared, own) if own.any() else "" for sign, own in signs]


def _name_briefly(prepared: Prepared, row: np.ndarray) -> str:
    """Name the classes of a row of zeros and ones; of a tree the deepest, each by the last part of its path."""
    tree = prepared.competition.data.hierarchy
    codes = np.flatnonzero(row) if prepared.hierarchy is None else prepared.hierarchy.deepest(row)
    names = [prepared.classes[i] for i in codes]
    return ", ".join(name.rpartition(tree.separator)[2] if tree and tree.separator else name for name in names)


def _in_rows(tiles: Sequence[SheetTile]) -> list[tuple[str, Sequence[SheetTile]]]:
    return [("", tiles[start : start + PER_ROW]) for start in range(0, len(tiles), PER_ROW)]


def find_sheets(prepared: Prepared) -> list[Path]:
    """Return the contact sheets that were written, without links that lead nowhere."""
    return sorted(existing_sheets(triage_folder(prepared).glob("*.png")))


def is_of_today(prepared: Prepared) -> bool:
    """Return whether what was laid out is of today's labels and folds; it is not where that is not known."""
    return (read_object(triage_folder(prepared) / MADE_FILE) or {}).get("fold_key") == prepared.fold_key


def triage_folder(prepared: Prepared) -> Path:
    """Return where the findings lie."""
    return prepared.competition.workspace.runs(prepared.competition.name) / TRIAGE_FOLDER
