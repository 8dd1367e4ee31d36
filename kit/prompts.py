"""Prompt lists: words per class and templates -> zero-shot weights.

Reads ``prompts/NAME.toml`` beside competition.toml; the list ``names`` is generated from the class names. Every word
goes into every template; the unit-length text features are averaged per class and brought to unit length again
(Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.encoders import Encoder, load_encoder
from kit.errors import InputError, nearest, some
from kit.files import key_of, write_atomic
from kit.weights import parse_encoder

if TYPE_CHECKING:
    from kit.images import Pool

NAMES = "names"
NAMES_TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class PromptList:
    """Hold a prompt list.

    Parameters
    ----------
    name
        The file's name without ``.toml``.
    templates
        Sentences with one ``{}``.
    words
        One or more words per class, in class order.
    """

    name: str
    templates: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @property
    def key(self) -> str:
        """Return the hash of the list's content."""
        return key_of(self.templates, self.words)

    def prompts(self, class_code: int) -> list[str]:
        """Return all prompts of one class."""
        return [template.replace("{}", word) for word in self.words[class_code] for template in self.templates]


@dataclass(frozen=True)
class TextWeights:
    """Hold a zero-shot classifier.

    Parameters
    ----------
    values
        (n_classes, n_dims) float32, rows of unit length.
    logit_scale
        CLIP's factor on cosine similarities.
    """

    values: np.ndarray
    logit_scale: float


def read_prompts(folder: Path, name: str, classes: tuple[str, ...]) -> PromptList:
    """Read a prompt list and check it against the classes.

    Parameters
    ----------
    folder
        The competition's prompts folder.
    name
        The list's name; ``"names"`` is made from the class names.
    classes
        Class names.

    Raises
    ------
    InputError
        When there is no such list, a class is missing or unknown, a word is empty or shared by two classes, or a
        template has no ``{}``.
    """
    file = folder / f"{name}.toml"
    if name == NAMES and not file.exists():
        return PromptList(NAMES, (NAMES_TEMPLATE,), tuple((_spoken(class_name),) for class_name in classes))
    if not file.exists():
        lists = {NAMES, *(path.stem for path in folder.glob("*.toml"))}
        raise InputError(f"{file}: no such prompt list; {nearest(name, lists)}")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not TOML: {error}") from error
    for key in tables:
        if key not in ("templates", "words"):
            raise InputError(f"{file}: unknown key {key!r}; {nearest(key, ('templates', 'words'))}")
    words = _check_words(tables.get("words", {}), classes, file)
    return PromptList(name, _check_templates(tables.get("templates", [NAMES_TEMPLATE]), file), words)


def prompts_of(pool: Pool, name: str) -> PromptList:
    """Read a prompt list of the pool's competition."""
    return read_prompts(pool.prompts, name, pool.classes)


def text_weights(encoder: Encoder, prompts: PromptList) -> np.ndarray:
    """Return the zero-shot classifier's weights.

    Returns
    -------
    np.ndarray
        (n_classes, n_dims) float32, rows of unit length.
    """
    per_class = [prompts.prompts(code) for code in range(len(prompts.words))]
    features = encoder.encode_text([prompt for own in per_class for prompt in own])  # (n_prompts, n_dims)
    ends = np.cumsum([len(own) for own in per_class])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def read_text_weights(pool: Pool, encoder: str, encoder_args: dict[str, Any], prompts: str) -> TextWeights:
    """Return the zero-shot classifier of a prompt list, from the cache where it lies there.

    Raises
    ------
    InputError
        When the prompt list is refused or the encoder has no text tower.
    """
    spec = parse_encoder(encoder, encoder_args, pool.lookup)
    words = prompts_of(pool, prompts)
    path = pool.cache / "text" / f"{key_of(spec.identity, words.key)}.npz"
    if not path.exists():
        loaded = load_encoder(spec)
        with write_atomic(path) as file:
            np.savez(file, values=text_weights(loaded, words), logit_scale=loaded.logit_scale)
    with np.load(path, allow_pickle=False) as arrays:
        return TextWeights(arrays["values"], float(arrays["logit_scale"]))


def _spoken(class_name: str) -> str:
    """Turn a folder's name into words."""
    return " ".join(class_name.replace("_", " ").split())


def _check_templates(templates: Any, file: Path) -> tuple[str, ...]:
    """Refuse templates that have no place for a word."""
    if not isinstance(templates, list) or not templates:
        raise InputError(f"{file}: templates must be a list of sentences such as {NAMES_TEMPLATE!r}")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise InputError(f"{file}: template {template!r} must hold {{}} once, where the word goes")
    return tuple(templates)


def _check_words(table: Any, classes: tuple[str, ...], file: Path) -> tuple[tuple[str, ...], ...]:
    """Return the words in class order."""
    if not isinstance(table, dict):
        raise InputError(f"{file}: [words] must be a table: class = word or list of words")
    unknown = [name for name in table if name not in classes]
    if unknown:
        raise InputError(f"{file}: [words] {unknown[0]!r} is not a class; {nearest(unknown[0], classes)}")
    missing = [name for name in classes if name not in table]
    if missing:
        raise InputError(f"{file}: [words] lacks {len(missing)} classes: {some(map(repr, missing))}")
    words, owners = [], {}
    for name in classes:
        own = [table[name]] if isinstance(table[name], str) else table[name]
        if not isinstance(own, list) or not own or not all(isinstance(word, str) and word.strip() for word in own):
            raise InputError(f"{file}: [words] {name!r} must be a word or a list of words, none empty")
        for word in own:
            if owners.setdefault(word, name) != name:
                raise InputError(f"{file}: [words] {word!r} stands for both {owners[word]!r} and {name!r}")
        words.append(tuple(own))
    return tuple(words)
