"""The words of the class pairs that are confused, as TOML to edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kit.config.toml import toml_text
from kit.curate.words.scores import ListScore
from kit.features.prompts import NAMES

N_PAIRS = 5  # whose words are offered for editing


def compose_snippet(own: ListScore, scores: Sequence[ListScore]) -> str:
    """Return a piece of TOML with the words of the foremost pairs, ready to edit; empty where nothing is confused.

    Beside a class stand the words of the list that recognises it best, where that is another one.

    Parameters
    ----------
    own
        The list.
    scores
        All lists.
    """
    pairs = own.pairs[:N_PAIRS]
    if not pairs:
        return ""
    named = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    rows = [row for name in named for row in _compose_class(name, own, scores)]
    file = "mine.toml: a new list needs the other classes too" if own.name == NAMES else f"{own.name}.toml"
    return "\n".join([f"# prompts/{file}", "[words]", *rows])


def _compose_class(name: str, own: ListScore, scores: Sequence[ListScore]) -> Iterator[str]:
    """Yield the lines of one class: what it is confused with, better words elsewhere, its words."""
    partners = [
        f"{toml_text(pair.second if pair.first == name else pair.first)} {pair.n_forth + pair.n_back}"
        for pair in own.pairs[:N_PAIRS]
        if name in (pair.first, pair.second)
    ]
    yield f"# confused with {', '.join(partners)}"
    best = max(scores, key=lambda score: (score.recalls[name] or 0, score is own))
    if best is not own:
        recalled = f"{own.recalls[name] or 0:.2f}, in {best.name} {best.recalls[name]:.2f}"
        yield f"# recall {recalled}: {_toml_list(best.words[name])}"
    yield f"{toml_text(name)} = {_toml_list(own.words[name])}"


def _toml_list(words: Sequence[str]) -> str:
    return f"[{', '.join(map(toml_text, words))}]"
