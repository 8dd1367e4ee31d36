"""Write a ranked CSV and contact sheets of suspicious labels, and find them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.core.files import read_object, write_csv, write_json
from kit.core.shapes import Labels, Rows
from kit.curate.triage.ranking import Triage
from kit.data.prepared import Prepared
from kit.data.sheet import SheetTile, existing_sheets, write_sheet

TRIAGE_FOLDER = "triage"
MADE_FILE = "made.json"  # in it: of which run, labels and folds
PER_ROW, MOST_ROWS = 10, 8  # tiles of a contact sheet


def write_triage(prepared: Prepared, triage: Triage) -> Path:
    """Write labels.csv, labels.png, outliers.png and, last, of which run they are; return the CSV.

    The CSV holds every scored image, the most suspicious first. To leave images out of training, keep their rows and
    delete the others.
    """
    folder = triage_folder(prepared)
    (folder / MADE_FILE).unlink(missing_ok=True)  # else a kill would leave these rows under earlier facts
    rows = describe_images(prepared, triage, triage.order)
    write_csv(folder / "labels.csv", list(rows[0]), (row.values() for row in rows))
    shown = triage.suspicious[: PER_ROW * MOST_ROWS]
    tiles = [
        SheetTile(row["path"], [*_differ(prepared, triage, i), f"{row['probability']} {row['id']}"])
        for i, row in zip(shown.tolist(), describe_images(prepared, triage, shown), strict=True)
    ]
    write_sheet(folder / "labels.png", _title(triage), _in_rows(tiles))
    if triage.outlier is not None:
        odd = np.argsort(triage.outlier, kind="stable")[: PER_ROW * 2]
        tiles = [SheetTile(row["path"], [row["given"], row["id"]]) for row in describe_images(prepared, triage, odd)]
        write_sheet(folder / "outliers.png", "images like no other", _in_rows(tiles))
    write_json(folder / MADE_FILE, {"run": triage.run, "key": triage.key, "fold_key": prepared.fold_key})
    return folder / "labels.csv"


def _title(triage: Triage) -> str:
    """Return the title of the sheet of labels."""
    meaning = "; - given and not said, + said and not given" if triage.labels.ndim == 2 else ""
    return f"most suspicious labels, by {triage.run}{meaning}"


def describe_images(prepared: Prepared, triage: Triage, positions: Rows) -> list[dict[str, Any]]:
    """Return the rows of the images at some positions, as the CSV has them."""
    pool = prepared.pool
    doubles = [image for cluster in triage.contradictions for image in cluster]
    contradicted = {image["id"] for image in doubles if image["split"] == "labeled"}
    described = []
    rank_of = {i: rank for rank, i in enumerate(triage.order.tolist(), start=1)}
    for i in positions.tolist():
        image_id = str(pool.ids[triage.rows[i]])
        described.append(
            {
                "id": image_id,
                "rank": rank_of[i],
                "given": _name(prepared, triage.labels[i]),
                "suggested": _name(prepared, triage.suggested[i]),
                "probability": f"{triage.probability[i]:.3f}",
                "quality": f"{triage.quality[i]:.3f}",
                "confident_learning": "wrong" if triage.issue[i] else "",
                "duplicate": "has another label" if image_id in contradicted else "",
                "typical": "" if triage.outlier is None else f"{triage.outlier[i]:.3f}",
                "path": str(pool.paths[triage.rows[i]]),
            }
        )
    return described


def _name(prepared: Prepared, code: Any) -> str:
    """Return the class, or the classes, of a code or of a row of zeros and ones."""
    if np.ndim(code) == 0:
        return prepared.classes[int(code)]
    return "|".join(prepared.classes[i] for i in np.flatnonzero(code))


def _differ(prepared: Prepared, triage: Triage, i: int) -> list[str]:
    """Tell in two lines how a label and the prediction differ; of several labels, only those that do."""
    given, suggested = triage.labels[i], triage.suggested[i]
    if np.ndim(given) == 0:
        return [f"given {_name(prepared, given)}", f"says {_name(prepared, suggested)}"]
    signs = (("-", given > suggested), ("+", suggested > given))
    return [sign + _name_briefly(prepared, differing) if differing.any() else "" for sign, differing in signs]


def _name_briefly(prepared: Prepared, row: Labels) -> str:
    """Name the classes of a row of zeros and ones; of a tree the deepest, each by the last part of its path."""
    tree = prepared.competition.data.hierarchy
    codes = np.flatnonzero(row) if prepared.hierarchy is None else prepared.hierarchy.deepest(row)
    names = [prepared.classes[i] for i in codes]
    return ", ".join(name.rpartition(tree.separator)[2] if tree and tree.separator else name for name in names)


def _in_rows(tiles: Sequence[SheetTile]) -> list[tuple[str, Sequence[SheetTile]]]:
    """Return tiles as rows of a contact sheet, without titles."""
    return [("", tiles[start : start + PER_ROW]) for start in range(0, len(tiles), PER_ROW)]


def find_sheets(prepared: Prepared) -> list[Path]:
    """Return the contact sheets that were written, without links that lead nowhere."""
    return sorted(existing_sheets(triage_folder(prepared).glob("*.png")))


def is_of_today(prepared: Prepared) -> bool:
    """Return whether the files are of today's labels and folds; False where that is not known."""
    return (read_object(triage_folder(prepared) / MADE_FILE) or {}).get("fold_key") == prepared.fold_key


def triage_folder(prepared: Prepared) -> Path:
    """Return the folder of the CSV and the sheets."""
    return prepared.competition.workspace.runs(prepared.competition.name) / TRIAGE_FOLDER
