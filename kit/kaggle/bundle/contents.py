"""Gather a bundle's files: fold weights, encoders, words, and training images for graphs and models fitted anew.

Reads finished runs, encoders' weights and the feature cache; writes into the bundle's folder.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kit.config.competition import Run
from kit.core.shapes import Rows
from kit.core.tensors import read_tensors, write_tensors
from kit.data.images import Images, names_of
from kit.data.prepared import Prepared
from kit.data.store import read_pixels
from kit.features.cache import encode_images, squashed
from kit.features.encoders import preprocessing_of
from kit.features.prompts import prompts_of, read_text_weights
from kit.features.weights import HF_HUB, LOCAL_CONFIGURATION, LOCAL_DIR, EncoderSpec, locate_weights, spec_of
from kit.kaggle.bundle.manifest import CarriedDecision, CarriedEncoder, CarriedWords, FoldPart, Member, TrainingImages
from kit.kaggle.bundle.members import BundledRun, asks_neighbours, is_kept, reads_unlabeled
from kit.kaggle.bundle.out_of_distribution import carry_rule
from kit.models.heads.head import NODES
from kit.models.model import Model
from kit.runs.fit.fold import WEIGHTS_FILE
from kit.runs.fit.restore import read_settled
from kit.runs.store import Result, fold_folder
from kit.runs.store.build import build_model
from kit.runs.store.exclusion import leave_out

CARRIED_WEIGHTS = "open_clip_model.safetensors"
TOKENIZER = ("tokenizer", "vocab", "merges", "special_tokens", "config", "spiece", "sentencepiece")


class Contents:
    """Collect what the members need in the bundle's folder, each thing once."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        self.prepared, self.folder = prepared, folder
        self.encoders: list[CarriedEncoder] = []
        self.words: list[CarriedWords] = []
        self._names: dict[str, str] = {}  # encoder whose weights are copied, as the run writes it: as the bundle does
        self._rows = np.zeros(0, dtype=np.int64)
        self._arrays: dict[str, list[dict[str, Any]]] = {"features": [], "pixels": []}

    def add(self, members: list[BundledRun]) -> list[Member]:
        """Write what the members need; return how bundle.json names them."""
        anew = [member.run for member in members if not is_kept(self.prepared, member.run)]
        self._rows = self._training_rows(anew, any(map(self._asks, members)))
        return [self._add_member(member) for member in members]

    def decide(self, result: Result | None) -> CarriedDecision:
        """Write the decisions of a run or an ensemble; none where an image simply gets its most probable class."""
        plan, thresholds = self.prepared.competition.decision, result.record.thresholds if result else None
        rule = None
        if result is not None and not self.prepared.pool.is_multilabel:
            rule = carry_rule(self.prepared, result, self.folder, partial(self._add_encoder, with_weights=True))
        return CarriedDecision(plan=plan, thresholds=thresholds and thresholds.values, rule=rule)

    def add_metric(self) -> None:
        """Copy a user's own metric, for it decides which form a submission has."""
        if (custom := self.prepared.competition.metric_file) is not None:
            home, file = custom
            _copy(home / file, self.folder / file)

    @property
    def training(self) -> TrainingImages | None:
        """Return the training images that are carried, or None."""
        if not any(self._arrays.values()):
            return None
        names = names_of(self.prepared.pool.select(self._rows))
        return TrainingImages(names=names.tolist(), features=self._arrays["features"], pixels=self._arrays["pixels"])

    def _asks(self, chosen: BundledRun) -> bool:
        return asks_neighbours(self.prepared, chosen.result, chosen.run)

    def _training_rows(self, anew: list[Run], with_graph: bool) -> Rows:
        """Return the pool's rows that graphs and models fitted anew need; a graph's test images are the new ones."""
        learners = [run for run in anew if reads_unlabeled(run)]
        parts = [self.prepared.labeled] if anew or with_graph else []
        if learners or with_graph:
            parts.append(self.prepared.split("unlabeled"))
        if any(run.use_test_images for run in learners):
            parts.append(self.prepared.split("test"))
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)

    def _add_member(self, chosen: BundledRun) -> Member:
        """Write one run's models and what they need."""
        run, kept = chosen.run, is_kept(self.prepared, chosen.run)
        model = build_model(self.prepared.competition, run)
        options, carried = dict(run.options), self._add_encoders(model, run.model != "fine_tune")
        if options.get("encoder"):
            options["encoder"] = carried[0]["encoder"]
        if options.get("encoders"):
            options["encoders"] = carried[1:] if options.get("encoder") else carried
        asks = self._asks(chosen)
        if not kept or asks:
            self._add_training(model, carried)
        write = self._write_nodes if asks else self._copy_weights if kept else self._write_rows
        folds = [write(chosen, fold) for fold in self.prepared.scored]
        settings = run.model_copy(update={"options": options, "pseudo": None, "grid": None})
        return Member(
            name=chosen.result.name,
            run=settings,
            kept=kept,
            asks_neighbours=asks,
            weight=chosen.weight,
            temperature=chosen.temperature,
            folds=folds,
        )

    def _copy_weights(self, chosen: BundledRun, fold: int) -> FoldPart:
        """Copy one fold's weights."""
        source, name = fold_folder(chosen.result.folder, fold), f"weights/{chosen.result.name}/fold_{fold}.safetensors"
        read_tensors(source / WEIGHTS_FILE)  # where it is damaged, the run's file is named, not the copy
        _copy(source / WEIGHTS_FILE, self.folder / name)
        return FoldPart(fold=fold, file=name, settled=read_settled(chosen.result.folder, fold))

    def _write_nodes(self, chosen: BundledRun, fold: int) -> FoldPart:
        """Write one fold's weights, its graph's nodes by their place among the training images, without test images."""
        part = self._copy_weights(chosen, fold)
        tensors, is_test = read_tensors(self.folder / part.file), self.prepared.pool.splits == "test"
        for name in [name for name in tensors if name.endswith(NODES + "rows")]:
            prefix, rows = name.removesuffix("rows"), tensors[name]
            stays = ~is_test[rows]
            tensors |= {f"{prefix}{key}": tensors[f"{prefix}{key}"][stays] for key in ("labels", "weights")}
            tensors[name] = self._position(self.prepared.pool.select(rows[stays]))
        write_tensors(self.folder / part.file, tensors)
        return part

    def _write_rows(self, chosen: BundledRun, fold: int) -> FoldPart:
        """Write which of the training images one fold's model is fitted on."""
        labeled = leave_out(self.prepared, chosen.run, self.prepared.training(fold))
        unlabeled = self.prepared.unlabeled(fold, chosen.run.use_test_images)
        if not reads_unlabeled(chosen.run):
            unlabeled = unlabeled.take(np.zeros(0, dtype=np.int64))
        name = f"weights/{chosen.result.name}/fold_{fold}.safetensors"
        rows = {"labeled": self._position(labeled), "unlabeled": self._position(unlabeled)}
        write_tensors(self.folder / name, {**rows, "labels": labeled.labels, "weights": labeled.weights})
        settled = read_settled(chosen.result.folder, fold)
        return FoldPart(fold=fold, file=name, settled=settled)

    def _position(self, images: Images) -> Rows:
        """Return the positions of images among those that are carried."""
        position = np.full(len(self.prepared.pool), -1, dtype=np.int64)
        position[self._rows] = np.arange(len(self._rows))
        return position[images.rows]

    def _add_training(self, model: Model, carried: Sequence[dict[str, Any]]) -> None:
        """Write the training images as a model that is fitted anew sees them: pixels, or every encoder's features."""
        images = self.prepared.pool.select(self._rows)
        for (encoder, args), each in zip(model.encoders_used, carried, strict=True):
            what = {"encoder": each["encoder"], "args": args}  # float16: as they lie in the cache
            self._add_array("features", what, lambda e=encoder, a=args: encode_images(images, e, a).values.astype("f2"))
        if not carried:
            side = model.options()["pixels"]
            self._add_array("pixels", {"side": side}, lambda: read_pixels(images, squashed(side)))

    def _add_array(self, kind: str, what: dict[str, Any], read: Callable[[], np.ndarray]) -> None:
        """Write an array of the training images, once."""
        if any(what.items() <= known.items() for known in self._arrays[kind]):
            return
        values = read()
        name = f"training/{kind}_{len(self._arrays[kind])}.npy"
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(self.folder / name, values)
        self._arrays[kind].append({**what, "file": name})

    def _add_encoders(self, model: Model, with_weights: bool) -> list[dict[str, Any]]:
        """Copy a model's encoders and what its words become; return how the bundle writes each, with its arguments."""
        names = [self._add_encoder(text, args, with_weights) for text, args in model.encoders_used]
        carried = [
            {"encoder": name, "encoder_args": args} for name, (_, args) in zip(names, model.encoders_used, strict=True)
        ]
        for prompts in model.prompt_lists:
            texts = [text for text, _ in model.encoders_used]
            reader = texts.index(model.encoder_used[0] or "")
            self._add_words(model.encoders_used[reader][0], names[reader], carried[reader]["encoder_args"], prompts)
        return carried

    def _add_encoder(self, text: str, args: dict[str, Any], with_weights: bool) -> str:
        """Copy an encoder; return how the bundle writes it."""
        if not with_weights:  # a trained network's weights are the run's
            text = text.partition("@")[0]
        spec = spec_of(self.prepared.pool, text, args)
        name = text
        if with_weights:
            name = self._names[text] = self._names.get(text) or self._copy_encoder(spec)
        carried = CarriedEncoder(text=name, args=args, preprocessing=preprocessing_of(spec).key)
        if carried not in self.encoders:
            self.encoders.append(carried)
        return name

    def _copy_encoder(self, spec: EncoderSpec) -> str:
        """Copy an encoder's weights and configuration, wherever they lie; return its name in the bundle."""
        weights = locate_weights(spec)
        place = f"encoders/{len(self._names)}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', spec.name or weights.parent.name)}"
        if spec.folder or spec.name.startswith(HF_HUB):
            _copy(weights, self.folder / place / CARRIED_WEIGHTS)
            for file in weights.parent.iterdir():
                if file.name == LOCAL_CONFIGURATION or (
                    file.name.startswith(TOKENIZER) and file.suffix in (".json", ".txt", ".model")
                ):
                    _copy(file, self.folder / place / file.name)
            return f"open_clip:{LOCAL_DIR}{place}"
        _copy(weights, self.folder / f"{place}.safetensors")
        tag = f"/{spec.tag}" if spec.library == "open_clip" else ""
        return f"{spec.library}:{spec.name}{tag}@{place}.safetensors"

    def _add_words(self, encoder: str, name: str, args: dict[str, Any], prompts: str) -> None:
        """Write the text features of a prompt list, and the list."""
        if any((known.encoder, known.args, known.prompts) == (name, args, prompts) for known in self.words):
            return
        text = read_text_weights(self.prepared.pool, encoder, args, prompts)
        file = f"words/{len(self.words)}_{prompts}.safetensors"
        write_tensors(self.folder / file, {"values": text.values, "logit_scale": np.array(text.logit_scale)})
        source = self.prepared.pool.prompts / f"{prompts}.toml"
        prompts_of(self.prepared.pool, prompts)
        if source.is_file():
            _copy(source, self.folder / "prompts" / source.name)
        self.words.append(CarriedWords(encoder=name, args=args, prompts=prompts, file=file))


def _copy(source: Path, target: Path) -> None:
    """Copy a file's bytes, links resolved; its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
