"""Prompt lists: checked against the classes, each mistake named; looks at their scores remembered."""

from __future__ import annotations

import numpy as np
import pytest
from support.pools import make_pool

from kit.config.competition import HOME
from kit.core.errors import InputError
from kit.features.prompts import list_prompts, read_prompts, read_text_weights

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
    ("text", "message"),
    [
        ("[words]\nbat = 'bat'", r"lacks 2 classes: 'black-tailed deer ', 'flash'"),
        ("[words]\n" + GOOD + "bt = 'x'", r"'bt' is not a class; did you mean 'bat'"),
        ("[words]\n" + GOOD.replace('"flash"', '" "'), "'flash' must be a word or a list of words, none empty"),
        ("[words]\n" + GOOD.replace('"flash"', '"bat"'), "'bat' stands for both 'bat' and 'flash'"),
        ("[words]\n" + GOOD.replace('"flash"', '["flash", " Flash "]'), "'flash' has ' Flash ' twice; delete one"),
        ("[words]\n" + GOOD.replace('flash = "flash"', ""), "lacks 1 class: 'flash'"),
        ("templates = ['a {}', 'opnai']\n[words]\n" + GOOD, "'opnai' must hold {} once.*did you mean 'openai'"),
        ("templates = 'opnai'\n[words]\n" + GOOD, "or name a built-in set; did you mean 'openai'"),
        ("templates = ['{} and {}']\n[words]\n" + GOOD, "must hold {} once"),
        ("templates = 3\n[words]\n" + GOOD, "templates must be a list of sentences.*'default', 'openai', 'simple'"),
        ("templates = ['a photo']\n[words]\n" + GOOD, "'a photo' must hold {} once"),
        ("templates = []\n[words]\n" + GOOD, "templates must be a list"),
        ("template = ['a {}']\n[words]\n" + GOOD, "unknown key 'template'; did you mean 'templates'"),
        ("[words\n", "not TOML.*line 1"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path, "own", CLASSES)


def test_a_list_that_does_not_exist_names_the_nearest(tmp_path):
    write(tmp_path, "[words]\n" + GOOD)
    with pytest.raises(InputError, match="did you mean 'own'"):
        read_prompts(tmp_path, "owm", CLASSES)


def test_a_byte_order_mark_is_read_over(tmp_path):
    write(tmp_path, "\ufeff[words]\n" + GOOD)
    assert read_prompts(tmp_path, "own", CLASSES).words[0] == ("bat",)


def test_another_encoding_than_utf_8_is_refused(tmp_path):
    (tmp_path / "own.toml").write_bytes(("[words]\n" + GOOD.replace('"flash"', '"éclair"')).encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8.*save it as UTF-8"):
        read_prompts(tmp_path, "own", CLASSES)


@pytest.mark.parametrize(("name", "number"), [("openai", 80), ("simple", 7)])
def test_built_in_templates_are_open_clips(tmp_path, name, number):
    write(tmp_path, f'templates = "{name}"\n[words]\n{GOOD}')
    templates = getattr(pytest.importorskip("open_clip"), f"{name.upper()}_IMAGENET_TEMPLATES")
    prompts = read_prompts(tmp_path, "own", CLASSES).prompts(0)
    assert prompts == [template("bat") for template in templates] and len(prompts) == number


def test_sets_and_sentences_mix_and_a_sentence_in_two_of_them_counts_once(tmp_path):
    write(tmp_path, f'templates = ["default", "a generated image of a {{}}", "openai", "simple"]\n[words]\n{GOOD}')
    templates = read_prompts(tmp_path, "own", CLASSES).templates
    assert (
        templates[:2] == ("a photo of a {}.", "a generated image of a {}") and len(templates) == len({*templates}) == 81
    )


def test_without_templates_a_list_has_that_of_the_names(tmp_path):
    write(tmp_path, "[words]\n" + GOOD)
    assert read_prompts(tmp_path, "own", CLASSES).templates == read_prompts(tmp_path, "names", CLASSES).templates


def test_a_file_cannot_take_the_place_of_the_generated_list(tmp_path):
    (tmp_path / "names.toml").write_text("[words]\n" + GOOD)
    with pytest.raises(InputError, match=r"names.toml: 'names' is the list made from the class names"):
        read_prompts(tmp_path, "names", CLASSES)


def test_all_lists_are_found_the_generated_one_first_and_hidden_files_are_none(tmp_path):
    for name in ("plain.toml", "crafted.toml", "._crafted.toml", "notes.txt"):
        (tmp_path / name).touch()
    assert list_prompts(tmp_path) == ["names", "crafted", "plain"]
    assert list_prompts(tmp_path / "nowhere") == ["names"]


def test_many_words_and_templates_are_one_row_of_unit_length_per_class(tmp_path):
    pool = make_pool(tmp_path, 3)
    pool.prompts.mkdir()
    words = "\n".join(f'{name} = ["one {name}", "two {name}", "three {name}"]' for name in pool.classes)
    (pool.prompts / "many.toml").write_text(f'templates = "openai"\n[words]\n{words}')
    text = read_text_weights(pool, f"open_clip:local-dir:{HOME}/digits/tiny-clip", {}, "many")  # 720 prompts
    assert np.linalg.norm(text.values, axis=1) == pytest.approx(np.ones(3))


def test_a_prompt_that_the_encoder_would_cut_is_named_with_its_length(tmp_path):
    pytest.importorskip("open_clip")
    pool = make_pool(tmp_path, 3)
    pool.prompts.mkdir()
    (pool.prompts / "long.toml").write_text(f"[words]\nblue = 'blue'\ngreen = 'green'\nred = '{'word ' * 20}'")
    with pytest.raises(InputError, match=r"prompt 'a photo of a word word.* has 27 tokens"):
        read_text_weights(pool, f"open_clip:local-dir:{HOME}/digits/tiny-clip", {}, "long")
