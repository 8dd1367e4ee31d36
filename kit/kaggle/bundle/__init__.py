"""Bundle: trained runs as one folder that predicts new test images without internet, for code competitions.

Reads finished runs; writes ``runs/NAME/bundle/WHAT/``: bundle.json (everything in it, with the SHA-256 of every file),
fold weights, encoders, words, the kit as a wheel, inference.py and inference.ipynb, and the metadata of Kaggle's
dataset and notebook. On the other side inference.py calls `predict_bundle`, which needs none of the training data.
File by file::

    manifest.py             bundle.json, checked when it is read
    members.py              which runs go, how they are mixed, and which cannot go
    out_of_distribution.py  which test images show none of the classes
    contents.py             the runs' weights, encoders and words, and training images for models that are fitted anew
    notebook.py             inference.py, inference.ipynb, Kaggle's metadata
    script.py               is inference.py: the standard library alone, until the wheels are installed
    member_predictions.py   the members' predictions of new images
    inference.py            the other side: new test images -> submission.csv
    fresh.py                new images predicted here, by what a bundle would hold
    trial.py                the bundle's predictions compared with the runs', and timed, before it is handed over
    writing.py              all of it written, whole or not at all
"""

from kit.kaggle.bundle.fresh import predict_fresh
from kit.kaggle.bundle.inference import predict_bundle
from kit.kaggle.bundle.manifest import Bundle, read_bundle
from kit.kaggle.bundle.writing import WrittenBundle, write_bundle

__all__ = ["Bundle", "WrittenBundle", "predict_bundle", "predict_fresh", "read_bundle", "write_bundle"]
