"""What toy models note of themselves: outside of their own module, which is made anew for every fold."""

FITS: list[int] = []  # the seed of every fit
MEMORY: dict[int, int] = {}  # labels by position: what a model may keep of other folds where it has found a place
