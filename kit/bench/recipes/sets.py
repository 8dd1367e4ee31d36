"""Photo sets: where they lie, and one draw of labels as the competition that `new` would have planned.

Every image is encoded once for all draws of its set: what a run of a draw needs is taken over from the whole set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.bench.semi import PhotoSetting, draw_rows, lay_out, read_photos
from kit.config.reader import parse_run
from kit.core.engine import Task, is_remote
from kit.core.errors import InputError, nearest
from kit.core.files import Workspace, write_atomic
from kit.core.shapes import Labels, Rows, Vectors
from kit.curate.plan import Wishes, plan_competition
from kit.curate.plan.facts import Encode, encode_paths
from kit.curate.start.write import compose_prompts
from kit.data.digits import write_digit_classes
from kit.data.images import Images, Pool
from kit.data.prepared import Prepared
from kit.data.store import keep_pixels, read_rows, read_store
from kit.features.cache import adopt_features, encode_images, has_features, squashed
from kit.features.joint import Joined
from kit.features.weights import EncoderSpec
from kit.models.classic.on_pixels import OnPixels
from kit.runs.fit.crossval import make_apart
from kit.runs.fit.tasks import describe_needs
from kit.runs.store.build import build_model

DIGITS = "digits"  # which come with scikit-learn
SETTINGS = (
    PhotoSetting("trashnet", 15),
    PhotoSetting("grocery", 5, "coarse"),
    PhotoSetting("cifar10", 4, n_per_class=300, takes_first=True),
    PhotoSetting("cifar10", 25, n_per_class=300, takes_first=True),
    PhotoSetting(DIGITS, 15),
)


@dataclass(frozen=True)
class Draw:
    """Hold one draw of labels: its competition, planned, and what only the scoring may see.

    Parameters
    ----------
    laid
        The competition, its runs those of the plan.
    truth
        (n_test,) class codes of the test images.
    full, pool
        All images of the set, and the same as a pool of images without labels, which draws of a set share.
    labeled, others, test
        The draw's images in that: with labels, without, and the test images, which are among those without.
    """

    laid: Prepared
    truth: Labels
    full: Pool
    pool: Pool
    labeled: Images
    others: Images
    test: Images


def label_of(setting: PhotoSetting) -> str:
    """Return how a setting is called in tables."""
    return f"{setting.name} {setting.shots}"


def list_available(data: Path, only: Sequence[str] = ()) -> list[PhotoSetting]:
    """Return the settings whose photos are in a folder, of those in `only` where any are named.

    InputError where there are none.
    """
    if odd := [name for name in only if name not in map(label_of, SETTINGS)]:
        raise InputError(f"--only {odd[0]!r}: {nearest(odd[0], map(label_of, SETTINGS))}")
    wanted = [setting for setting in SETTINGS if not only or label_of(setting) in only]
    available = [setting for setting in wanted if setting.name == DIGITS or (data / setting.name).is_dir()]
    if (not only and all(setting.name == DIGITS for setting in available)) or not available:
        photos = ", ".join(dict.fromkeys(f"{each.name}/" for each in wanted if each.name != DIGITS))
        raise InputError(f"{data}: none of {photos} is there; this bench needs folders of photos")
    return available


def read_set(data: Path, setting: PhotoSetting, home: Workspace) -> Prepared:
    """Return all images of a set with their labels, without a run."""
    if setting.name == DIGITS:
        data = home.root / "data"
        write_digit_classes(data / DIGITS)
    everything = read_photos(data, setting, home)
    folder = home.root / "competitions" / setting.name
    with write_atomic(folder / "prompts" / "first.toml", "w") as file:
        file.write(compose_prompts(everything.classes, {}))  # as `new` drafts it
    competition = everything.competition.model_copy(update={"runs": {}, "folder": folder})
    pool = replace(everything.pool, prompts=folder / "prompts", lookup=competition.lookup)
    return replace(everything, competition=competition, pool=pool)


def encode_ahead(everything: Prepared) -> list[Path]:
    """Return what draws of a set's runs read; on a cluster the set is encoded first, once for all of them."""
    runs = [run.model_copy(update={"pseudo": None}) for run in everything.competition.runs.values()]
    if is_remote():
        make_apart(everything, runs)
        for encoder, args in list_encoders(everything):
            encode_images(everything.pool.select(np.arange(1)), encoder, args)
    return list(dict.fromkeys(place for run in runs for place in describe_needs(everything, run).reads))


def make_task(
    function: str,
    setting: PhotoSetting,
    number: int,
    more: str,
    arguments: dict[str, Any],
    reads: Sequence[Path],
    writes: Sequence[Path],
) -> Task:
    """Return the task of a draw, for a function of what is shared, ``setting``, ``draw`` and further `arguments`.

    `more` follows the setting and the draw in what the task is called; `reads` and `writes` are of `Task`.
    """
    from kit.features.device import device_name

    return Task(
        function,
        {"setting": asdict(setting), "draw": number, **arguments},
        f"{label_of(setting)}, draw {number}{more}",
        gpus=1.0 if device_name().startswith("cuda") else 0.0,
        reads=tuple(reads),
        writes=tuple(writes),
    )


def plan_draw(everything: Prepared, setting: PhotoSetting, number: int, wishes: Wishes) -> Draw:
    """Lay a draw out and plan its runs as `new` does; no image is encoded twice."""
    laid, truth = lay_out(everything, setting, number)
    plan = plan_competition(laid.competition, wishes, _table(laid), _encoded_in(everything.pool))
    file = laid.competition.file
    runs = {run.name: parse_run(run.name, run.table, file) for run in plan.runs}
    laid = replace(laid, competition=laid.competition.model_copy(update={"runs": runs}))
    parts = draw_rows(everything.labels, setting.shots, number)
    _share(laid, everything, np.concatenate(list(parts.values())))
    pool = _without_labels(everything)
    share_features(pool, everything.pool, list_encoders(laid))
    others = np.concatenate([parts["unlabeled"], parts["test"]])
    labeled = pool.select(parts["labeled"], everything.labels[parts["labeled"]])
    others = pool.select(np.sort(others))
    return Draw(laid, truth, everything.pool, pool, labeled, others, pool.select(parts["test"]))


def _encoded_in(full: Pool) -> Encode:
    """Return what encodes images of a set, of which features are there unless nobody but a plan asks for them."""
    row_of = {str(path): row for row, path in enumerate(full.paths)}

    def encode(spec: EncoderSpec, paths: Sequence[str]) -> Vectors:
        if not has_features(full, spec.text, spec.args):
            return encode_paths(spec, paths)
        rows = np.array([row_of[str(path)] for path in paths])
        return encode_images(full.select(rows), spec.text, spec.args).values

    return encode


def list_encoders(prepared: Prepared) -> list[Joined]:
    """Return every encoder of a competition's runs once."""
    models = [build_model(prepared.competition, run) for run in prepared.competition.runs.values()]
    encoders = [each for model in models for each in model.encoders_used]
    return [each for i, each in enumerate(encoders) if each not in encoders[:i]]


def share_features(pool: Pool, full: Pool, encoders: list[Joined], rows: Rows | None = None) -> None:
    """Give a pool the features of the same images in the whole set, at `rows` of it; all in order by default."""
    for encoder, args in encoders:
        if not has_features(pool, encoder, args):
            adopt_features(pool, full, np.arange(len(full)) if rows is None else rows, encoder, args)


def _share(laid: Prepared, everything: Prepared, rows: Rows) -> None:
    """Give a draw what its runs read of images: features, and small pixels for what reads those."""
    share_features(laid.pool, everything.pool, list_encoders(laid), rows)
    models = [build_model(laid.competition, run) for run in laid.competition.runs.values()]
    for side in {model.pixels for model in models if isinstance(model, OnPixels) and model.encoder is None}:
        geometry = squashed(side)
        keep_pixels(laid.pool, geometry, read_rows(read_store(everything.pool, geometry), rows))


def _without_labels(everything: Prepared) -> Pool:
    """Return the pool of all images in which every one may be a neighbour, as where test images serve as unlabelled."""
    pool = everything.pool
    return replace(pool, splits=np.full(len(pool), "test", dtype=object), cache=pool.cache / "all")


def _table(laid: Prepared) -> pd.DataFrame:
    """Return the image table of a draw, of which a plan reads splits, paths, labels and groups."""
    names = np.full(len(laid.pool), None, dtype=object)
    names[laid.labeled] = np.array(laid.classes, dtype=object)[laid.labels]
    columns = {"split": laid.pool.splits, "path": laid.pool.paths, "label": names, "group": laid.pool.groups}
    return pd.DataFrame(columns)
