"""The bench of speed compares what `features` does with decoding in turn: told by the order of events."""

from __future__ import annotations

import threading

import numpy as np
from support.pools import make_pool

from kit.bench import speed
from kit.data.store import Geometry


def test_ahead_the_next_block_is_decoded_while_one_is_encoded_and_in_turn_after_it(tmp_path, monkeypatch):
    paths = make_pool(tmp_path, n_images=6).paths
    blocks, decode = np.split(paths, 3), speed.decode_block
    for number, goes_ahead in enumerate((True, False)):
        begun, overlapped = threading.Semaphore(0), []

        def noting(paths, geometry, begun=begun):
            begun.release()
            return decode(paths, geometry)

        def encode(pixels, begun=begun, overlapped=overlapped, seconds=(20, 0.1)[number]):
            assert begun.acquire(timeout=0)  # its own block
            if len(overlapped) < 2:
                overlapped.append(begun.acquire(timeout=seconds))
                if overlapped[-1]:
                    begun.release()

        monkeypatch.setattr(speed, "decode_block", noting)
        speed.ways_to_decode(blocks, Geometry(8, 8), encode)[number]()
        assert overlapped == [goes_ahead, goes_ahead]
