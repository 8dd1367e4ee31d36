"""A prompt list as its file has it: words per class and templates, each mistake named.

A file in ``prompts/`` beside competition.toml::

    templates = ["openai", "a stable diffusion generated image of a {}"]

    [words]
    bat = ["flying bat", "fruit bat"]
    flash = "camera flash"

Templates are sentences with one ``{}``, names of `SETS`, or both; every word goes into every template.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.core.errors import InputError, nearest, some
from kit.core.files import key_of
from kit.data.images import Gallery, Pool, pool_behind

NAMES = "names"
NAMES_TEMPLATE = "a photo of a {}."
KEYS = ("templates", "words")


def _default_templates() -> list[str]:
    """Return the template of the generated list."""
    return [NAMES_TEMPLATE]


def _openai_templates() -> list[str]:
    """Return the 80 templates of Radford et al. (2021), from open_clip."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def _simple_templates() -> list[str]:
    """Return the seven of the 80 that their authors found to do as well, from open_clip."""
    from open_clip import SIMPLE_IMAGENET_TEMPLATES

    return [template("{}") for template in SIMPLE_IMAGENET_TEMPLATES]


SETS: dict[str, Callable[[], list[str]]] = {
    "default": _default_templates,
    "openai": _openai_templates,
    "simple": _simple_templates,
}


@dataclass(frozen=True)
class PromptList:
    """Hold a prompt list.

    Parameters
    ----------
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


def list_prompts(folder: Path) -> list[str]:
    """Return the names of all prompt lists in a competition's prompts folder, the generated ``names`` first."""
    files = (path.stem for path in folder.glob("*.toml") if not path.name.startswith("."))
    return [NAMES, *sorted(name for name in files if name != NAMES)]


def read_prompts(folder: Path, name: str, classes: tuple[str, ...]) -> PromptList:
    """Read a prompt list and check it against the classes.

    ``"names"`` is the list made from the class names.

    Raises
    ------
    InputError
        When there is no such list, a class is missing or unknown, a word is empty, given twice or shared by two
        classes, or a template has no ``{}`` and is no built-in set.
    """
    file = folder / f"{name}.toml"
    if name == NAMES:
        if file.exists():
            raise InputError(f"{file}: {NAMES!r} is the list made from the class names; give the file another name")
        return PromptList(NAMES, (NAMES_TEMPLATE,), tuple((_as_words(class_name),) for class_name in classes))
    if not file.exists():
        raise InputError(f"{file}: no such prompt list; {nearest(name, list_prompts(folder))}")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not TOML: its text is not UTF-8 ({error}); save it as UTF-8") from error
    for key in tables:
        if key not in KEYS:
            raise InputError(f"{file}: unknown key {key!r}; {nearest(key, KEYS)}")
    words = _check_words(tables.get("words", {}), classes, file)
    return PromptList(name, _check_templates(tables.get("templates", "default"), file), words)


def prompts_of(pool: Pool | Gallery, name: str) -> PromptList:
    """Read a prompt list of the pool's competition."""
    return read_prompts(pool_behind(pool).prompts, name, pool.classes)


def _as_words(class_name: str) -> str:
    """Turn a folder's name into words."""
    return " ".join(class_name.replace("_", " ").split())


def _check_templates(given: Any, file: Path) -> tuple[str, ...]:
    """Return the sentences, built-in sets written out; one that stands in two sets counts once."""
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not given:
        example = f"{NAMES_TEMPLATE!r}, or of built-in sets: {some(map(repr, SETS))}"
        raise InputError(f"{file}: templates must be a list of sentences such as {example}")
    return tuple(dict.fromkeys(sentence for template in given for sentence in _sentences(template, file)))


def _sentences(template: Any, file: Path) -> list[str]:
    """Return the sentences of a built-in set, or the sentence itself."""
    if isinstance(template, str) and template in SETS:
        return SETS[template]()
    if not isinstance(template, str) or template.count("{}") != 1:
        sets = nearest(str(template), SETS)
        raise InputError(
            f"{file}: template {template!r} must hold {{}} once, where the word goes, or name a built-in set; {sets}"
        )
    return [template]


def _check_words(table: Any, classes: tuple[str, ...], file: Path) -> tuple[tuple[str, ...], ...]:
    """Return the words in class order."""
    if not isinstance(table, dict):
        raise InputError(f"{file}: [words] must be a table: class = word or list of words")
    unknown = [name for name in table if name not in classes]
    if unknown:
        raise InputError(f"{file}: [words] {unknown[0]!r} is not a class; {nearest(unknown[0], classes)}")
    missing = [name for name in classes if name not in table]
    if missing:
        lacking = f"{len(missing)} class{'es' if len(missing) > 1 else ''}"
        key, word = (json.dumps(text, ensure_ascii=False) for text in (missing[0], _as_words(missing[0])))
        remedy = f"add {key} = [{word}] or better words below [words]"
        raise InputError(
            f'{file}: [words] lacks {lacking}: {some(map(repr, missing))}; {remedy}, or write prompts = "{NAMES}" in '
            "the run, which takes the names of the classes"
        )
    owners: dict[str, str] = {}
    words = []
    for name in classes:
        of_class = tuple(_check_class_words(name, table[name], file))
        for word in of_class:
            if owners.setdefault(word, name) != name:
                raise InputError(f"{file}: [words] {word!r} stands for both {owners[word]!r} and {name!r}")
        words.append(of_class)
    return tuple(words)


def _check_class_words(name: str, given: Any, file: Path) -> Iterator[str]:
    """Yield the words of one class; refuse empty ones and one given twice, which would count twice."""
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise InputError(f"{file}: [words] {name!r} must be a word or a list of words, none empty")
    seen: set[str] = set()
    for word in words:
        plain = " ".join(word.casefold().split())  # tokenizers drop capitals and wide spaces
        if plain in seen:
            raise InputError(f"{file}: [words] {name!r} has {word!r} twice; delete one")
        seen.add(plain)
        yield word
