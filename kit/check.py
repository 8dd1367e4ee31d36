"""The audit of the files: which are broken or odd, which are duplicates, and whether test looks like train.

Reads every image once; writes ``audit.parquet`` into the cache, keyed by path, size and time of change, so that the
next call only asks the file system what changed. Broken images are left out of everything that follows.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import terminal
from kit.competition import Competition
from kit.errors import InputError, some
from kit.files import write_atomic
from kit.images import decode_image

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch
    from PIL import Image
    from rich.table import Table

SHOWN = 10  # lines of each kind in the report
FILE = "audit.parquet"
PARTS = "audit.part-*.parquet"  # what a killed audit leaves, and the next one goes on from
SPLITS = ("labeled", "unlabeled", "test")
SEPARATOR = "; "  # between remarks
VERSION = "1"  # of what is measured; another one in the cache is measured anew
SAVE_EVERY = 1024  # files: what a killed audit loses at most
N_STAT_THREADS = 8
MISSING = (0, -1)  # bytes and time of change of a file that is not there
STAT_BLOCK = 4096  # files one thread asks the file system about at a time
SIDE = 16  # pixels, side of the stored thumbnail
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow converts
EXIF_ORIENTATION = 0x0112
PNG_DEPTH = 24  # byte offset of the bits per channel

# Near-duplicates. Chosen on 8,000 photographs so that what is found is the same shot or the next one of a burst; the
# hash alone joins any two small objects on a white table (2,302 pairs in 2,527 photographs, 25 of them real).
MIN_SIDE = 32  # pixels; below, hashes chain half of a set of digits into one cluster
MAX_DISTANCE = 6  # bits of 64
N_BANDS, N_INTACT = 9, 3  # of 9 bands, 6 flipped bits leave 3 intact: 84 look-ups find every pair
WINDOW = 64  # images compared within one bucket of equal bands: bounds the work where all images look alike
MIN_PAIRS, PAIRS_PER_IMAGE = 500_000, 5  # where the search ends if all images look alike
MIN_BITS = 4  # set or unset bits of a hash that says anything: flat images have fewer
MIN_CONTRAST = 4.0  # grey levels, standard deviation of a thumbnail that says anything
MIN_CORRELATION = 0.9  # of the thumbnails' gradients, which a shared background cannot feign
MAX_STRETCH = 1.1  # ratio of aspect ratios
MAX_CLUSTER_SHARE = 0.05  # of its class: beyond, a cluster is a look, not a duplicate
MAX_CLUSTER = 5  # images that are always believed: a third of a class with 15 labels
NO_CLUSTER = -1
PAIR_BLOCK = 8192  # pairs compared at a time: 50 MB

# The probe that tries to tell train from test.
MIN_PROBE_IMAGES = 20  # per side
MAX_PROBE_IMAGES = 5000  # per side
N_PROBE_FOLDS = 5
PROBE_C = 0.01  # inverse of the penalty
SLIGHT_AUC = 0.6
Z_95 = 1.96


def audit_files(table: pd.DataFrame, cache: Path) -> pd.DataFrame:
    """Read every file once and say what it is.

    Parameters
    ----------
    table
        The image table, (n_images,) rows with `path`, `split` and `label`.
    cache
        Folder of ``audit.parquet``; what it knows of unchanged files is not measured again.

    Returns
    -------
    DataFrame
        (n_images,) facts on the table's index: `n_bytes`, `digest` (SHA-256 of the bytes), `format` and `mode`
        (Pillow's), `width` and `height` (pixels, EXIF rotation applied), `n_frames`, `problem` (one sentence; missing
        where the image can be used), `remark` (sentences, "; " between; missing where there is none), `dhash`
        (64-bit difference hash) and `thumbnail` (16 x 16 RGB, 768 bytes). Numbers are 0 where a broken file has none.

    Raises
    ------
    InputError
        When no image, or none of a class, can be read.
    """
    import pyarrow as pa

    paths = list(dict.fromkeys(table["path"]))
    known = _read_known(cache)
    stamps = {path: tuple(stamp) for path, *stamp in zip(*_lists(known, "path", "n_bytes", "mtime_ns"), strict=True)}
    todo = [path for path, stamp in zip(paths, _stat_files(paths), strict=True) if stamps.get(path) != stamp]
    if todo:
        known = pa.concat_tables([known, *_examine_files(todo, cache)])
        last = {path: row for row, path in enumerate(*_lists(known, "path"))}  # a changed file has an older row
        known = known.combine_chunks().take(sorted(last.values()))
        _write_known(known, cache)
    row_of = {path: row for row, path in enumerate(*_lists(known, "path"))}
    rows = known.drop_columns(["path", "mtime_ns"]).take([row_of[path] for path in table["path"]])
    facts = rows.to_pandas().set_axis(table.index)
    _refuse_hopeless(table, facts)
    return facts


def near_duplicates(table: pd.DataFrame, facts: pd.DataFrame) -> np.ndarray:
    """Return the cluster of near-duplicates that each image belongs to, over all splits.

    Files of equal bytes always share a cluster. Others do when their difference hashes differ in few bits and the
    gradients of their thumbnails agree; every pair of a cluster must. Off for images below 32 pixels. A cluster that
    fills more than 5 % of its class is a look (a studio, a scanner), not a duplicate: it is not grouped.

    Parameters
    ----------
    table
        The image table, (n_images,) rows with `split` and `label`.
    facts
        What `audit_files` says of it.

    Returns
    -------
    ndarray
        (n_images,) int64: the position of the cluster's first image; its own for an image that is alone.

    References
    ----------
    Difference hash: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013. Multi-index hashing: M. Norouzi et al.,
    "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012.
    """
    clusters, refused = _cluster(table, facts)
    for members in refused:
        images = _as_records(table.iloc[members][["id", "split", "label"]])
        terminal.warn(
            terminal.escape(f"{len(images)} images look alike, too many to be grouped: {_name_cluster(images)}")
        )
    return clusters


@dataclass(frozen=True)
class Probe:
    """Say how well a logistic regression on thumbnails and sizes tells train from test.

    Parameters
    ----------
    auc, error
        Cross-validated area under the ROC curve, 0..1, 0.5 for "not at all", and its standard error; None if skipped.
    n_labeled, n_test
        Images it was asked about.
    verdict
        The answer in one sentence.
    """

    auc: float | None
    error: float | None
    n_labeled: int
    n_test: int
    verdict: str


@dataclass(frozen=True, eq=False)
class Audit:
    """Hold what is to be known of a competition's files before anything is trained.

    Parameters
    ----------
    competition
        Its name.
    splits
        Images of each split.
    classes
        Labelled images of each class that can be used.
    broken
        ``id, split, label, path, problem`` of each image that cannot be used.
    remarks
        How many images each remark concerns.
    exact, near
        Clusters of equal files, and of near-duplicates that are not all equal: lists of ``id, split, label``.
    across
        Those of either that hold labelled and test images.
    contradictions
        Those of either that hold different labels.
    refused
        Clusters too large to be believed, and so not grouped.
    probe
        Whether test looks like train.
    facts, clusters
        What `audit_files` and `near_duplicates` returned.
    """

    competition: str
    splits: dict[str, int]
    classes: dict[str, int]
    broken: list[dict[str, Any]]
    remarks: dict[str, int]
    exact: list[list[dict[str, Any]]]
    near: list[list[dict[str, Any]]]
    across: list[list[dict[str, Any]]]
    contradictions: list[list[dict[str, Any]]]
    refused: list[list[dict[str, Any]]]
    probe: Probe
    facts: pd.DataFrame = field(repr=False)
    clusters: np.ndarray = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-like values."""
        left_out = ("facts", "clusters", "probe")
        own = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**own, "probe": dict(vars(self.probe))}

    def print(self) -> None:
        """Print the report on stdout."""
        out = terminal.out
        out.print(_table_of_classes(self), _table_of_findings(self))
        for image in self.broken[:SHOWN]:
            fate = "gets the class prior in the submission" if image["split"] == "test" else "left out"
            name = f"{image['split']} {image['id']}"
            out.print(terminal.escape(f"broken: {name}: {image['problem']}; {fate}"), highlight=False)
        if len(self.broken) > SHOWN:
            out.print(f"... and {len(self.broken) - SHOWN} more broken; --json lists all")
        for title, clusters in (
            ("different labels", self.contradictions),
            ("labelled and test", self.across),
            ("too large to be duplicates, not grouped", self.refused),
        ):
            for cluster in clusters[:SHOWN]:
                out.print(terminal.escape(f"{title}: {_name_cluster(cluster)}"), highlight=False)
            if len(clusters) > SHOWN:
                out.print(f"... and {len(clusters) - SHOWN} more; --json lists all")
        out.print(self.probe.verdict, highlight=False)


def audit(competition: Competition, table: pd.DataFrame) -> Audit:
    """Audit a competition's files.

    Parameters
    ----------
    competition
        The competition; its cache keeps what was measured.
    table
        Its image table.

    Raises
    ------
    InputError
        When no image, or none of a class, can be read.
    """
    facts = audit_files(table, competition.workspace.cache(competition.name))
    clusters, refused = _cluster(table, facts)
    usable = facts["problem"].isna()
    broken = table.loc[~usable, ["id", "split", "label", "path"]].assign(problem=facts.loc[~usable, "problem"])
    exact, near = _list_clusters(table, facts, clusters)
    found = exact + near
    return Audit(
        competition=competition.name,
        splits={split: int((table["split"] == split).sum()) for split in SPLITS},
        classes=_count(table.loc[usable & (table["split"] == "labeled"), "label"]),
        broken=_as_records(broken),
        remarks=_count(facts["remark"].dropna().str.split(SEPARATOR).explode()),
        exact=exact,
        near=near,
        across=[cluster for cluster in found if {"labeled", "test"} <= {image["split"] for image in cluster}],
        contradictions=[cluster for cluster in found if len({image["label"] for image in cluster} - {None}) > 1],
        refused=[_as_records(table.iloc[rows][["id", "split", "label"]]) for rows in refused],
        probe=_probe(table[usable], facts[usable]),
        facts=facts,
        clusters=clusters,
    )


def _count(values: pd.Series) -> dict[str, int]:
    """Count each value, in alphabetical order."""
    return {str(value): int(n) for value, n in values.value_counts().sort_index().items()}


def _as_records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dicts, None where a value is missing."""
    return [
        {name: None if value != value else value for name, value in row.items()}  # only NaN differs from itself
        for row in rows.to_dict("records")
    ]


def _schema() -> pa.Schema:
    """Return the columns of audit.parquet."""
    import pyarrow as pa

    columns = {
        "path": pa.string(),
        "mtime_ns": pa.int64(),
        "n_bytes": pa.int64(),
        "digest": pa.string(),
        "format": pa.string(),
        "mode": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "n_frames": pa.int32(),
        "problem": pa.string(),
        "remark": pa.string(),
        "dhash": pa.uint64(),
        "thumbnail": pa.binary(SIDE * SIDE * 3),
    }
    return pa.schema(list(columns.items()), metadata={"version": VERSION})


def _lists(known: pa.Table, *columns: str) -> list[list[Any]]:
    """Return columns as lists."""
    return [known.column(column).to_pylist() for column in columns]


def _read_known(cache: Path) -> pa.Table:
    """Read what earlier audits measured, killed ones included; files of another version say nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [_schema().empty_table()]
    for file in [cache / FILE, *sorted(cache.glob(PARTS))]:
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            rows = pq.read_table(file)
            if rows.schema.equals(_schema(), check_metadata=True):
                tables.append(rows)
    return pa.concat_tables(tables).combine_chunks()


def _write_known(known: pa.Table, cache: Path) -> None:
    """Write the whole audit; the parts of it are then superfluous."""
    parts = sorted(cache.glob(PARTS))
    _write_parquet(known, cache / FILE)
    for part in parts:
        part.unlink(missing_ok=True)


def _write_parquet(rows: pa.Table, file: Path) -> None:
    """Write a table atomically."""
    import pyarrow.parquet as pq

    with write_atomic(file) as out:
        pq.write_table(rows, out, compression="zstd")


def _stat_files(paths: list[str]) -> Iterator[tuple[int, int]]:
    """Yield (bytes, time of change) of each file, asked in threads: a cold disk answers slowly."""

    def stat_block(start: int) -> list[tuple[int, int]]:
        return [_stamp(path) for path in paths[start : start + STAT_BLOCK]]

    with ThreadPoolExecutor(N_STAT_THREADS) as pool:
        blocks = list(pool.map(stat_block, range(0, len(paths), STAT_BLOCK)))
    return itertools.chain.from_iterable(blocks)


def _stamp(path: str) -> tuple[int, int]:
    """Return (bytes, time of change in nanoseconds) of a file; MISSING where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - making a Path takes as long as asking
    except OSError:
        return MISSING
    return found.st_size, found.st_mtime_ns


def _examine_files(paths: list[str], cache: Path) -> list[pa.Table]:
    """Measure files in threads (decoding and hashing release the GIL); save every few as a part."""
    import pyarrow as pa
    import torch
    from PIL import Image

    Image.init()  # registers all formats, which threads must not do at once
    n_threads, n_parts, tables = torch.get_num_threads(), len(list(cache.glob(PARTS))), []
    pool = ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,))
    blocks = (paths[start : start + SAVE_EVERY] for start in range(0, len(paths), SAVE_EVERY))
    rows = itertools.chain.from_iterable(pool.map(_examine_file, block) for block in blocks)
    rows = iter(terminal.track(rows, "audit", total=len(paths)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what the report says
            while part := list(itertools.islice(rows, SAVE_EVERY)):
                tables.append(pa.Table.from_pylist(part, schema=_schema()))
                _write_parquet(tables[-1], cache / PARTS.replace("*", f"{n_parts + len(tables):05d}"))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)
    return tables


def _examine_file(path: str) -> dict[str, Any]:
    """Measure one file; whatever is wrong with it becomes its `problem`."""
    n_bytes, mtime_ns = _stamp(path)
    fact: dict[str, Any] = {"path": path, "n_bytes": n_bytes, "mtime_ns": mtime_ns, "width": 0, "height": 0}
    fact |= {"n_frames": 0, "dhash": 0, "thumbnail": bytes(SIDE * SIDE * 3)}
    try:
        data = Path(path).read_bytes()
    except OSError as error:  # MISSING as its stamp: a disk that failed once is asked again
        cause = f"cannot be read: {error.strerror}"
        return fact | {"n_bytes": MISSING[0], "mtime_ns": MISSING[1], "problem": cause}
    fact["digest"] = hashlib.sha256(data).hexdigest()
    if not data:
        return fact | {"problem": "empty: the file has zero bytes"}
    try:
        fact |= _read_header(data, path)
        pixels = decode_image(path)
        return fact | {"height": pixels.shape[1], "width": pixels.shape[2]} | _measure_pixels(pixels)
    except Exception as error:  # decoders raise anything on broken files, and one must not stop the rest
        return fact | {"problem": _name_problem(error, path), "remark": None}


def _read_header(data: bytes, path: str) -> dict[str, Any]:
    """Return what a file says of itself, without decoding it; Pillow refuses more than 178 million pixels here."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        kind = "JPEG" if image.format == "MPO" else image.format  # a JPEG with a second picture behind it
        fact = {"format": kind, "mode": image.mode, "width": image.width, "height": image.height}
        fact["n_frames"] = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        remarks = SEPARATOR.join(_list_remarks(image, fact, data, path))
    return fact | {"remark": remarks or None}


def _list_remarks(image: Image.Image, fact: dict[str, Any], data: bytes, path: str) -> Iterator[str]:
    """Yield what is odd about a readable file."""
    from PIL import Image

    kind, mode = fact["format"], fact["mode"]
    suffix = Path(path).suffix.lower()
    named = Image.registered_extensions().get(suffix)
    if named is not None and named != kind and (kind, named) != ("JPEG", "MPO"):
        yield f"wrong extension: {kind} named {suffix}"
    if fact["n_frames"] > 1:
        yield "animated: first frame used"
    if mode == "CMYK":
        yield "CMYK"
    if mode.startswith(("I", "F")) or (kind == "PNG" and data[PNG_DEPTH] == 16):
        yield "16-bit or more: scaled to 8"
    if mode == "P" and kind != "GIF":
        yield "palette"
    if image.has_transparency_data:
        yield "alpha: laid on white"
    if image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9):
        yield "EXIF rotation applied"


def _name_problem(error: Exception, path: str) -> str:
    """Say in one sentence why a file cannot be used."""
    from PIL import Image

    text = " ".join(str(error).removeprefix(f"{path}: ").split())
    if isinstance(error, Image.UnidentifiedImageError):
        return "unreadable: not an image in any known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {text}"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: {text or 'the file ends too early'}"
    return f"unreadable: {text or type(error).__name__}"


def _measure_pixels(pixels: torch.Tensor) -> dict[str, Any]:
    """Return the difference hash and the thumbnail of (3, height, width) pixels."""
    from torch.nn import functional

    small = functional.interpolate(pixels[None], (2 * SIDE, 2 * SIDE), mode="bilinear", antialias=True).float()
    thumbnail = functional.avg_pool2d(small, 2).round().byte()[0].permute(1, 2, 0)  # (SIDE, SIDE, 3)
    tiny = functional.interpolate(small, (8, 9), mode="bilinear", antialias=True)[0].numpy()  # (3, 8, 9)
    grey = np.tensordot(GREY, tiny, axes=1)  # (8, 9)
    bits = grey[:, 1:] > grey[:, :-1]
    return {"dhash": int.from_bytes(np.packbits(bits).tobytes(), "big"), "thumbnail": thumbnail.numpy().tobytes()}


def _refuse_hopeless(table: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Refuse images of which none, or none of a class, can be used."""
    broken = facts["problem"].notna()
    if len(table) and broken.all():
        first = f"{table['path'].iloc[0]}: {facts['problem'].iloc[0]}"
        raise InputError(f"none of the {len(table)} images can be read (first: {first}); fetch the data again")
    labels = table.loc[table["split"] == "labeled", "label"]
    for label in sorted(set(labels) - set(labels[~broken[labels.index]])):
        first = table.index[(table["split"] == "labeled") & (table["label"] == label)][0]
        raise InputError(
            f"class {label!r}: none of its images can be read (first: {table['path'][first]}: "
            f"{facts['problem'][first]}); fetch them again or take the class out"
        )


def _cluster(table: pd.DataFrame, facts: pd.DataFrame) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the cluster of each image, and the positions of the images of each cluster that was too large."""
    import pandas as pd

    rows = np.arange(len(facts))
    usable = facts["problem"].isna().to_numpy()
    exact = rows.copy()  # (n_images,) position of the first file of equal bytes
    if usable.any():
        code, _ = pd.factorize(facts["digest"].to_numpy(dtype=object)[usable])
        exact[usable] = rows[usable][np.unique(code, return_index=True)[1]][code]
    large = facts[["width", "height"]].min(axis=1).to_numpy() >= MIN_SIDE
    candidates = np.flatnonzero((exact == rows) & usable & large)
    joined = rows.copy()
    joined[candidates] = candidates[_link(facts.iloc[candidates])]
    clusters = joined[exact]
    refused = _find_oversized(table, clusters, exact)
    clusters[np.isin(clusters, [members[0] for members in refused])] = NO_CLUSTER
    return np.where(clusters == NO_CLUSTER, exact, clusters), refused


def _find_oversized(table: pd.DataFrame, clusters: np.ndarray, exact: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each cluster of unequal files that fills too much of a class."""
    kind = (table["split"] + "/" + table["label"].fillna("")).to_numpy(dtype=object)
    _, kind, sizes = np.unique(kind, return_inverse=True, return_counts=True)
    several = np.flatnonzero(np.isin(clusters, clusters[exact != clusters]))
    pairs, counts = np.unique(np.stack([clusters[several], kind[several]]), axis=1, return_counts=True)
    too_many = counts > np.maximum(MAX_CLUSTER, MAX_CLUSTER_SHARE * sizes[pairs[1]])
    return [np.flatnonzero(clusters == cluster) for cluster in np.unique(pairs[0, too_many])]


def _link(facts: pd.DataFrame) -> np.ndarray:
    """Return for each image the position of its cluster's first; every pair of a cluster is near."""
    first, second = _find_pairs(facts["dhash"].to_numpy())
    aspect = (facts["width"] / facts["height"]).to_numpy()
    stretch = np.abs(np.log(aspect[first] / aspect[second]))
    first, second = first[stretch < np.log(MAX_STRETCH)], second[stretch < np.log(MAX_STRETCH)]
    correlation = _correlate(facts["thumbnail"].to_numpy(), first, second)
    near = correlation >= MIN_CORRELATION
    order = np.lexsort((second[near], first[near], -correlation[near]))
    return _link_completely(len(facts), first[near][order], second[near][order])


def _find_pairs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions (n_pairs,) and (n_pairs,) of hashes at most MAX_DISTANCE bits apart."""
    n_set = np.bitwise_count(hashes)
    telling = np.flatnonzero((n_set >= MIN_BITS) & (n_set <= 64 - MIN_BITS))
    most = max(MIN_PAIRS, PAIRS_PER_IMAGE * len(hashes))
    edges = np.linspace(0, 64, N_BANDS + 1).astype(int)
    bands = [(1 << int(stop)) - (1 << int(start)) for start, stop in itertools.pairwise(edges)]
    found = np.empty(0, dtype=np.int64)  # first * n_images + second
    for intact in itertools.combinations(bands, N_INTACT):
        pairs = _find_pairs_in_buckets(hashes[telling], np.uint64(sum(intact)), most)
        found = np.union1d(found, telling[pairs[0]] * len(hashes) + telling[pairs[1]])
        if len(found) >= most:
            terminal.note("the images look so alike that near-duplicates were searched for in part only")
            break
    return found // max(len(hashes), 1), found % max(len(hashes), 1)


def _find_pairs_in_buckets(hashes: np.ndarray, mask: np.uint64, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the near pairs (first < second) among hashes that are equal under `mask`; stop soon after `most`."""
    keys = hashes & mask
    order = np.argsort(keys)
    keys, hashes = keys[order], hashes[order]
    at, found, n_found = np.arange(len(keys)), [], 0
    for step in range(1, WINDOW + 1):
        at = at[at + step < len(keys)]
        at = at[keys[at] == keys[at + step]]
        if not len(at) or n_found >= most:
            break
        near = at[np.bitwise_count(hashes[at] ^ hashes[at + step]) <= MAX_DISTANCE]
        found.append(np.stack([order[near], order[near + step]]))
        n_found += len(near)
    pairs = np.concatenate(found, axis=1) if found else np.empty((2, 0), dtype=np.int64)
    return pairs.min(axis=0), pairs.max(axis=0)


def _as_thumbnails(column: np.ndarray) -> np.ndarray:
    """Return stored thumbnails as (n_images, SIDE, SIDE, 3) float32."""
    return np.frombuffer(b"".join(column), dtype=np.uint8).reshape(-1, SIDE, SIDE, 3).astype(np.float32)


def _correlate(thumbnails: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation (n_pairs,) of two images' gradients, -1 where one of them is flat."""
    correlation = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), PAIR_BLOCK):
        block = slice(start, start + PAIR_BLOCK)
        ours, theirs = _take_gradients(thumbnails[first[block]]), _take_gradients(thumbnails[second[block]])
        correlation[block] = np.einsum("ij,ij->i", ours, theirs)
    return correlation


def _take_gradients(column: np.ndarray) -> np.ndarray:
    """Return the gradients of thumbnails as rows of unit length and mean 0; not a number where flat."""
    pixels = _as_thumbnails(column)
    across, down = np.diff(pixels, axis=2), np.diff(pixels, axis=1)
    rows = np.concatenate([across.reshape(len(pixels), -1), down.reshape(len(pixels), -1)], axis=1)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    rows[pixels.std(axis=(1, 2, 3)) < MIN_CONTRAST] = 0
    return rows


def _link_completely(n_images: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Merge pairs, nearest first, where every pair across two clusters is near; return each image's first partner."""
    near: dict[int, set[int]] = {}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        near.setdefault(a, {a}).add(b)
        near.setdefault(b, {b}).add(a)
    cluster = {image: [image] for image in near}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        ours, theirs = cluster[a], cluster[b]
        if ours is not theirs and all(near[image].issuperset(theirs) for image in ours):
            ours.extend(theirs)
            cluster.update(dict.fromkeys(theirs, ours))
    partner = np.arange(n_images)
    for image, members in cluster.items():
        partner[image] = min(members)
    return partner


def _list_clusters(table: pd.DataFrame, facts: pd.DataFrame, clusters: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Return the clusters of equal files and those of near-duplicates, as lists of images."""
    sizes = np.bincount(clusters, minlength=len(clusters))
    rows = np.flatnonzero(sizes[clusters] > 1)
    images = table.iloc[rows][["id", "split", "label"]].assign(digest=facts["digest"], cluster=clusters[rows])
    exact, near = [], []
    for _, members in images.groupby("cluster"):
        for _, same in members.groupby("digest", sort=False):
            if len(same) > 1:
                exact.append(_as_records(same[["id", "split", "label"]]))
        if members["digest"].nunique() > 1:
            near.append(_as_records(members[["id", "split", "label"]]))
    return exact, near


def _probe(table: pd.DataFrame, facts: pd.DataFrame) -> Probe:
    """Ask a logistic regression to tell labelled from test images by thumbnail and size."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    sides = [
        draw.permutation(np.flatnonzero(table["split"] == split))[:MAX_PROBE_IMAGES] for split in ("labeled", "test")
    ]
    n_labeled, n_test = map(len, sides)
    if min(n_labeled, n_test) < MIN_PROBE_IMAGES:
        cause = f"it takes {MIN_PROBE_IMAGES} images on either side, there are {n_labeled} and {n_test}"
        return Probe(None, None, n_labeled, n_test, f"train against test: not asked, {cause}")
    rows = draw.permutation(np.concatenate(sides))
    is_test = np.isin(rows, sides[1])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, solver="newton-cholesky"))
    aucs = cross_val_score(probe, _describe(facts.iloc[rows]), is_test, cv=N_PROBE_FOLDS, scoring="roc_auc")
    auc, error = float(aucs.mean()), _auc_error(float(aucs.mean()), n_labeled, n_test)
    return Probe(auc, error, n_labeled, n_test, _name_verdict(auc, error))


def _describe(facts: pd.DataFrame) -> np.ndarray:
    """Return what the probe sees: 8 x 8 RGB, sides and bytes per pixel; (n_images, 195)."""
    pixels = _as_thumbnails(facts["thumbnail"].to_numpy())
    coarse = pixels.reshape(len(pixels), SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    n_pixels = facts["width"] * facts["height"]
    sizes = np.log(np.stack([facts["width"], facts["height"], facts["n_bytes"] / n_pixels], axis=1))
    return np.hstack([coarse, sizes])


def _auc_error(auc: float, n_first: int, n_second: int) -> float:
    """Return the standard error of an AUC (Hanley and McNeil, Radiology 143, 1982, equation 1)."""
    q_first, q_second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_second - 1) * (q_first - auc**2) + (n_first - 1) * (q_second - auc**2)
    return float(np.sqrt(max(spread, 0.0) / (n_first * n_second)))


def _name_verdict(auc: float, error: float) -> str:
    """Say what an AUC means for whoever trusts CV."""
    number = f"AUC {auc:.3f} ± {error:.3f} where 0.5 is chance"
    if auc - 0.5 <= Z_95 * error:
        return f"train against test: a probe cannot tell them apart ({number})"
    if auc < SLIGHT_AUC:
        return f"train against test: a probe tells them apart only just ({number})"
    return f"train against test: a probe tells them apart ({number}): expect the leaderboard to differ from CV"


def _table_of_classes(report: Audit) -> Table:
    """Return the images per split and class."""
    from rich.table import Table

    table = Table(title=terminal.escape(f"{report.competition}: images"))
    table.add_column("split")
    table.add_column("class")
    table.add_column("images", justify="right")
    for name, n_images in report.classes.items():
        table.add_row("labeled", terminal.escape(name), str(n_images))
    for split, n_images in report.splits.items():
        table.add_row(split, "all", str(n_images), style="bold")
    return table


def _table_of_findings(report: Audit) -> Table:
    """Return what was found, counted."""
    from rich.table import Table

    table = Table(title="findings")
    table.add_column("what")
    table.add_column("count", justify="right")
    for split, n_images in Counter(image["split"] for image in report.broken).items():
        table.add_row(f"broken files, {split}", str(n_images))
    for remark, n_images in report.remarks.items():
        table.add_row(terminal.escape(remark), str(n_images))
    for what, clusters in (
        ("equal files", report.exact),
        ("near-duplicates", report.near),
        ("duplicates across labeled and test", report.across),
        ("duplicates with different labels", report.contradictions),
    ):
        n_images = sum(map(len, clusters))
        table.add_row(what, f"{n_images} in {len(clusters)} clusters" if clusters else "0")
    return table


def _name_cluster(cluster: list[dict[str, Any]]) -> str:
    """Name a cluster's images."""
    return some(
        f"{image['split']} {image['id']}" + (f" ({image['label']})" if image["label"] else "") for image in cluster
    )
