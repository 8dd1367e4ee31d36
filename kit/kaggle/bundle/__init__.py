"""Bundle: trained runs as one folder that predicts new test images without internet, for code competitions.

Reads finished runs; writes ``runs/NAME/bundle/WHAT/``: bundle.json (what is in it, with the SHA-256 of every file),
fold weights, encoders, words, the kit as a wheel, inference.py and inference.ipynb, and the metadata of Kaggle's
dataset and notebook. On the other side inference.py calls `predict`, which needs none of the training data::

    manifest.py    bundle.json, checked when it is read
    members.py     which runs go, how they are mixed, and which cannot go
    contents.py    their weights, encoders, words, and the training images of models that are fitted anew
    wheel.py       the kit itself
    notebook.py    inference.py, inference.ipynb, Kaggle's metadata
    writing.py     all of that, whole or not at all
    trial.py       compared with the runs' own predictions, and timed, before it is handed over
    script.py      is inference.py: the standard library alone, until the wheels are installed
    member_predictions.py   the members' predictions of new images
    out_of_distribution.py  which of them show none of the classes
    inference.py   the other side: new test images -> submission.csv
"""

from kit.kaggle.bundle.inference import predict_bundle
from kit.kaggle.bundle.manifest import Bundle, read_bundle
from kit.kaggle.bundle.writing import WrittenBundle, write_bundle

__all__ = ["Bundle", "WrittenBundle", "predict_bundle", "read_bundle", "write_bundle"]
