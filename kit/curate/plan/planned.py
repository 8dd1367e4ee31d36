"""One planned run: its table, why it is there, what it costs; and the keys that its encoder takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kit.curate.plan.facts import PlanFacts
from kit.curate.plan.portfolio import Member

FLOAT_BYTES, MEGABYTE = 4, 2**20


@dataclass(frozen=True)
class PlannedRun:
    """Hold one run: its table, why it is there, and what it costs here."""

    name: str
    table: dict[str, Any]
    reason: str
    seconds: float
    megabytes: float


def encoder_keys(member: Member) -> dict[str, Any]:
    """Return an encoder as a run's table writes it."""
    args = {"encoder_args": member.encoder_args} if member.encoder_args else {}
    return {"encoder": member.encoder, **args}


def words_of(member: Member, facts: PlanFacts) -> dict[str, Any]:
    """Return the key of the prompt list, where there is one and the encoder reads it."""
    return {"prompts": facts.prompts} if facts.prompts and member.reads_words and _has_tokenizer(member, facts) else {}


def _has_tokenizer(member: Member, facts: PlanFacts) -> bool:
    """Return whether the encoder's words can be read: some tokenizers need the package transformers."""
    import importlib.util

    from kit.features.encoders.clip import read_configuration

    text = read_configuration(member.spec(facts)).model.get("text_cfg", {})
    needs = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    return not needs or importlib.util.find_spec("transformers") is not None
