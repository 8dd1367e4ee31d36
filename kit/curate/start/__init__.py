"""Start a competition: a folder of images becomes a competition.toml that a person corrects.

Reads names of files and CSV tables; writes ``NAME/competition.toml`` and ``NAME/prompts/first.toml``. File by file::

    hints.py       what names of folders and columns give away
    label_sets.py  how a CSV writes several labels per image
    layout.py      both together: which files are labelled, unlabelled and test images
    templates.py   the first competition.toml and prompt list, with gaps
    describe.py    the layout as a table, to be confirmed
    write.py       the gaps filled and the files written
    read_back.py   the result read as the other commands will read it
"""

from kit.curate.start.describe import describe_layout
from kit.curate.start.layout import Layout, infer_layout
from kit.curate.start.read_back import check_readable
from kit.curate.start.write import check_competition_name, write_competition

__all__ = [
    "Layout",
    "check_competition_name",
    "check_readable",
    "describe_layout",
    "infer_layout",
    "write_competition",
]
