"""One planned run: its table, why it is there, what it costs; and the keys that its encoder takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from kit.curate.plan.facts import PlanFacts
from kit.curate.plan.portfolio import Member
from kit.runs.fit.decoding import RANGE

FLOAT_BYTES, MEGABYTE = 4, 2**20


@dataclass(frozen=True)
class Work:
    """Hold what a run computes wherever it is, for a guess of what it takes elsewhere; the rest of its time are heads.

    Parameters
    ----------
    seconds
        That its networks take here, the decoding of their images included.
    decoding
        CPU seconds that decode images, each once; of these `seconds` holds what is left when all cores decode.
    flops, traffic
        Of its networks: floating-point operations, and numbers that their layers read and write.
    megabytes
        Memory of the device that its networks need.
    n_parts
        Parts of the networks' work that may be done side by side: ranges of images, or folds.
    is_dealt
        Whether the GPUs of one machine share a part, batch by batch.
    n_fits
        Fits of heads that may be done side by side: folds and pairs of them.
    """

    seconds: float = 0.0
    decoding: float = 0.0
    flops: float = 0.0
    traffic: float = 0.0
    megabytes: float = 0.0
    n_parts: int = 1
    is_dealt: bool = False
    n_fits: int = 1


@dataclass(frozen=True)
class PlannedRun:
    """Hold one run: its table, why it is there, what it costs here, and of what that is made."""

    name: str
    table: dict[str, Any]
    reason: str
    seconds: float
    megabytes: float
    work: Work = Work()


def encoding_work(member: Member, facts: PlanFacts) -> Work:
    """Return what it takes to encode all images once."""
    cost, n = member.cost, facts.n_images
    n_ranges = max(1, -(-n // RANGE))
    return Work(
        cost.seconds * n, cost.decoding * n, cost.flops * n, cost.traffic * n, cost.megabytes, n_ranges, is_dealt=True
    )


def join_work(works: Iterable[Work]) -> Work:
    """Return what it takes to encode with several encoders, one after the other."""
    return reduce(
        lambda one, other: Work(
            one.seconds + other.seconds,
            one.decoding + other.decoding,
            one.flops + other.flops,
            one.traffic + other.traffic,
            max(one.megabytes, other.megabytes),
            max(one.n_parts, other.n_parts),
            is_dealt=True,
        ),
        works,
    )


def count_pairs(facts: PlanFacts) -> int:
    """Return how many pairs of folds a head is fitted without."""
    return facts.n_folds * (facts.n_folds - 1) // 2 if facts.n_folds > 2 else 0


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
