"""Words: every prompt list compared zero-shot on every labelled image, and the words that could be better.

Nothing is fitted, so every row of every list is a fair one; choosing the best list by them is a choice on these rows.
Reads features of images and texts; notes in ``runs/NAME/prompts.json`` that the lists were looked at. File by file::

    confusions.py  what is taken for what, and which class pairs ask for better words
    scores.py      what is measured of a list
    snippet.py     the words of such pairs as TOML, ready to edit
    compare.py     every list scored with every encoder
    render.py      the comparison on a terminal
"""

from kit.curate.words.compare import compare_prompts
from kit.curate.words.confusions import Confusion
from kit.curate.words.render import print_report
from kit.curate.words.scores import EncoderScores, ListScore, PromptReport

__all__ = ["Confusion", "EncoderScores", "ListScore", "PromptReport", "compare_prompts", "print_report"]
