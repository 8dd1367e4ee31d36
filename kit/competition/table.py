"""What every table of competition.toml refuses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Refuse keys nobody reads, and text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
