"""What a plan depends on: the competition's counts and a few of its images, the machine, what the user wishes.

Reads the image table, and the sizes of a few images; writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.config.competition import Competition
from kit.core.errors import InputError
from kit.core.machine import memory_gibibytes
from kit.core.names import MULTILABEL
from kit.core.shapes import Vectors
from kit.core.terminal import track
from kit.data.class_names import are_codes
from kit.data.decoding import decode_image
from kit.data.table import read_classes, read_table
from kit.data.table.labels import split_labels
from kit.features.prompts import read_prompts
from kit.features.weights import EncoderSpec

N_SAMPLES = 16  # images that are looked at, for their size and to measure encoders
MAX_LABELED = 240  # labelled images on which encoders are compared, the same number of each class as far as there are
PRESETS = ("quick", "good", "best")
SECONDS_OF_PRESET = {"quick": 600.0, "good": 3600.0, "best": 6 * 3600.0}  # where no time is given
MANY_POOL = 10  # times the test images: from here on they add little to the unlabelled ones

Encode = Callable[[EncoderSpec, Sequence[str]], Vectors]
"""Of an encoder and paths of images: their features, (n_paths, n_dims) of unit length."""


def encode_paths(spec: EncoderSpec, paths: Sequence[str]) -> Vectors:
    """Return features of images, (n_paths, n_dims) of unit length; nothing is cached."""
    from kit.data.store import decode_block
    from kit.features.device import choose_precision, device_name
    from kit.features.encoders import load_encoder
    from kit.features.forward import BATCH, ImageForward

    run = ImageForward(load_encoder(spec), choose_precision(spec, device_name()))
    geometry = run.preprocessing.geometry
    blocks = [list(paths[i : i + BATCH]) for i in range(0, len(paths), BATCH)]
    return np.concatenate([run(decode_block(block, geometry)) for block in track(blocks, f"look by {spec.name}")])


@dataclass(frozen=True)
class Wishes:
    """Say what the user asks of a plan.

    Parameters
    ----------
    preset
        ``"quick"``: one probe per encoder and their joint one; ``"good"``: what earned its time; ``"best"``: all that
        fits into the time.
    seconds
        Time to spend; that of the preset by default.
    weights
        A folder in which weights are looked for.
    test_images
        Whether test images may serve as unlabelled ones.
    """

    preset: str = "good"
    seconds: float | None = None
    weights: Path | None = None
    test_images: bool = True

    @property
    def budget(self) -> float:
        """Return the seconds to spend."""
        return self.seconds or SECONDS_OF_PRESET[self.preset]


@dataclass(frozen=True)
class PlanFacts:
    """Hold what is known of a competition before any run.

    Parameters
    ----------
    task
        ``"multiclass"`` or ``"multilabel"``.
    n_smallest
        Labelled images of the smallest class.
    n_folds
        How often each run is fitted.
    side
        Median of the shorter side of a few images, in pixels.
    samples
        Paths of those images.
    labeled, labels, groups
        Paths, class numbers and group numbers of some labelled images, the classes as even as they can be had; of
        several labels the rarest counts. Images of one group count as one another's copies.
    prompts
        Prompt list beside competition.toml; None where there is none.
    devices
        The devices of this machine, as `kit.features.device` names them.
    has_hierarchy
        Whether classes have groups.
    lookup
        Folders in which a relative path to weights is looked up; the workspace is the last.
    encode
        How labelled images are encoded; anew by default.
    """

    task: str
    n_classes: int
    n_labeled: int
    n_smallest: int
    n_unlabeled: int
    n_test: int
    n_folds: int
    side: int
    samples: tuple[str, ...]
    labeled: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[int, ...]
    prompts: str | None
    has_hierarchy: bool
    lookup: tuple[Path, ...]
    devices: tuple[str, ...] = ("cpu",)
    encode: Encode = encode_paths

    @property
    def is_fast(self) -> bool:
        """Return whether networks train on a GPU."""
        return self.devices[0].startswith("cuda")

    @property
    def n_devices(self) -> int:
        """Return how many folds train side by side."""
        return min(len(self.devices), self.n_folds)

    @property
    def is_multilabel(self) -> bool:
        """Return whether an image may have several labels."""
        return self.task == MULTILABEL

    @property
    def n_images(self) -> int:
        """Return how many images are encoded."""
        return self.n_labeled + self.n_unlabeled + self.n_test

    def uses_test_images(self, wishes: Wishes) -> bool:
        """Return whether test images join the unlabelled ones: not where the pool is ten times as many."""
        return wishes.test_images and self.n_test > 0 and self.n_unlabeled < MANY_POOL * self.n_test


def read_facts(competition: Competition, table: pd.DataFrame | None = None, encode: Encode = encode_paths) -> PlanFacts:
    """Return what a plan needs to know of a competition; InputError where its image table cannot be read.

    `table` is the image table where that is read already; `encode` is of `PlanFacts`.
    """
    from kit.features.device import list_devices

    table = read_table(competition) if table is None else table
    task, is_multilabel = competition.facts.task, competition.facts.task == MULTILABEL
    classes = read_classes(table, task)
    splits, cells, paths = (table[column].tolist() for column in ("split", "label", "path"))
    rows = [row for row, split in enumerate(splits) if split == "labeled"]
    label_sets = [split_labels(cells[row]) if is_multilabel else [cells[row]] for row in rows]
    counts = Counter(label for labels in label_sets for label in labels)
    numbers = {name: number for number, name in enumerate(classes)}
    rarest = [min(labels, key=counts.__getitem__, default="") for labels in label_sets]
    codes = np.array([numbers.get(label, len(classes)) for label in rarest])  # no label at all: a class of its own
    chosen = _even(codes)
    rows_seen = np.unique(np.linspace(0, len(paths) - 1, min(N_SAMPLES, len(paths))).astype(int))
    sides = _read_sides([paths[i] for i in rows_seen])
    return PlanFacts(
        task=task,
        n_classes=len(classes),
        n_labeled=len(rows),
        n_smallest=min(counts.values(), default=0),
        n_unlabeled=splits.count("unlabeled"),
        n_test=splits.count("test"),
        n_folds=len(competition.folds.use or range(competition.folds.n)),
        side=int(np.median(list(sides.values()))) if sides else 0,
        samples=tuple(sides),
        labeled=tuple(paths[rows[i]] for i in chosen),
        labels=tuple(codes[chosen].tolist()),
        groups=tuple(_number_groups(table["group"].iloc[rows].tolist())[chosen].tolist()),
        prompts=None if is_multilabel else _choose_prompts(competition.folder / "prompts", classes),
        has_hierarchy=competition.data.hierarchy is not None,
        lookup=competition.lookup,
        devices=list_devices(),
        encode=encode,
    )


def memory_megabytes() -> float:
    """Return the memory of the device that encodes: the GPU's, else the machine's."""
    import torch

    from kit.features.device import device_name

    if device_name().startswith("cuda"):
        return torch.cuda.mem_get_info(device_name())[1] / 2**20
    return 1024 * memory_gibibytes()


def _even(codes: np.ndarray) -> np.ndarray:
    """Return positions of up to MAX_LABELED labelled images: the first of every class, then the second, ...

    Of so many classes that not even two images of each could be had, some classes, evenly spread, have two.
    """
    order = np.argsort(codes, kind="stable")
    _, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(starts, counts)
    several, most = np.flatnonzero(np.bincount(codes) > 1) if len(codes) else codes, MAX_LABELED // 2
    if len(several) > most:
        chosen = several[np.linspace(0, len(several) - 1, most).astype(int)]
        return np.flatnonzero(np.isin(codes, chosen) & (rank < 2))
    return np.sort(np.lexsort((codes, rank))[:MAX_LABELED])


def _number_groups(groups: list[str | None]) -> np.ndarray:
    """Return a number for each image's group; an image without a group is one of its own."""
    numbers: dict[object, int] = {}
    keys = [(i,) if group is None else group for i, group in enumerate(groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _read_sides(paths: list[str]) -> dict[str, int]:
    """Return the shorter sides of images in pixels, by path; those that cannot be read are left out."""
    sides = {}
    for path in paths:
        with suppress(OSError):
            sides[path] = min(decode_image(path).shape[1:])
    return sides


def _choose_prompts(folder: Path, classes: tuple[str, ...]) -> str | None:
    """Return the prompt list to use: "crafted" before the drafted "first", none whose words are codes."""
    for name in ("crafted", "first"):
        with suppress(InputError):
            words = read_prompts(folder, name, classes).words
            if not are_codes([word for each in words for word in each]):
                return name
    return None
