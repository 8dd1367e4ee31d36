"""Scoring: arrays in, numbers and arrays out; nothing of a competition is read here.

- `metrics`: METRICS, standard errors, the paired test. Add a metric there.
- `predictions`: ids x classes -> probability, and its file. `hierarchy`: parents and coarser levels. `task`: how many
  labels an image may have.
- `mixing`: how the members of an ensemble become one. `thresholds`: which of several labels an image has.
- `rejection`: which images are out-of-distribution. `roc`: how well each class is told apart, also as a picture.

`kit.runs.decide` applies thresholds and rejection to runs, for each fold by what the other folds chose.
"""
