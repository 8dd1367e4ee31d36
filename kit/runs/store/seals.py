"""Seals: the hashes of the features that a run read.

Reads the notes beside cached features; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from kit.config.competition import Run
from kit.data.prepared import Prepared
from kit.features.cache import GIVEN, are_features_changed, features_seal
from kit.features.joint import Joined
from kit.runs.store.build import build_model


def read_seals(prepared: Prepared, run: Run) -> dict[str, str]:
    """Return the hash of the features of each encoder that a run read from the cache, by the encoder."""
    seals = {_spell(each): features_seal(prepared.pool, *each) for each in _encoders(prepared, run)}
    return {name: seal for name, seal in seals.items() if seal}


def changed_features(prepared: Prepared, run: Run, seals: dict[str, str]) -> list[str]:
    """Return the encoders whose cached features are not those that a run read, or not as they were written."""
    today = read_seals(prepared, run)
    return [
        name
        for each in _encoders(prepared, run)
        if (name := _spell(each)) in seals
        and name in today
        and (today[name] != seals[name] or are_features_changed(prepared.pool, *each))
    ]


def has_the_features(prepared: Prepared, run: Run, seals: dict[str, str]) -> bool:
    """Return whether the features of all its encoders are in the cache, by their hashes those that a run read."""
    today, names = read_seals(prepared, run), map(_spell, _encoders(prepared, run))
    return all(name in seals and seals[name] == today.get(name) for name in names)


def _encoders(prepared: Prepared, run: Run) -> Iterator[Joined]:
    """Give the encoders whose features a run reads, each once; a network reads pixels, its pseudo labels may not."""
    model = build_model(prepared.competition, run)
    read = [] if model.resumes else list(model.encoders_used)
    read += [each for each in run.encoders_of_cores if each not in read]
    yield from (each for each in read if each[0] != GIVEN)


def _spell(encoder: Joined) -> str:
    """Return an encoder with its arguments, as run.json names it."""
    name, args = encoder
    return f"{name} {json.dumps(args, sort_keys=True)}" if args else name
