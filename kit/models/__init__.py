"""Models: one file each, and one line in `MODELS`.

A model is a dataclass whose fields are its keys in competition.toml, with ``fit`` and ``predict_proba`` as in
scikit-learn: the constructor stores, ``fit`` learns and returns self. It sees `Images`: ids, pixels, features, and the
labels it may know. Heavy libraries are imported inside the methods.
"""

from __future__ import annotations

from kit.models.classic.clusters import Clusters
from kit.models.classic.forest import Forest
from kit.models.classic.label_spreading import LabelSpreading
from kit.models.classic.self_training import SelfTraining
from kit.models.classic.svm import SVM
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.prototypes import Prototypes
from kit.models.heads.semi_head import SemiProbe
from kit.models.heads.tip_adapter import TipAdapter
from kit.models.heads.zero_shot import ZeroShot
from kit.models.model import Model
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.networks.small_cnn import SmallCNN

MODELS: dict[str, type[Model]] = {
    "forest": Forest,
    "svm": SVM,
    "label_spreading": LabelSpreading,
    "self_training": SelfTraining,
    "clusters": Clusters,
    "zero_shot": ZeroShot,
    "linear_probe": LinearProbe,
    "semi_probe": SemiProbe,
    "prototypes": Prototypes,
    "tip_adapter": TipAdapter,
    "fine_tune": FineTune,
    "small_cnn": SmallCNN,
    "clip_finetune": ClipFinetune,
}
