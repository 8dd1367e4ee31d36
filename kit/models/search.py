"""Search spaces: what `tune` tries for a field of a model, declared in the field's annotation.

``lr: Annotated[float, Field(ge=0), Between(1e-5, 1e-3, log=True)]``. Nothing is read or written here;
`kit.runs.tuning.space` reads the declarations, and what ``[runs.NAME.search]`` says in their place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """Try numbers of a range; whole ones where the field takes no others.

    Parameters
    ----------
    low, high
        The ends, which are tried too.
    log
        Draw by orders of magnitude: as often between 1e-5 and 1e-4 as between 1e-4 and 1e-3.
    needs
        A field without which this one is not read: it is searched only where that one is set.
    """

    low: float
    high: float
    log: bool = False
    needs: str | None = None


@dataclass(frozen=True)
class OneOf:
    """Try each of two or more words or numbers, or true and false; `needs` as of `Between`."""

    values: tuple[str | float | bool, ...]
    needs: str | None = None
