"""Turn a competition's images into a scored, validated submission.

Two sentences generate the house:

- A stage is a file, or a room of files where it is large; an extension point is a folder.
- Every model turns images into `Predictions`; everything after only combines `Predictions`.

The pipeline, in the order in which ``./run.sh all`` walks it; every stage leaves files that the next one reads::

    (download                 data, checked and unpacked        kaggle_api/, new/)
    competition.toml          facts and runs                    competition_file.py
      -> image table          id, path, label, split            table/
      -> audit                broken files, duplicates          check/
      -> folds/NAME.csv       the only split there is           folds/
      -> store, features      decode once, encode once          store.py, encoders/, features.py, prompts/
      -> runs x folds         oof, test, unlabeled Predictions  models/, training/, crossval.py, sweep.py
      -> pseudo-label rounds  per fold, from models that        pseudo/, rounds.py
                              never saw the fold
      -> ensemble             temperatures and weights on oof   mixing.py, ensemble.py
      -> decisions            thresholds, none of these         decision/, strangers/, decided.py
      -> submissions/NAME/    one validated CSV, a ledger row   submission/
      -> leaderboard          CV +- SE, paired tests            leaderboard/
      -> verify               re-derives all of it; a leak      verify.py
                              is named, exit code 1
      -> report.html          one page to look at               report/
    (explain, triage          why, and which labels are wrong   explain/, triage/)
    (submit                   sent once, scores come back       submitting/)
    (tune                     one run's settings, searched      search.py, tuning/)
    (bundle                   the runs, without internet        bundle/)

Imports go one way (tests/test_architecture.py holds the order). What a model may see is an `Images`
selection: ids, pixels, features, and the labels of the training folds alone. Everything computed lies under
``runs/NAME/``, keyed by what it was made from: re-used when the key matches, made anew when it does not.
"""

__version__ = "0.4.0"
