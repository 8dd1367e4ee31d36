"""Words in a new file, written after the first look at a score, are optimistic like an edited list's."""

from __future__ import annotations

import json

from support.pools import make_pool

from kit.config.competition import HOME
from kit.data.prepared import prepare
from kit.features.prompts import PromptList
from kit.report.board import leaderboard
from kit.runs.fit.crossval import crossval
from kit.runs.seen import LOOKED_FIRST, is_optimistic, lists_there, note_looked

RUNS = """
[runs.{name}]
model = "zero_shot"
encoder = "open_clip:local-dir:{home}/digits/tiny-clip"
prompts = "{name}"
"""


def version(word: str, name: str = "own") -> PromptList:
    return PromptList(name, ("a {}",), ((word,), ("other",)))


def test_an_edited_copy_that_is_saved_after_the_first_look_is_optimistic(tmp_path):
    note_looked(tmp_path, version("bat"), [version("bat")])
    copy = version("flying fox", "copy")
    assert is_optimistic(tmp_path, copy)
    note_looked(tmp_path, copy, [version("bat"), copy])
    assert is_optimistic(tmp_path, copy)


def test_a_list_that_lay_there_at_the_first_look_is_honest_until_it_is_edited(tmp_path):
    beside = version("flying fox", "beside")
    note_looked(tmp_path, version("bat"), [version("bat"), beside])
    assert not is_optimistic(tmp_path, beside)
    assert is_optimistic(tmp_path, version("fruit bat", "beside")), "edited before its own first look"


def test_words_that_were_there_keep_their_honesty_under_another_name(tmp_path):
    note_looked(tmp_path, version("bat"), [version("bat")])
    assert not is_optimistic(tmp_path, version("bat", "copy"))


def test_a_memory_from_before_goes_by_the_looks_alone(tmp_path):
    note_looked(tmp_path, version("bat"))
    note_looked(tmp_path, version("flying fox", "copy"), [version("flying fox", "copy")])
    assert not (tmp_path / LOOKED_FIRST).exists() and not is_optimistic(tmp_path, version("vampire", "fresh"))


def test_the_generated_list_is_never_optimistic(tmp_path):
    note_looked(tmp_path, version("bat"), [version("bat")])
    assert not is_optimistic(tmp_path, version("anything", "names"))


def test_a_list_that_is_not_finished_does_not_keep_the_others_out(tmp_path):
    pool = make_pool(tmp_path / "pool", 3)
    pool.prompts.mkdir()
    words = {name: f"a {name} thing" for name in pool.classes}
    lines = "".join(f"{name} = {json.dumps(word)}\n" for name, word in words.items())
    (pool.prompts / "whole.toml").write_text(f'templates = ["a {{}}"]\n[words]\n{lines}')
    (pool.prompts / "half.toml").write_text('templates = ["a {}"]\n[words]\nblue =')
    assert [own.name for own in lists_there(pool)] == ["names", "whole"]


def test_a_run_on_a_copy_that_was_edited_after_the_first_run_is_marked(colours):
    names = ("odd", "beside", "copy")
    competition = colours("".join(RUNS.format(name=name, home=HOME) for name in names))
    (competition.folder / "prompts").mkdir()
    marked = {}
    for name, blue in zip(names, ("one", "two", "three"), strict=True):
        files = names[:2] if name == "odd" else (name,)
        for own in files:
            text = f'templates = ["a {{}}"]\n[words]\nblue = "{blue} {own}"\ngreen = "four"\nred = "five"\n'
            if name != "beside":
                (competition.folder / "prompts" / f"{own}.toml").write_text(text)
        prepared = prepare(competition)
        (row,) = leaderboard(prepared, [crossval(prepared, name)], {})
        marked[name] = any("CV optimistic: the words of prompt list" in remark for remark in row.remarks)
    assert marked == {"odd": False, "beside": False, "copy": True}
