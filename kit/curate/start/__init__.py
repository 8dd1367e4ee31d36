"""Start a competition: a folder of images becomes a competition.toml that a person corrects.

Reads names of files and tables; writes ``NAME/competition.toml`` and ``NAME/prompts/first.toml``. File by file::

    choices.py     what a person answers beforehand, and what was chosen, with its evidence
    columns.py     what names of columns give away
    roles.py       what names of folders give away
    match.py       which images the cells of a column name
    tables.py      tables as text: CSV, TSV, zipped, JSON
    survey.py      what lies in the folder, each file read once
    samples.py     what the sample submission tells, and the likeliest metric
    cells.py       how a table writes labels
    listed.py      labelled images by a table
    folders.py     labelled images by class folders or the beginnings of file names
    splits.py      test images, unlabelled ones, those of a validation set
    groups.py      the column that names an individual
    words.py       what codes of classes mean
    layout.py      all together: which files are what
    frames.py      a table of paths and labels, from Python
    templates.py   the first competition.toml and prompt list, with gaps
    describe.py    the layout as tables, to be confirmed
    write.py       the gaps filled and the files written
    read_back.py   the result read as the other commands will read it
"""

from kit.curate.start.choices import Answers
from kit.curate.start.describe import describe_choices, describe_layout, list_choices
from kit.curate.start.layout import Layout, infer_layout
from kit.curate.start.read_back import check_readable
from kit.curate.start.write import check_competition_name, write_competition

__all__ = [
    "Answers",
    "Layout",
    "check_competition_name",
    "check_readable",
    "describe_choices",
    "describe_layout",
    "infer_layout",
    "list_choices",
    "write_competition",
]
