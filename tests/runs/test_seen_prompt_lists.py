"""Words in a new file, written after the first look at a score, are optimistic like an edited list's."""

from __future__ import annotations

import json
import sys
import tomllib

import pytest
from support.pools import make_pool

from kit.cli import main
from kit.config.competition import HOME
from kit.core.files import read_json
from kit.data.prepared import prepare
from kit.features.prompts import PromptList, list_prompts, read_prompts
from kit.report.board import leaderboard
from kit.runs.fit.crossval import crossval
from kit.runs.seen import FIRST_PROMPTS, SEEN_PROMPTS, are_prompts_spoiled, note_prompts, readable_prompts

RUNS = """
[runs.{name}]
model = "zero_shot"
encoder = "open_clip:local-dir:{home}/digits/tiny-clip"
prompts = "{name}"
"""
CLIP = f"""
[runs.first]
model = "zero_shot"
encoder = "open_clip:local-dir:{HOME}/digits/tiny-clip"
prompts = "names"
"""
WORDS = 'templates = ["a {}"]\n[words]\nblue = "sea"\ngreen = "grass"\nred = "blood"\n'


def version(word: str, name: str = "own") -> PromptList:
    return PromptList(name, ("a {}",), ((word,), ("other",)))


def test_an_edited_copy_that_is_saved_after_the_first_look_is_optimistic(tmp_path):
    note_prompts(tmp_path, version("bat"), [version("bat")])
    copy = version("flying fox", "copy")
    assert are_prompts_spoiled(tmp_path, copy)
    note_prompts(tmp_path, copy, [version("bat"), copy])
    assert are_prompts_spoiled(tmp_path, copy)


def test_a_list_that_lay_there_at_the_first_look_is_honest_until_it_is_edited(tmp_path):
    beside = version("flying fox", "beside")
    note_prompts(tmp_path, version("bat"), [version("bat"), beside])
    assert not are_prompts_spoiled(tmp_path, beside)
    assert are_prompts_spoiled(tmp_path, version("fruit bat", "beside")), "edited before its own first look"


def test_words_that_were_there_keep_their_honesty_under_another_name(tmp_path):
    note_prompts(tmp_path, version("bat"), [version("bat")])
    assert not are_prompts_spoiled(tmp_path, version("bat", "copy"))


def test_a_memory_from_before_goes_by_the_looks_alone(tmp_path):
    note_prompts(tmp_path, version("bat"))
    note_prompts(tmp_path, version("flying fox", "copy"), [version("flying fox", "copy")])
    assert not (tmp_path / FIRST_PROMPTS).exists() and not are_prompts_spoiled(tmp_path, version("vampire", "fresh"))


def test_the_generated_list_is_never_optimistic(tmp_path):
    note_prompts(tmp_path, version("bat"), [version("bat")])
    assert not are_prompts_spoiled(tmp_path, version("anything", "names"))


def test_a_list_that_is_not_finished_does_not_keep_the_others_out(tmp_path):
    pool = make_pool(tmp_path / "pool", 3)
    pool.prompts.mkdir()
    words = {name: f"a {name} thing" for name in pool.classes}
    lines = "".join(f"{name} = {json.dumps(word)}\n" for name, word in words.items())
    (pool.prompts / "whole.toml").write_text(f'templates = ["a {{}}"]\n[words]\n{lines}')
    (pool.prompts / "half.toml").write_text('templates = ["a {}"]\n[words]\nblue =')
    assert [prompt_list.name for prompt_list in readable_prompts(pool)] == ["names", "whole"]


def test_a_run_on_a_copy_that_was_edited_after_the_first_run_is_marked(colours):
    names = ("odd", "beside", "copy")
    competition = colours("".join(RUNS.format(name=name, home=HOME) for name in names))
    (competition.folder / "prompts").mkdir()
    marked = {}
    for name, blue in zip(names, ("one", "two", "three"), strict=True):
        files = names[:2] if name == "odd" else (name,)
        for file in files:
            text = f'templates = ["a {{}}"]\n[words]\nblue = "{blue} {file}"\ngreen = "four"\nred = "five"\n'
            if name != "beside":
                (competition.folder / "prompts" / f"{file}.toml").write_text(text)
        prepared = prepare(competition)
        (row,) = leaderboard(prepared, [crossval(prepared, name)], {})
        marked[name] = any("CV optimistic: the words of prompt list" in remark for remark in row.remarks)
    assert marked == {"odd": False, "beside": False, "copy": True}


def test_a_list_nobody_looked_at_may_be_edited(tmp_path):
    assert not are_prompts_spoiled(tmp_path, version("bat"))
    note_prompts(tmp_path, version("bat"))
    note_prompts(tmp_path, version("fox", "another"))
    assert not are_prompts_spoiled(tmp_path, version("bat"))
    assert not are_prompts_spoiled(tmp_path, version("fox", "another"))


def test_a_list_edited_after_a_look_is_optimistic_also_before_its_own_first_look(tmp_path):
    note_prompts(tmp_path, version("bat"))
    assert are_prompts_spoiled(tmp_path, version("flying fox"))
    note_prompts(tmp_path, version("flying fox"))
    assert are_prompts_spoiled(tmp_path, version("flying fox"))


def test_going_back_to_the_first_version_is_going_back_to_an_honest_cv(tmp_path):
    for word in ("bat", "flying fox", "bat"):
        note_prompts(tmp_path, version(word))
    assert not are_prompts_spoiled(tmp_path, version("bat"))
    assert list(json.loads((tmp_path / "prompts.json").read_text())["own"]) == [
        version("bat").key,
        version("flying fox").key,
    ]


def test_the_generated_list_is_never_optimistic_even_when_it_changes(tmp_path):
    note_prompts(tmp_path, version("bat", "names"))
    assert not are_prompts_spoiled(tmp_path, version("fox", "names"))


def test_a_list_written_after_a_look_at_the_names_is_optimistic(tmp_path):
    names = version("class", "names")
    note_prompts(tmp_path, names, [names])
    assert are_prompts_spoiled(tmp_path, version("bat"))
    note_prompts(tmp_path, version("bat"), [names, version("bat")])
    assert are_prompts_spoiled(tmp_path, version("bat")) and not are_prompts_spoiled(tmp_path, names)


def test_lists_that_lie_there_when_the_names_are_looked_at_are_honest(tmp_path):
    lists = [version("class", "names"), version("bat"), version("fox", "another")]
    for prompts in lists:
        note_prompts(tmp_path, prompts, lists)
    assert not any(are_prompts_spoiled(tmp_path, prompts) for prompts in lists)


@pytest.mark.parametrize("name", ["digits", "food11", "inf473v"])
def test_the_lists_that_come_with_a_competition_are_honest_at_whatever_is_looked_at_first(tmp_path, name):
    folder = HOME / name / "prompts"
    classes = tuple(sorted(tomllib.loads(next(folder.glob("*.toml")).read_text())["words"]))
    lists = [read_prompts(folder, name, classes) for name in list_prompts(folder)]
    for number, first in enumerate(lists):
        note_prompts(tmp_path / str(number), first, lists)
        for prompts in lists:
            note_prompts(tmp_path / str(number), prompts, lists)
        assert len(lists) > 1 and not any(are_prompts_spoiled(tmp_path / str(number), prompts) for prompts in lists)


@pytest.mark.parametrize("look", ["train", "prompts"])
def test_both_commands_remember_a_look_at_the_names(colours, monkeypatch, capsys, look):
    pytest.importorskip("open_clip")
    competition = colours(CLIP)
    words = competition.folder / "prompts" / "mine.toml"
    monkeypatch.setattr(sys, "argv", ["kit", look, "colours", "--workspace", str(competition.workspace.root)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None), capsys.readouterr().err
    assert len(read_json(competition.workspace.runs("colours") / FIRST_PROMPTS)) == 1
    words.parent.mkdir()
    words.write_text(WORDS)
    result = crossval(prepare(colours(CLIP.replace('"names"', '"mine"'))), "first")
    assert result.record.optimistic == ["mine"]


def test_an_edited_list_under_a_new_name_is_optimistic_before_and_after_its_first_look(tmp_path):
    for word in ("bat", "flying fox"):
        note_prompts(tmp_path, version(word))
    assert are_prompts_spoiled(tmp_path, version("flying fox", "fresh"))
    note_prompts(tmp_path, version("flying fox", "fresh"))
    assert are_prompts_spoiled(tmp_path, version("flying fox", "fresh"))


def test_words_of_its_own_under_a_new_name_are_honest(tmp_path):
    for word in ("bat", "flying fox"):
        note_prompts(tmp_path, version(word))
    assert not are_prompts_spoiled(tmp_path, version("vampire", "fresh"))
    assert not are_prompts_spoiled(tmp_path, version("bat", "fresh")), "the first version under another name"


def test_a_list_that_another_is_edited_into_later_stays_honest(tmp_path):
    note_prompts(tmp_path, version("flying fox", "first"))
    note_prompts(tmp_path, version("bat"))
    note_prompts(tmp_path, version("flying fox"))
    ledger = json.loads((tmp_path / SEEN_PROMPTS).read_text())
    ledger["first"] = dict.fromkeys(ledger["first"], "2026-01-02T03:04:05+0000")
    (tmp_path / SEEN_PROMPTS).write_text(json.dumps(ledger))
    assert not are_prompts_spoiled(tmp_path, version("flying fox", "first"))
    assert are_prompts_spoiled(tmp_path, version("flying fox"))


@pytest.mark.parametrize(
    ("edited", "is_marked"), [("2026-03-29T01:30:00+0100", True), ("2026-03-29T03:30:00+0200", False)]
)
def test_the_earlier_look_counts_also_where_the_clock_was_changed_between(tmp_path, edited, is_marked):
    """Half past one in winter time is before one o'clock in universal time; half past three in summer time is after."""
    note_prompts(tmp_path, version("flying fox", "first"))
    for word in ("bat", "flying fox"):
        note_prompts(tmp_path, version(word))
    ledger = json.loads((tmp_path / SEEN_PROMPTS).read_text())
    ledger["first"][version("flying fox").key] = "2026-03-29T01:00:00+0000"
    ledger["own"][version("flying fox").key] = edited
    (tmp_path / SEEN_PROMPTS).write_text(json.dumps(ledger))
    assert are_prompts_spoiled(tmp_path, version("flying fox", "first")) == is_marked


def test_a_list_stays_spoiled_where_the_files_that_remember_it_are_deleted(tmp_path):
    first, second = version("bat"), version("fruit bat")
    note_prompts(tmp_path, first, [first])
    note_prompts(tmp_path, second)
    (tmp_path / SEEN_PROMPTS).unlink(), (tmp_path / FIRST_PROMPTS).unlink()
    assert are_prompts_spoiled(tmp_path, second) and not are_prompts_spoiled(tmp_path, first)
