"""Prompt lists: checked against the classes, each mistake named."""

from __future__ import annotations

import pytest

from kit.errors import InputError
from kit.prompts import read_prompts

CLASSES = ("bat", "black-tailed deer ", "flash")


def write(folder, text: str) -> None:
    (folder / "own.toml").write_text(text, encoding="utf-8")


def test_names_are_made_from_the_classes(tmp_path):
    prompts = read_prompts(tmp_path, "names", CLASSES)
    assert prompts.prompts(1) == ["a photo of a black-tailed deer."]


def test_every_word_goes_into_every_template(tmp_path):
    write(
        tmp_path,
        'templates = ["a {}", "the {}"]\n[words]\nbat = ["bat", "flying fox"]\n'
        '"black-tailed deer " = "deer"\nflash = ["camera flash"]',
    )
    prompts = read_prompts(tmp_path, "own", CLASSES)
    assert prompts.prompts(0) == ["a bat", "the bat", "a flying fox", "the flying fox"]
    assert prompts.prompts(2) == ["a camera flash", "the camera flash"]


GOOD = 'bat = "bat"\n"black-tailed deer " = "deer"\nflash = "flash"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[words]\nbat = 'bat'", r"lacks 2 classes: 'black-tailed deer ', 'flash'"),
        ("[words]\n" + GOOD + "bt = 'x'", r"'bt' is not a class; did you mean 'bat'"),
        ("[words]\n" + GOOD.replace('"flash"', '" "'), "'flash' must be a word or a list of words, none empty"),
        ("[words]\n" + GOOD.replace('"flash"', '"bat"'), "'bat' stands for both 'bat' and 'flash'"),
        ("templates = ['a photo']\n[words]\n" + GOOD, "'a photo' must hold {} once"),
        ("templates = []\n[words]\n" + GOOD, "templates must be a list"),
        ("template = ['a {}']\n[words]\n" + GOOD, "unknown key 'template'; did you mean 'templates'"),
        ("[words\n", "not TOML.*line 1"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    write(tmp_path, text)
    with pytest.raises(InputError, match=said):
        read_prompts(tmp_path, "own", CLASSES)


def test_a_list_that_does_not_exist_names_the_nearest(tmp_path):
    write(tmp_path, "[words]\n" + GOOD)
    with pytest.raises(InputError, match="did you mean 'own'"):
        read_prompts(tmp_path, "owm", CLASSES)
