"""Compose the words of confused class pairs as TOML, ready to edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kit.config.toml import toml_text
from kit.curate.words.scores import ListScore
from kit.features.prompts import NAMES

N_PAIRS = 5  # whose words are offered for editing


def compose_snippet(shown: ListScore, scores: Sequence[ListScore]) -> str:
    """Return a piece of TOML with the words of the foremost pairs, ready to edit; empty where nothing is confused.

    Beside a class of the `shown` list stand the words of the list that recognises it best, where that is another one.
    """
    pairs = shown.pairs[:N_PAIRS]
    if not pairs:
        return ""
    named = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    rows = [row for name in named for row in _compose_class(name, shown, scores)]
    file = "mine.toml: a new list needs the other classes too" if shown.name == NAMES else f"{shown.name}.toml"
    return "\n".join([f"# prompts/{file}", "[words]", *rows])


def _compose_class(name: str, shown: ListScore, scores: Sequence[ListScore]) -> Iterator[str]:
    """Yield the lines of one class: what it is confused with, better words elsewhere, its words."""
    partners = [
        f"{toml_text(pair.second if pair.first == name else pair.first)} {pair.n_forth + pair.n_back}"
        for pair in shown.pairs[:N_PAIRS]
        if name in (pair.first, pair.second)
    ]
    yield f"# confused with {', '.join(partners)}"
    best = max(scores, key=lambda score: (score.recalls[name] or 0, score is shown))
    if best is not shown:
        recalled = f"{shown.recalls[name] or 0:.2f}, in {best.name} {best.recalls[name]:.2f}"
        yield f"# recall {recalled}: {_toml_list(best.words[name])}"
    yield f"{toml_text(name)} = {_toml_list(shown.words[name])}"


def _toml_list(words: Sequence[str]) -> str:
    """Return words as a TOML list."""
    return f"[{', '.join(map(toml_text, words))}]"
