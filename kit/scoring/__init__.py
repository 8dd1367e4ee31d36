"""Decisions: what is said of an image once its probabilities are known.

Arrays in, arrays out; nothing of a competition is read here, and only pictures are written. `thresholds` says which of
several labels an image has, `reject` which images show none of the classes, `curves` and `confusion` how well classes
are told apart. kit/runs/decide/decisions.py applies them to runs, for each fold by what the other folds chose.
"""
