"""What a bundle's members say of images: restored, fitted anew, or asked together with the training images.

Reads fold weights, words and the training images' features from the bundle; caches in the competition's workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.core.names import MULTILABEL
from kit.core.tensors import read_tensors
from kit.data.images import UNKNOWN, Images, Pool, name_images
from kit.data.prepared import Prepared
from kit.data.store import keep_pixels
from kit.features.cache import encode_images, keep_features, squashed
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


def mix_members(members: Sequence[Member], parts: list[Predictions]) -> np.ndarray:
    """Return the members' mixture, (n_images, n_classes), as the ensemble makes it; a run alone stays as it is."""
    mixture = Mixture(np.array([own.temperature for own in members]), np.array([own.weight for own in members]), 1.0)
    several = parts[0].task == MULTILABEL
    mixed = mixture(np.stack([of_choices(own.proba, several) for own in parts]))
    return mixed[..., 1] if several else mixed


class MemberPredictions:
    """Gather each member's opinion, pool by pool: restored models fold by fold, models fitted anew from memory.

    Parameters
    ----------
    bundle, competition
        The bundle, and its competition.
    rejecter
        Scores the images too; None where every image gets a class.
    """

    def __init__(self, bundle: Bundle, competition: Competition, rejecter: Rejecter | None = None) -> None:
        self.bundle, self.competition, self._rejecter = bundle, competition, rejecter
        empty = pool_of(competition, bundle, _table_of([]))
        for own in bundle.words:
            arrays = read_tensors(competition.folder / own.file)
            text = TextWeights(arrays["values"], float(arrays["logit_scale"]))
            keep_text_weights(empty, own.encoder, own.args, own.prompts, text)
        self._fitted = {own.name: list(self._fit_anew(own)) for own in bundle.members if not own.kept}
        self._said: dict[str, list[Predictions]] = {own.name: [] for own in bundle.members}
        self._pools: list[Pool] = []
        self._encoded: dict[str, list[np.ndarray]] = {own.name: [] for own in bundle.members if own.asks_neighbours}

    def see(self, pool: Pool) -> None:
        """Let every member look at the images of a pool; those that ask neighbours speak once they have seen all."""
        images = pool.select(np.arange(len(pool)))
        self._pools.append(pool)
        if self._rejecter is not None:
            self._rejecter.see(images)
        for own in self.bundle.members:
            if own.asks_neighbours:
                values = encode_images(
                    images, own.run.options["encoder"], own.run.options.get("encoder_args", {})
                ).values
                self._encoded[own.name].append(values.astype(np.float16))
            else:
                models = self._fitted.get(own.name) or self._restore(own)
                self._said[own.name].append(self._ask(models, images))

    def predict(self) -> Predictions:
        """Return the mixture's probabilities of all images seen."""
        for own in self.bundle.members:
            if own.asks_neighbours:
                self._said[own.name] = [self._predict_together(own)]
        parts = [concatenate(self._said[own.name]) for own in self.bundle.members]
        return replace(parts[0], proba=mix_members(self.bundle.members, parts))

    def _ask(self, models: Iterable[Model], images: Images) -> Predictions:
        """Return the mean of what the folds' models say of images, each of them scored by it."""
        said, scores = [], []
        for model in models:
            said.append(predict_images(model, images))
            if self._rejecter is not None:
                scores.append(self._rejecter.score(model, images, said[-1]))
        if self._rejecter is not None:
            self._rejecter.hear(scores)
        return mean_predictions(said)

    def _predict_together(self, member: Member) -> Predictions:
        """Return what a member says of all images seen, beside the training images: the graph's other nodes."""
        options, training = member.run.options, self.bundle.training
        encoder, args = options["encoder"], options.get("encoder_args", {})
        names = [name for name in training.names if not name.startswith("test/")]
        tables = [_table_of(names), *(_table_of(name_images(own.splits, own.ids)) for own in self._pools)]
        pool = pool_of(self.competition, self.bundle, pd.concat(tables, ignore_index=True))
        file = next(own["file"] for own in training.features if (own["encoder"], own["args"]) == (encoder, args))
        known = np.load(self.competition.folder / file)[: len(names)]
        keep_features(pool, encoder, args, np.concatenate([known, *self._encoded[member.name]]))
        fresh = np.arange(len(names), len(pool))
        images = pool.select(fresh)
        return self._ask(self._restore(member, fresh if member.run.use_test_images else NOBODY), images)

    def _restore(self, member: Member, nodes: np.ndarray = NOBODY) -> Iterator[Model]:
        """Give the folds' models, one at a time; `nodes` join the graph of those that have one."""
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
                tensors |= {f"{prefix}{key}": np.concatenate([tensors[prefix + key], own]) for key, own in more.items()}
            yield restore_model(self._ready(), member.run, part.fold, tensors, part.settled)

    def _fit_anew(self, member: Member) -> Iterator[Model]:
        """Give the folds' models, fitted on the features that the bundle carries of the training images."""
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
        """Return the training images: names and what the models see of them, no files."""
        training = self.bundle.training
        pool = pool_of(self.competition, self.bundle, _table_of(training.names))
        for own in training.features:
            keep_features(pool, own["encoder"], own["args"], np.load(self.competition.folder / own["file"]))
        for own in training.pixels:
            keep_pixels(pool, squashed(own["side"]), np.load(self.competition.folder / own["file"]))
        return pool

    def _ready(self) -> Prepared:
        pool = pool_of(self.competition, self.bundle, _table_of([]))
        return Prepared(self.competition, pool, NOBODY, NOBODY, NOBODY, ())


def _table_of(names: Sequence[str]) -> pd.DataFrame:
    """Return a table of images of whose files nothing is asked, by ``split/id``."""
    split, ids = [name.partition("/")[0] for name in names], [name.partition("/")[2] for name in names]
    return pd.DataFrame({"id": ids, "split": split, "path": ""}, dtype=object)


def pool_of(competition: Competition, bundle: Bundle, table: pd.DataFrame, digests: np.ndarray | None = None) -> Pool:
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
