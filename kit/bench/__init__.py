"""Bench: what is claimed of speed and of pseudo labels, measured again on this machine.

speed.py times decoding and the encoders; semi.py compares ways to use unlabelled images, on folders given by the user.
"""

from kit.bench.semi import Line, Measurement, bench_semi, compare, render_semi
from kit.bench.speed import Timing, bench

__all__ = ["Line", "Measurement", "Timing", "bench", "bench_semi", "compare", "render_semi"]
