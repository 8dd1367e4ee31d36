"""Bench: measure again on this machine what the kit claims of speed, pseudo labels, explanations and standard errors.

speed.py times decoding and the encoders; semi.py compares ways to use unlabelled images, on folders given by the user;
coverage.py draws scores whose truth is known, and tells whether what is printed of them holds; noise.py makes the
user's own runs on permuted labels, where nothing is to be gained;
explain.py measures whether explanations point at evidence that was planted; pretrain/ rebuilds the encoders of digits.
"""

from kit.bench.coverage import Coverage, Luck, bench_coverage, render_coverage
from kit.bench.explain import Pointing, bench_explain, describe_explain, render_explain
from kit.bench.noise import bench_noise, bench_search_noise, render_noise
from kit.bench.semi import Line, Measurement, bench_semi, compare_with_baseline, render_semi
from kit.bench.speed import Timing, bench

__all__ = [
    "Coverage",
    "Line",
    "Luck",
    "Measurement",
    "Pointing",
    "Timing",
    "bench",
    "bench_coverage",
    "bench_explain",
    "bench_noise",
    "bench_search_noise",
    "bench_semi",
    "compare_with_baseline",
    "describe_explain",
    "render_coverage",
    "render_explain",
    "render_noise",
    "render_semi",
]
