"""History: every finished run of every setting, also of those whose folders are gone.

- `entries`: what was finished, from the ledger (``runs/NAME/history.jsonl``) and the folders that it does not name.
- `settings`: how settings differ.
- `compare`: two runs, with a paired test.
- `adopt`: an earlier run's settings, written back into competition.toml.
- `render`: the tables.
"""

from kit.runs.history.adopt import Adopted, adopt
from kit.runs.history.compare import Comparison, compare
from kit.runs.history.entries import Entry, find_entry, find_one, list_entries, sort_entries
from kit.runs.history.render import describe_entry, render_comparison, render_entries

__all__ = [
    "Adopted",
    "Comparison",
    "Entry",
    "adopt",
    "compare",
    "describe_entry",
    "find_entry",
    "find_one",
    "list_entries",
    "render_comparison",
    "render_entries",
    "sort_entries",
]
