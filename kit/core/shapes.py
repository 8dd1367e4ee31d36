"""Arrays by name: what a type checker and a reader are told of a NumPy array beside its dtype.

The shape stands in each name's docstring; n_images is the number of rows of whatever selection of images is at hand.
Widths are left open (``floating``, ``integer``): float16 on the disk, float32 in use, float64 where sums need it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.object_]
"""(n_images,) str: ids as text, "000001" keeps its zeros."""

Texts: TypeAlias = NDArray[np.object_]
"""(n_images,) str: a path, a split, a name or a digest of each image."""

Rows: TypeAlias = NDArray[np.integer[Any]]
"""(n_images,) positions in the pool, 0..n_pool - 1."""

Labels: TypeAlias = NDArray[np.integer[Any]]
"""(n_images,) class codes, -1 where there is none; (n_images, n_classes) of 0 and 1 with several labels per image."""

Groups: TypeAlias = NDArray[np.integer[Any]]
"""(n_images,) codes: images of one code stay in one fold and count together in a standard error."""

Folds: TypeAlias = NDArray[np.integer[Any]]
"""(n_images,) the fold that each image is held out in, 0..n_folds - 1; -1 where it is in none."""

Mask: TypeAlias = NDArray[np.bool_]
"""(n_images,) or (n_classes,) whether each is meant; (n_images, n_classes) of single cells."""

Weights: TypeAlias = NDArray[np.floating[Any]]
"""(n_images,), (n_classes,) or (n_models,) weights, 0 or above."""

Proba: TypeAlias = NDArray[np.floating[Any]]
"""(n_images, n_classes) probabilities, 0..1; rows sum to 1 with one label per image."""

Logits: TypeAlias = NDArray[np.floating[Any]]
"""(n_images, n_classes) scores before the softmax or the sigmoid, any real number."""

Vectors: TypeAlias = NDArray[np.floating[Any]]
"""(n_images, n_dims) features, a row per image; rows of unit length where an encoder made them."""

Scores: TypeAlias = NDArray[np.floating[Any]]
"""(n_images,) one number per image, such as a confidence; the docstring says which way is better."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(n_images, height, width, 3) or (height, width, 3) red, green and blue, 0..255; for networks the 3 before height."""

Tensors: TypeAlias = dict[str, NDArray[Any]]
"""Arrays by name, as safetensors keeps them: what a model has learned."""
