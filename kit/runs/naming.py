"""Names of runs that say what they no longer hold: `svm` that is a forest by now, `probe_crafted` with other words.

Reads competition.toml's tables and the names of prompt lists; writes nothing.
"""

from __future__ import annotations

import re

from kit.config.competition import Competition, Run
from kit.models import MODELS

FAMILIES = ("clip", "siglip", "efficientnet", "mobilenet", "convnext", "resnet", "vgg", "xception", "dino", "swin")
SHORTEST = 4  # letters of a word of an encoder's name that a run may be named after


def misnamed(competition: Competition, names: list[str]) -> dict[str, str]:
    """Return runs whose names are those of another model, encoder or prompt list than theirs, and a sentence on each.

    A name speaks of a model or a prompt list where it holds all of its words, of an encoder where it holds a word that
    is in the name of no other encoder of the competition.
    """
    lists = {file.stem for file in (competition.folder / "prompts").glob("*.toml")}
    used = [encoder for run in competition.runs.values() for encoder in _encoders(run)]
    encoders = {encoder: _words(encoder.partition("@")[0]) for encoder in used}
    told = {}
    for name in names:
        run, words = competition.runs[name], _words(name)
        if held := _other(words, {model: _words(model) for model in MODELS}, {run.model}):
            told[name] = f"its name says {held}, its model is {run.model}"
        elif held := _other(words, {each: _words(each) for each in lists}, prompts := _prompts(run)):
            told[name] = f"its name says {held}, its prompts are {', '.join(sorted(prompts)) or 'none'}"
        elif held := _other_encoder(words, encoders, set(_encoders(run))) or _other_family(words, run):
            told[name] = f"its name says {held}, its encoder is {', '.join(_encoders(run)) or 'none'}"
    return told


def _other(words: set[str], known: dict[str, set[str]], own: set[str]) -> str | None:
    """Return what a name says, where that is not its own: all words of one of the known, and of none of its own."""
    said = [each for each, parts in known.items() if parts <= words]
    return None if not said or any(known.get(each, {each}) & words for each in own) else max(said, key=len)


def _other_encoder(words: set[str], encoders: dict[str, set[str]], own: set[str]) -> str | None:
    """Return the word of a name that is another encoder's alone."""
    if any(encoders[each] & words for each in own):
        return None
    for word in sorted(words):
        owners = [each for each, parts in encoders.items() if word in parts]
        if len(word) >= SHORTEST and len(owners) == 1:
            return word
    return None


def _other_family(words: set[str], run: Run) -> str | None:
    """Return the word of a name that is a family of encoders, of which neither the run's encoders nor its model is."""
    own = " ".join([run.model, *_encoders(run)]).casefold()
    others = tuple(each for each in FAMILIES if each not in own)
    return next((word for word in sorted(words) if word.startswith(others)), None)


def _words(name: str) -> set[str]:
    """Return the words of a name, in small letters."""
    return {word for word in re.split(r"[^a-z0-9]+", name.casefold()) if word}


def _prompts(run: Run) -> set[str]:
    """Return the prompt lists of a run."""
    prompts = run.options.get("prompts")
    return {prompts} if isinstance(prompts, str) else set(prompts or ())


def _encoders(run: Run) -> list[str]:
    """Return the encoders of a run, as it writes them."""
    more = [each if isinstance(each, str) else each.get("encoder") for each in run.options.get("encoders") or ()]
    return [each for each in (run.options.get("encoder"), *more) if isinstance(each, str)]
