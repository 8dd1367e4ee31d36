"""Speed: how fast the machine is at what the pipeline does, side by side in one run.

Prints ratios: medians of interleaved rounds, with the range. The fixed rules in device.py were written from such
measurements; nothing reads the outcome, so results never hang on a stopwatch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.core.errors import InputError, MissingWeights
from kit.core.shapes import Texts
from kit.core.terminal import track
from kit.data.ahead import read_ahead
from kit.data.images import Images, pool_behind
from kit.data.nvjpeg import BlockDecoder
from kit.data.prepared import Prepared
from kit.data.store import Geometry, decode_block, read_pixels
from kit.features.device import choose_precision, device_name, place_network
from kit.features.encoders import load_encoder
from kit.features.forward import ImageForward
from kit.features.joint import encoders_of
from kit.features.weights import spec_of

if TYPE_CHECKING:
    import torch

N_ROUNDS = 5
N_IMAGES = 64
N_BLOCKS = 8  # of as many images, of which the next is decoded while one is encoded
DECODES = 1 / 3  # share of the time that decoding takes beside the artificial encoder


@dataclass(frozen=True)
class Timing:
    """Hold how two ways of doing one thing compare.

    Parameters
    ----------
    task, way, against
        What is done, how, and compared with what.
    images_per_second
        Median, of the first way.
    ratio, lowest, highest
        How many times faster than the second: median and range over the rounds.
    """

    task: str
    way: str
    against: str
    images_per_second: float
    ratio: float
    lowest: float
    highest: float


def bench(prepared: Prepared) -> list[Timing]:
    """Time decoding and every encoder of a competition's runs.

    Raises
    ------
    InputError
        When the competition has no image.
    """
    if not len(prepared.pool):
        raise InputError("there is no image to measure with")
    rows = np.resize(np.arange(len(prepared.pool)), N_IMAGES)
    images = prepared.pool.select(rows)
    timings = [_bench_decoding(images), _bench_pipeline(images)]
    for text, args in _encoders(prepared):
        try:
            timings += _bench_encoder(images, text, args)
        except MissingWeights:
            continue
    return timings


def _encoders(prepared: Prepared) -> list[tuple[str, dict[str, Any]]]:
    """Return each encoder of the runs once, with its arguments."""
    each = (encoders_of(run.options) for run in prepared.competition.runs.values())
    return list({text: args for encoders in each for text, args in encoders}.items())


def _bench_decoding(images: Images) -> Timing:
    """Compare the store, once it is made, with decoding the files."""
    geometry = Geometry(128, 128)
    read_pixels(images, geometry)
    paths = pool_behind(images).paths[images.rows]
    ways = (lambda: read_pixels(images, geometry), lambda: decode_block(paths, geometry))
    return _compare("images at 128 px", "store", "files", ways)


def _bench_pipeline(images: Images) -> Timing:
    """Compare decoding ahead with decoding in turn, beside an artificial encoder that leaves the cores alone.

    It sleeps, as a process does that waits for a GPU, for so long that decoding takes a third of the time in turn.
    """
    geometry, paths = Geometry(128, 128), pool_behind(images).paths[images.rows]
    seconds = float(np.median([_time(lambda: decode_block(paths, geometry)) for _ in range(N_ROUNDS)]))

    def encode(pixels: torch.Tensor) -> int:
        time.sleep(seconds * (1 - DECODES) / DECODES)
        return len(pixels)

    ways = ways_to_decode([paths] * N_BLOCKS, partial(decode_block, geometry=geometry), encode)
    return _compare("files into an encoder that sleeps", "decoded ahead", "in turn", ways, N_BLOCKS * N_IMAGES)


def _bench_encoder(images: Images, text: str, args: dict[str, Any]) -> list[Timing]:
    """Compare bfloat16 weights with float32 ones, forward; then the pipeline with the network alone.

    What feeds the network takes the rest: one less the ratio beside tensors that are ready on the device.
    """
    import torch

    spec = spec_of(images.pool, text, args)
    ways = {}
    for precision in ("bfloat16", "float32"):
        encoder = load_encoder(spec)
        tower = place_network(encoder.image_tower, device_name(), precision)
        pixels = encoder.preprocessing.normalise(torch.from_numpy(read_pixels(images, encoder.preprocessing.geometry)))
        batch = pixels.to(device_name(), getattr(torch, precision))

        def forward(tower: torch.nn.Module = tower, batch: torch.Tensor = batch) -> None:
            with torch.no_grad():
                tower(batch).float().cpu()

        ways[precision] = forward
    name = text.partition("@")[0].rpartition("/")[2]
    run = ImageForward(load_encoder(spec), choose_precision(spec, device_name()))
    geometry = run.preprocessing.geometry
    blocks = [pool_behind(images).paths[images.rows]] * N_BLOCKS
    ahead, in_turn = ways_to_decode(blocks, BlockDecoder(geometry, device_name()), run)
    pixels = torch.from_numpy(read_pixels(images, geometry))
    batch = run.preprocessing.normalise(pixels.to(device_name())).to(run.dtype)

    def kept() -> object:
        return [run(pixels) for _ in blocks]

    def ready() -> None:
        for _ in blocks:
            with torch.no_grad():
                torch.nn.functional.normalize(run.tower(batch).float(), dim=1).cpu()

    n_images, task = N_BLOCKS * N_IMAGES, f"files into features with {name}"
    return [
        _compare(f"encode with {name}", "bfloat16", "float32", (ways["bfloat16"], ways["float32"])),
        _compare(task, "decoded ahead", "in turn", (ahead, in_turn), n_images),
        _compare(task, "decoded ahead", "ready tensors", (ahead, ready), n_images),
        _compare(f"pixels into features with {name}", "kept in memory", "ready tensors", (kept, ready), n_images),
    ]


def ways_to_decode(
    blocks: Sequence[Texts], decode: Callable[[Texts], torch.Tensor], encode: Callable[[torch.Tensor], object]
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what encodes files block by block: the next decoded meanwhile, as `features` does; and one by one."""

    def ahead() -> object:
        return [encode(pixels) for pixels in read_ahead(decode, blocks)]

    def in_turn() -> object:
        return [encode(decode(paths)) for paths in blocks]

    return ahead, in_turn


def _compare(
    task: str,
    way: str,
    against: str,
    ways: tuple[Callable[[], object], Callable[[], object]],
    n_images: int = N_IMAGES,
) -> Timing:
    """Time two ways in turn, after one round to warm up."""
    seconds = np.array([[_time(run) for run in ways] for _ in track(range(N_ROUNDS + 1), task)])[1:]
    ratios = seconds[:, 1] / seconds[:, 0]
    rate = n_images / float(np.median(seconds[:, 0]))
    return Timing(task, way, against, rate, float(np.median(ratios)), float(ratios.min()), float(ratios.max()))


def _time(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
