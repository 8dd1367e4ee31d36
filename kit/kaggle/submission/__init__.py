"""Submission: the way of a CSV from predictions to Kaggle's score.

Test predictions are filled into the sample submission, checked, and written as ``submissions/NAME/NNN_RUN.csv``, with a
row of ``submissions/NAME/ledger.csv``. No submission is spent twice: the row is written before the file is sent,
and Kaggle's list, not the client's answer, tells whether it arrived. File by file::

    cells.py     how the sample writes numbers, yes and no, classes
    identity.py  which test image an id means
    form.py      which of eight forms the sample has, from its rows and the classes alone
    suit.py      that form and the metric brought together
    sample.py    the sample submission of a competition, read and matched with its test images
    style.py     how it is quoted
    check.py     whether a finished table is what it asks for
    fill.py      predictions in its rows and its form
    ledger.py    what was made, what was sent, how Kaggle scored it
    write.py     the next file of a run, and its row of the ledger
    gate.py      whether a file, or a notebook's version, may be sent
    send.py      sent once, and believed when Kaggle lists it
    standing.py  CV beside Kaggle's scores: do they agree, which two files to choose
    listing.py   the submissions as a table
"""

from kit.kaggle.submission.check import check_submission
from kit.kaggle.submission.fill import add_broken, class_prior, fill, fill_sample, with_broken, write_table
from kit.kaggle.submission.form import Form, read_form
from kit.kaggle.submission.gate import Package, check_open, find_arrived, pack_file, pack_kernel
from kit.kaggle.submission.identity import meant_ids
from kit.kaggle.submission.ledger import LedgerRow, find_row, hold_ledger, is_of, read_ledger
from kit.kaggle.submission.listing import describe_left, describe_limits, describe_place, render_submissions
from kit.kaggle.submission.sample import Sample, find_form, named_classes, read_sample
from kit.kaggle.submission.send import send_submission, settle, wait_for_score
from kit.kaggle.submission.standing import comparable, correlate_cv, describe_incomparable, pick_two, warn_of_noise
from kit.kaggle.submission.suit import FormClash, suit_form
from kit.kaggle.submission.write import make_submission

__all__ = [
    "Form",
    "FormClash",
    "LedgerRow",
    "Package",
    "Sample",
    "add_broken",
    "check_open",
    "check_submission",
    "class_prior",
    "comparable",
    "correlate_cv",
    "describe_incomparable",
    "describe_left",
    "describe_limits",
    "describe_place",
    "fill",
    "fill_sample",
    "find_arrived",
    "find_form",
    "find_row",
    "hold_ledger",
    "is_of",
    "make_submission",
    "meant_ids",
    "named_classes",
    "pack_file",
    "pack_kernel",
    "pick_two",
    "read_form",
    "read_ledger",
    "read_sample",
    "render_submissions",
    "send_submission",
    "settle",
    "suit_form",
    "wait_for_score",
    "warn_of_noise",
    "with_broken",
    "write_table",
]
