"""``[runs.*]``: one experiment each, and how its pseudo labels are chosen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kit.config.strict import LARGEST_SEED, Table


class Cores(Table):
    """Say how clusters confirm pseudo labels: an image is kept where it lies in the core of a cluster of its class.

    Parameters
    ----------
    encoder, encoder_args
        Whose features are clustered.
    per_class
        Clusters per class.
    share
        Share of each cluster, nearest its centre, that is its core, 0..1.
    """

    encoder: str
    encoder_args: dict[str, Any] = Field(default_factory=dict)
    per_class: Annotated[int, Field(ge=1, le=100)] = 3
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


class PseudoPlan(Table):
    """Say how pseudo labels are chosen for a run.

    Parameters
    ----------
    teachers
        Runs whose fold-k models label the images for fold k.
    rounds
        How often it is repeated, the models of the last round joining the teachers.
    strategy
        ``"balanced"``: the same number of the most confident images for every class; ``"top_k"``: `k` of them;
        ``"threshold"``: all at least as confident as `threshold`; ``"adaptive"``: a threshold for every class that
        follows the teachers' confidence (FreeMatch).
    keep_rate
        Of ``"balanced"``: share of the pool to keep, 0..1, spread evenly over the classes.
    k
        Of ``"top_k"``: images per class.
    threshold
        Of ``"threshold"``: probability, 0..1.
    align
        Scale the teachers' probabilities so that their mean over the pool follows a class prior: ``"labeled"`` (the
        labelled images'), ``"uniform"``, or ``"none"``.
    align_strength
        How far, 0..1: at 0.5 the pool is taken to lie halfway between the prior and the teachers' predictions.
    agree
        Keep an image only where all teachers name the same class.
    cores
        Keep an image only in the core of a cluster that is matched to the same class.
    weight
        Training weight of a pseudo label, above 0; a real label has 1. ``"confidence"``: the teachers' probability.
    total_weight
        Weight of all pseudo labels together, in multiples of all real labels'; `weight` then says how they share it.
        However large the pool, the real labels keep their share and the fit stays as regularised as it was.
    """

    teachers: Annotated[list[str], Field(min_length=1)]
    rounds: Annotated[int, Field(ge=1, le=20)] = 1
    strategy: Literal["balanced", "top_k", "threshold", "adaptive"] = "balanced"
    keep_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    k: Annotated[int, Field(ge=1)] = 16
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.95
    align: Literal["none", "labeled", "uniform"] = "none"
    align_strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    agree: bool = True
    cores: Cores | None = None
    weight: Annotated[float, Field(gt=0)] | Literal["confidence"] = 1.0
    total_weight: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _options_are_read(self) -> PseudoPlan:
        for option, strategy in STRATEGY_OF.items():
            if self.strategy != strategy and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f'{option} is read by strategy = "{strategy}" alone, not by "{self.strategy}"')
        if self.align == "none" and self.align_strength != 1:
            raise ValueError('align_strength is read with align = "labeled" or "uniform" alone')
        return self


STRATEGY_OF = {"keep_rate": "balanced", "k": "top_k", "threshold": "threshold"}  # the strategy that reads an option


class Run(Table):
    """Hold one experiment: a model, its options, its seed and where its pseudo labels come from.

    Parameters
    ----------
    name
        ``NAME`` of ``[runs.NAME]``, or of one run of its grid.
    model
        A name in `kit.models.MODELS`.
    seed
        Seed of the fit, 0..2**31.
    pseudo
        How pseudo labels are chosen; none by default.
    use_test_images
        Let the model learn from the test images as unlabelled ones; the leaderboard shows it.
    bags
        Above 1, each fold's model is the mean of so many copies on bootstrap draws of the training images.
    seeds
        Above 1, it is the mean of the models of so many seeds: `seed`, `seed` + 1, ...
    refit
        Submit one model fitted on every label, whose CV is not measured, in place of the mean of the folds' models.
    exclude
        A CSV of labelled images (column id) that no fold trains on, or (column weight, 0..1) less; their rows stay in
        the oof.
    grid
        The grid that the run is of: it is trained and combined only where it, or the grid, is asked for.
    search
        What `tune` tries, in place of what the model's fields declare; nothing else reads it.
    options
        The other keys: the fields of the model.
    """

    name: str
    model: str
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    pseudo: PseudoPlan | None = None
    use_test_images: bool = False
    bags: Annotated[int, Field(ge=1, le=100)] = 1
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    refit: bool = False
    exclude: str | None = None
    grid: str | None = None
    search: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _copies_differ_in_one_way(self) -> Run:
        if self.bags > 1 and self.seeds > 1:
            raise ValueError("bags and seeds: every bag has a seed of its own already; set one of the two")
        return self

    @property
    def table(self) -> dict[str, Any]:
        """Return the run's table of competition.toml, without what has its default and what only `tune` reads."""
        kept = self.model_dump(exclude_defaults=True, exclude={"name", "grid", "search", "options"})
        return kept | self.options

    @property
    def n_copies(self) -> int:
        """Return how many models of a fold are averaged."""
        return max(self.bags, self.seeds)

    @property
    def encoders_of_cores(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the encoder whose clusters confirm pseudo labels, with its arguments; none where nothing is asked."""
        if self.pseudo is None or self.pseudo.cores is None:
            return []
        return [(self.pseudo.cores.encoder, self.pseudo.cores.encoder_args)]
