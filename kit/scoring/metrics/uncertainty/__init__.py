"""Standard errors and 95 % intervals of a score, the paired test between two runs, and the best of many.

- `spread`: the error of means and ratios, by image or by group. `resamples`: the bootstrap of the other metrics.
- `intervals`: a score, its standard error and its 95 % interval. `paired`: two runs on the same images.
- `alike`: the interval of a mean over few groups of images.
- `best`: many runs on the same images: which may be the best, and how good it is.

Images of one group (near-duplicates, one patient) are not independent: they are drawn together, and summed in the
closed form. Few groups, or a few that hold most images, are left out one at a time instead (jackknife). From a single
group nothing can be learned of another one: its score is taken to be as unsure as if it were one image.
"""

from kit.scoring.metrics.uncertainty.best import Contest, compare_with_best, correct_best
from kit.scoring.metrics.uncertainty.intervals import Estimate, estimate, score_with_error
from kit.scoring.metrics.uncertainty.paired import distinguishable, paired_difference
from kit.scoring.metrics.uncertainty.resamples import N_BOOTSTRAP
from kit.scoring.metrics.uncertainty.spread import Z_95, error_of_difference, error_of_mean, error_of_ratio

__all__ = [
    "N_BOOTSTRAP",
    "Z_95",
    "Contest",
    "Estimate",
    "compare_with_best",
    "correct_best",
    "distinguishable",
    "error_of_difference",
    "error_of_mean",
    "error_of_ratio",
    "estimate",
    "paired_difference",
    "score_with_error",
]
