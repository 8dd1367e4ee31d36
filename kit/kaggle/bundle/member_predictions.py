"""Predict new images by a bundle's members: restored, fitted anew, or in one graph with the training images.

Reads fold weights, words and the training images' features from the bundle; caches in the competition's workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.core.names import MULTILABEL
from kit.core.shapes import Ids, Proba, Rows, Vectors
from kit.core.tensors import read_tensors
from kit.data.images import UNKNOWN, Images, Pool, name_images
from kit.data.prepared import Prepared
from kit.data.store import keep_pixels
from kit.features.cache import encode_images, keep_features, squashed
from kit.features.joint import encoders_of
from kit.features.prompts import TextWeights, keep_text_weights
from kit.kaggle.bundle.manifest import Bundle, Member
from kit.kaggle.bundle.out_of_distribution import Rejecter
from kit.models.heads.head import NODES
from kit.models.model import Model
from kit.runs.fit.fold import build_fold_model
from kit.runs.fit.fold import predict as predict_images
from kit.runs.fit.restore import restore_model
from kit.scoring.hierarchy import Hierarchy
from kit.scoring.mixing import Mixture, of_choices
from kit.scoring.predictions import Predictions, concatenate, mean_predictions

NOBODY = np.zeros(0, dtype=np.int64)


def mix_members(members: Sequence[Member], parts: list[Predictions]) -> Proba:
    """Return the members' mixture as the ensemble makes it; the predictions of a run alone stay as they are."""
    temperatures, weights = [member.temperature for member in members], [member.weight for member in members]
    mixture, several = Mixture(np.array(temperatures), np.array(weights)), parts[0].task == MULTILABEL
    mixed = mixture(np.stack([of_choices(part.proba, several) for part in parts]))
    return mixed[..., 1] if several else mixed


class MemberPredictions:
    """Gather each member's predictions, pool by pool; a `rejecter`, where there is one, scores the images too.

    Models are restored fold by fold for each pool; those that are fitted anew stay in memory.
    """

    def __init__(self, bundle: Bundle, competition: Competition, rejecter: Rejecter | None = None) -> None:
        self.bundle, self.competition, self._rejecter = bundle, competition, rejecter
        empty = pool_of(competition, bundle, _table_of([]))
        for words in bundle.words:
            arrays = read_tensors(competition.folder / words.file)
            text = TextWeights(arrays["values"], float(arrays["logit_scale"]))
            keep_text_weights(empty, words.encoder, words.args, words.prompts, text)
        self._fitted = {member.name: list(self._fit_anew(member)) for member in bundle.members if not member.kept}
        self._parts: dict[str, list[Predictions]] = {member.name: [] for member in bundle.members}
        self._pools: list[Pool] = []
        asking = [member.name for member in bundle.members if member.asks_neighbours]
        self._encoded: dict[str, list[list[Vectors]]] = {name: [] for name in asking}

    def add(self, pool: Pool) -> None:
        """Predict the images of a pool; members that use neighbours encode them, and predict in the end."""
        images = pool.select(np.arange(len(pool)))
        self._pools.append(pool)
        if self._rejecter is not None:
            self._rejecter.compare(images)
        for member in self.bundle.members:
            if member.asks_neighbours:
                values = [encode_images(images, *each).values for each in encoders_of(member.run.options)]
                self._encoded[member.name].append([part.astype(np.float16) for part in values])
            else:
                models = self._fitted.get(member.name) or self._restore(member)
                self._parts[member.name].append(self._predict(models, images))

    def mixture(self) -> Predictions:
        """Return the members' mixture of all images."""
        for member in self.bundle.members:
            if member.asks_neighbours:
                self._parts[member.name] = [self._predict_together(member)]
        parts = [concatenate(self._parts[member.name]) for member in self.bundle.members]
        return replace(parts[0], proba=mix_members(self.bundle.members, parts))

    def _predict(self, models: Iterable[Model], images: Images) -> Predictions:
        """Return the mean of the folds' models' predictions of images; the rejecter scores each of them."""
        parts, scores = [], []
        for model in models:
            parts.append(predict_images(model, images))
            if self._rejecter is not None:
                scores.append(self._rejecter.score(model, images, parts[-1]))
        if self._rejecter is not None:
            self._rejecter.keep(scores)
        return mean_predictions(parts)

    def _predict_together(self, member: Member) -> Predictions:
        """Return a member's predictions of all images, which are nodes of one graph with the training images."""
        training = self.bundle.training_images
        names = [name for name in training.names if not name.startswith("test/")]
        tables = [_table_of(names), *(_table_of(name_images(pool.splits, pool.ids).tolist()) for pool in self._pools)]
        pool = pool_of(self.competition, self.bundle, pd.concat(tables, ignore_index=True))
        files = {(each["encoder"], repr(each["args"])): each["file"] for each in training.features}
        for i, (encoder, args) in enumerate(encoders_of(member.run.options)):
            known = np.load(self.competition.folder / files[encoder, repr(args)])[: len(names)]
            fresh_values = [values[i] for values in self._encoded[member.name]]
            keep_features(pool, encoder, args, np.concatenate([known, *fresh_values]))
        fresh = np.arange(len(names), len(pool))
        images = pool.select(fresh)
        return self._predict(self._restore(member, fresh if member.run.use_test_images else NOBODY), images)

    def _restore(self, member: Member, nodes: Rows = NOBODY) -> Iterator[Model]:
        """Yield the folds' models, one at a time; `nodes` join the graph of those that have one."""
        for part in member.folds:
            tensors = read_tensors(self.competition.folder / part.file)
            for name in [name for name in tensors if len(nodes) and name.endswith(NODES + "rows")]:
                prefix = name.removesuffix("rows")
                known = tensors[prefix + "labels"]
                more = {
                    "rows": nodes,
                    "labels": np.full((len(nodes), *known.shape[1:]), UNKNOWN, known.dtype),
                    "weights": np.ones(len(nodes), "float32"),
                }
                tensors |= {f"{prefix}{key}": np.concatenate([tensors[prefix + key], new]) for key, new in more.items()}
            yield restore_model(self._ready(), member.run, part.fold, tensors, part.settled)

    def _fit_anew(self, member: Member) -> Iterator[Model]:
        """Yield the folds' models, fitted on the features that the bundle carries of the training images."""
        pool = self._training_pool()
        for part in member.folds:
            rows = read_tensors(self.competition.folder / part.file)
            model = build_fold_model(self._ready(), member.run, part.fold)
            labeled = replace(pool.select(rows["labeled"], rows["labels"]), weights=rows["weights"])
            model.fit(labeled, pool.select(rows["unlabeled"]))
            if part.settled is not None:
                model.settle(part.settled)
            yield model

    def _training_pool(self) -> Pool:
        """Return the training images: their names, features and pixels, no files."""
        training = self.bundle.training_images
        pool = pool_of(self.competition, self.bundle, _table_of(training.names))
        for array in training.features:
            keep_features(pool, array["encoder"], array["args"], np.load(self.competition.folder / array["file"]))
        for array in training.pixels:
            keep_pixels(pool, squashed(array["side"]), np.load(self.competition.folder / array["file"]))
        return pool

    def _ready(self) -> Prepared:
        """Return the competition without any image."""
        pool = pool_of(self.competition, self.bundle, _table_of([]))
        return Prepared(self.competition, pool, NOBODY, NOBODY, NOBODY, ())


def _table_of(names: Sequence[str]) -> pd.DataFrame:
    """Return a table of images whose files are not read, by ``split/id``."""
    split, ids = [name.partition("/")[0] for name in names], [name.partition("/")[2] for name in names]
    return pd.DataFrame({"id": ids, "split": split, "path": ""}, dtype=object)


def pool_of(competition: Competition, bundle: Bundle, table: pd.DataFrame, digests: Ids | None = None) -> Pool:
    """Return the pool of a table's images, without labels."""
    return Pool(
        ids=table["id"].to_numpy(dtype=object),
        splits=table["split"].to_numpy(dtype=object),
        paths=table["path"].to_numpy(dtype=object),
        digests=np.full(len(table), "", dtype=object) if digests is None else digests,
        groups=np.arange(len(table)),
        classes=tuple(bundle.classes),
        cache=competition.workspace.cache(competition.name),
        prompts=competition.folder / "prompts",
        lookup=(competition.folder,),
        task=bundle.facts.task,
        hierarchy=hierarchy_of(bundle),
    )


def hierarchy_of(bundle: Bundle) -> Hierarchy | None:
    """Return the hierarchy of a bundle's labels, or None."""
    return None if bundle.parents is None else Hierarchy(np.array(bundle.parents, dtype=np.int64))
