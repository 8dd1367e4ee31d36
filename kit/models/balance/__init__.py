"""Imbalance: rare classes heard as loudly as frequent ones, by the same switches for every model.

Arrays in, arrays out; `picture` alone writes a file's bytes. What a model does with `balance`:

- `weights`: class weights, by inverse frequency, its root, or the effective number of samples.
- `resampling`: how often each image is drawn: over, under, or by repeat factor.
- `adjustment`: logit adjustment, after the fit: probabilities divided by the classes' shares.
- `options`: the keys of competition.toml that ask for them, and what training images become.
- `picture`: the classes before and after.
"""

from kit.models.balance.adjustment import adjust
from kit.models.balance.options import (
    NESTED,
    RESAMPLED,
    SHARES,
    TAU,
    TAUS,
    WEIGHTED,
    Adjustable,
    Balance,
    balance_images,
    image_weights,
    sizes_before_and_after,
)
from kit.models.balance.picture import draw_distribution
from kit.models.balance.resampling import draw_counts, repeat_factors
from kit.models.balance.weights import class_counts, class_shares, class_weights

__all__ = [
    "NESTED",
    "RESAMPLED",
    "SHARES",
    "TAUS",
    "TAU",
    "WEIGHTED",
    "Adjustable",
    "Balance",
    "adjust",
    "balance_images",
    "class_counts",
    "class_shares",
    "class_weights",
    "sizes_before_and_after",
    "draw_counts",
    "draw_distribution",
    "image_weights",
    "repeat_factors",
]
