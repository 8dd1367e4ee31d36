"""Share: finished runs in one file, for a teammate who works on the same images and folds.

Reads finished runs; writes a zip of JSON, CSV, parquet, npy and safetensors, in which nothing can be executed. Runs go
with all that they were made from, their folds' predictions, weights and provenance, so that `verify` holds there too.

- `manifest`: what the file says of itself, checked when it is read.
- `pack`: the file is written. `merge`: its runs are taken, after every check.
"""

from kit.runs.share.merge import Merged, merge_runs
from kit.runs.share.pack import share_runs

__all__ = ["Merged", "merge_runs", "share_runs"]
