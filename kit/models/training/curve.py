"""Learning curves by step: how a training stood, thinned to some hundred points, and read back from its record.

A record has a dict per epoch. Its ``curve`` holds means over stretches of the epoch's steps; what is scored once an
epoch stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from kit.models.training.semi import Method

N_POINTS = 200  # of a whole training; a training of more epochs has one an epoch
CURVES = ("loss", "unlabeled_loss", "inner_loss", "inner_accuracy", "mask_rate", "lr")  # those a record may hold


class Mark(NamedTuple):
    """Hold how an epoch stands after some of its steps; the sums stay on the device until they are read."""

    n_done: int
    n_images: int
    lr: float
    losses: Tensor  # (2,) summed over the images: of labelled ones, of unlabelled ones
    n_taught: Tensor | float  # unlabelled images that taught
    n_seen: int  # of so many


class Stretches:
    """Note how an epoch stands at the ends of its stretches.

    Parameters
    ----------
    n_steps, n_epochs
        Steps of this epoch, and epochs of the training.
    first
        Steps taken before this epoch.
    method
        What counts the unlabelled images that teach, where they take part.
    """

    def __init__(self, n_steps: int, n_epochs: int, first: int, method: Method | None) -> None:
        n_points = max(1, N_POINTS // n_epochs)
        self.ends = {n_steps * (i + 1) // n_points for i in range(n_points)} - {0}
        self.first, self.method = first, method
        self.marks: list[Mark] = []

    def note(self, n_done: int, n_images: int, lr: float, losses: Tensor) -> None:
        """Note the epoch after `n_done` steps, where a stretch ends; `losses` are `Mark`'s."""
        if n_done in self.ends:
            self.marks.append(self._mark(n_done, n_images, lr, losses))

    def stand(self, n_done: int, n_images: int, lr: float, losses: Tensor) -> dict[str, float]:
        """Return the means from the end of the last stretch but one to now, as `read` gives them."""
        return self._mean(self.marks[-2] if len(self.marks) > 1 else None, self._mark(n_done, n_images, lr, losses))

    def read(self) -> dict[str, list[float]]:
        """Return a list each of step, lr and loss, a value per stretch; with unlabelled images also of their two."""
        means = [self._mean(*pair) for pair in zip([None, *self.marks], self.marks, strict=False)]
        return {name: [mean[name] for mean in means] for name in (means[0] if means else ())}

    def _mark(self, n_done: int, n_images: int, lr: float, losses: Tensor) -> Mark:
        n_taught, n_seen = (0.0, 0) if self.method is None else (self.method.counts.sum(), self.method.n_seen)
        return Mark(n_done, n_images, lr, losses.clone(), n_taught, n_seen)

    def _mean(self, before: Mark | None, now: Mark) -> dict[str, float]:
        """Return the means between two marks, from the epoch's start where there is none before."""
        n_before, n_seen, losses = (before.n_images, before.n_seen, before.losses) if before else (0, 0, 0.0)
        loss, unlabeled_loss = ((now.losses - losses) / (now.n_images - n_before)).tolist()
        mean = {"lr": now.lr, "loss": loss}
        if self.method is not None:
            n_taught = float(now.n_taught) - (float(before.n_taught) if before else 0.0)
            mean |= {"unlabeled_loss": unlabeled_loss, "mask_rate": n_taught / max(now.n_seen - n_seen, 1)}
        rounded = {name: float(f"{value:.6g}") for name, value in mean.items()}
        return {"step": self.first + now.n_done, **rounded}


def curve_of(record: Sequence[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return the steps and values of one of `CURVES`; of an earlier kit's record a point per epoch."""
    points: list[tuple[int, float]] = []
    for epoch in record:
        curve = epoch.get("curve", {})
        if name in curve:
            points += zip(curve["step"], curve[name], strict=True)
        elif epoch.get(name) is not None:
            points.append((epoch.get("step", epoch["epoch"]), epoch[name]))
    return points
