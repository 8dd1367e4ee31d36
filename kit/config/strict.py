"""What every table of competition.toml refuses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LARGEST_SEED = 2**31  # what every library takes, with the numbers of folds and copies added


class Table(BaseModel):
    """Refuse keys nobody reads, text where a number belongs, and numbers without an end: ``inf``, ``nan``, 1e400."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
