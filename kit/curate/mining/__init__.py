"""Mining: labels by cosine similarity to a few exemplar images per class.

A mined label is a guess: what cross-validation measures on it is agreement, not accuracy. An exemplar is no label
either: it is not among the mined. Test images are not mined, nor what shares their id or their bytes. File by file::

    exemplars.py   the images that stand for a class, found in the image table
    similarity.py  cosine similarities of a large pool to them
    mined.py       both together: every image's nearest class
    labels.py      labels, contact sheets and counts, written
"""

from kit.curate.mining.labels import check_writable, write_labels, write_mined
from kit.curate.mining.mined import Mined, mine_labels

__all__ = ["Mined", "check_writable", "mine_labels", "write_labels", "write_mined"]
