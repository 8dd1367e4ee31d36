"""The bench of speed compares what `features` does with decoding in turn: told by the order of events."""

from __future__ import annotations

import threading

import numpy as np
import torch
from support.clips import make_clip
from support.pools import make_pool

from kit.bench import speed
from kit.bench.speed import ways_to_decode


def test_ahead_the_next_block_is_decoded_while_one_is_encoded_and_in_turn_after_it():
    for number, goes_ahead in enumerate((True, False)):
        begun, overlapped = threading.Semaphore(0), []

        def decode(paths, begun=begun):
            begun.release()
            return torch.zeros(len(paths))

        def encode(pixels, begun=begun, overlapped=overlapped, seconds=(20, 0.1)[number]):
            assert begun.acquire(timeout=0)  # its own block
            if len(overlapped) < 2:  # it ends only when the next block is being decoded, or the time is over
                overlapped.append(begun.acquire(timeout=seconds))
                if overlapped[-1]:
                    begun.release()

        blocks = np.split(np.array(list("abcdef"), dtype=object), 3)
        ways_to_decode(blocks, decode, encode)[number]()
        assert overlapped == [goes_ahead, goes_ahead]


def test_the_pipeline_is_compared_with_the_network_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "N_ROUNDS", 1)
    monkeypatch.setattr(speed, "N_BLOCKS", 2)
    clip = make_clip(tmp_path / "clip")
    images = make_pool(tmp_path / "pool", n_images=6).select(np.resize(np.arange(6), 8))
    timings = speed._bench_encoder(images, clip, {})
    assert [timing.against for timing in timings] == ["float32", "in turn", "ready tensors", "ready tensors"]
    assert all(0 < timing.lowest <= timing.ratio <= timing.highest for timing in timings)
