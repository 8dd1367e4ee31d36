"""``[folds]``, ``[mining]``, ``[ensemble]``, ``[decision]`` and ``[submission]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kit.config.strict import LARGEST_SEED, Table
from kit.core.errors import some


class Folds(Table):
    """Say how the labelled images are split, once.

    Parameters
    ----------
    n
        Number of folds, at least 2; lowered to the size of the smallest class.
    seed
        Seed of the split, 0..2**31.
    use
        The folds that are scored: ``[0]`` for one published 80/20 hold-out. All by default.
    group
        Column of the labelled images' CSV whose equal values must not straddle folds: a patient, a photographer.
    """

    n: Annotated[int, Field(ge=2, le=100)] = 5
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    use: list[int] | None = None
    group: str | None = None


class Mining(Table):
    """Say how labels are mined: which images stand for a class, and how near an image must be to one of them.

    Parameters
    ----------
    exemplars
        Images of known class: ``{ class = "image" }``, ``{ class = ["image", "image"] }``, or a CSV file of the
        columns id and label. An image is an id of the pool or a file below the data root.
    encoder, encoder_args
        Whose features are compared; ``"given"`` for the organisers' embeddings.
    threshold
        Cosine similarity to the nearest exemplar from which on an image gets its class, -1..1; below, it gets none.
    thresholds
        The thresholds that are compared side by side.
    mutual
        Take an image only where it and its exemplar are among each other's nearest neighbours.
    n_neighbors
        How many neighbours are near enough for that.
    """

    exemplars: str | dict[str, str | list[str]]
    encoder: str = "given"
    encoder_args: dict[str, Any] = Field(default_factory=dict)
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.7
    thresholds: list[Annotated[float, Field(ge=-1, le=1)]] = Field(default_factory=lambda: [0.7, 0.75, 0.8])
    mutual: bool = False
    n_neighbors: Annotated[int, Field(ge=1, le=10_000)] = 50


class EnsemblePlan(Table):
    """Say which runs are combined and how.

    Parameters
    ----------
    members
        Names of runs and imports; all of them but the grids' runs by default.
    method
        ``"weights"``: temperatures and weights by log-loss, from a prior that favours the best few members;
        ``"greedy"``: forward selection on the metric.
    """

    members: list[str] | None = None
    method: Literal["weights", "greedy"] = "weights"

    @model_validator(mode="after")
    def _members_are_named_once(self) -> EnsemblePlan:
        members = self.members or ()
        if twice := sorted({name for name in members if list(members).count(name) > 1}):
            raise ValueError(f"members: {some(twice)} named more than once; its weight is learned, name it once")
        return self


class DecisionPlan(Table):
    """Say what is decided once the probabilities are known.

    Parameters
    ----------
    thresholds
        With several labels per image, the probability from which on an image has a class: ``"nested"`` to choose one
        for each class on the other folds' oof rows, a number for all, ``{ class = 0.3 }``, or a TOML file of such lines
        beside competition.toml.
    separator
        What parts several labels in the cell of a submission; what parts them in the sample file by default.
    parents
        Whether such a cell names a label's parents too; by default where labels are no paths that name them.
    none_of_these
        What an image is called that shows none of the classes: the label in a submission of one label, a row of zeros
        in one with a column per class, or a 1 in a column of this name. With several labels per image, what is written
        where there is none. Without it every image gets a class.
    score
        With one label per image, the score that tells such images: ``"max_probability"``, ``"energy"``,
        ``"similarity"`` to the nearest labelled images, ``"distance"`` to the class means, or ``"combined"``, the mean
        rank of all but the energy.
    encoder, encoder_args
        Whose features are compared; by default those of the run, or of the ensemble's members.
    accept_rate
        Share of held-out labelled images that are kept, above 0 and below 1, or ``"leave_one_out"`` to choose it by
        hiding each class in turn. Neither needs an image that shows none of the classes.
    """

    thresholds: Literal["nested"] | Annotated[float, Field(gt=0, lt=1)] | str | dict[str, float] = "nested"
    separator: Annotated[str, Field(min_length=1)] | None = None
    parents: bool | None = None
    none_of_these: Annotated[str, Field(min_length=1)] | None = None
    score: Literal["combined", "max_probability", "energy", "similarity", "distance"] = "combined"
    encoder: str | None = None
    encoder_args: dict[str, Any] = Field(default_factory=dict)
    accept_rate: Annotated[float, Field(gt=0, lt=1)] | Literal["leave_one_out"] = 0.95

    @model_validator(mode="after")
    def _thresholds_are_probabilities(self) -> DecisionPlan:
        given = self.thresholds if isinstance(self.thresholds, dict) else {}
        if odd := [f"{name} = {value}" for name, value in given.items() if not 0 < value < 1]:
            raise ValueError(f"thresholds must lie above 0 and below 1: {some(odd)}")
        return self


class SubmissionPlan(Table):
    """Say what the sample submission leaves open.

    Parameters
    ----------
    positive
        Of two classes the one whose probability is wanted where there is one number per image, and of which a metric of
        two classes is. By default the class that the sample's column names, or that is a yes (1, true, positive); else
        the last.
    form
        How a prediction is written, where the sample file does not show it: ``"label"``; ``"labels"``, several in one
        cell; ``"ranked"``, guesses in one cell, the likeliest first; ``"probability"`` of the positive class;
        ``"probabilities"``, a column per class; ``"zero_one"``, the same of 0 and 1; ``"rows"``, a row per image and
        class; ``"confidence"``, a label and its probability.
    """

    positive: str | None = None
    form: (
        Literal["label", "labels", "ranked", "probability", "probabilities", "zero_one", "rows", "confidence"] | None
    ) = None
