"""What a notebook shows inline: mistakes as a contact sheet, the report as a page."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from kit.data.prepared import Prepared
    from kit.runs.store import Result

PER_ROW, MOST_ROWS = 8, 5  # tiles of a contact sheet
HEIGHT = 640  # of the report's frame, pixels


@dataclass(frozen=True)
class Mistakes:
    """Hold the labelled images that a run mistakes out of fold, those that it is surest of first.

    A notebook shows them as a contact sheet; `table` has them all.

    Parameters
    ----------
    run
        Whose mistakes they are.
    table
        Columns id, label, said, sureness (0..1), fold and path.
    n_scored
        How many labelled images were scored.
    """

    run: str
    table: pd.DataFrame
    n_scored: int

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<{self.title}; .table lists them, .save(PNG) draws them>"

    @property
    def title(self) -> str:
        """Return how many there are, of which run."""
        return f"{self.run}: {len(self)} of {self.n_scored} labelled images mistaken out of fold"

    def _repr_png_(self) -> bytes:
        """Return the contact sheet of the first forty."""
        from kit.data.sheet import SheetTile, draw_sheet

        first = self.table.head(PER_ROW * MOST_ROWS)
        tiles = [
            SheetTile(path, [f"said {said}", f"label {label}", f"{sureness:.2f} {image_id}"])
            for image_id, label, said, sureness, _, path in first.to_numpy(dtype=object).tolist()
        ]
        rows = [("", tiles[start : start + PER_ROW]) for start in range(0, len(tiles), PER_ROW)]
        sheet = io.BytesIO()
        draw_sheet(self.title, rows).save(sheet, "PNG")
        return sheet.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the contact sheet as a PNG; return the path."""
        from kit.core.files import write_atomic

        with write_atomic(Path(path)) as file:
            file.write(self._repr_png_())
        return Path(path)


@dataclass(frozen=True)
class Page:
    """Point to the report: one HTML file that opens without a network. A notebook shows it in a frame.

    Parameters
    ----------
    path
        The file.
    """

    path: Path

    def _repr_html_(self) -> str:
        """Return the page in a frame; it travels inside the notebook, about 5 MB."""
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT}" style="border:0"></iframe>'


def gather_mistakes(prepared: Prepared, result: Result) -> Mistakes:
    """Return a run's mistakes, those that it is surest of first."""
    import pandas as pd

    from kit.api.tables import name_labels
    from kit.report.board import rank_mistakes

    ranked, pool = rank_mistakes(prepared, result), prepared.pool
    order = ranked.order
    rows = prepared.labeled[prepared.scored_rows[order]]
    table = pd.DataFrame(
        {
            "id": pool.ids[rows],
            "label": name_labels(prepared.classes, ranked.labels[order]),
            "said": name_labels(prepared.classes, ranked.predicted[order]),
            "sureness": ranked.sureness[order],
            "fold": prepared.folds[prepared.scored_rows[order]],
            "path": pool.paths[rows],
        }
    )
    return Mistakes(result.name, table, len(ranked.labels))
