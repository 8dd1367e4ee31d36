"""Words edited after their score was seen stay optimistic under another file's name."""

from __future__ import annotations

import json

import pytest

from kit.features.prompts import PromptList
from kit.runs.seen import LOOKED, is_optimistic, note_looked


def version(word: str, name: str = "own") -> PromptList:
    return PromptList(name, ("a {}",), ((word,), ("other",)))


def test_an_edited_list_under_a_new_name_is_optimistic_before_and_after_its_first_look(tmp_path):
    for word in ("bat", "flying fox"):
        note_looked(tmp_path, version(word))
    assert is_optimistic(tmp_path, version("flying fox", "fresh"))
    note_looked(tmp_path, version("flying fox", "fresh"))
    assert is_optimistic(tmp_path, version("flying fox", "fresh"))


def test_words_of_its_own_under_a_new_name_are_honest(tmp_path):
    for word in ("bat", "flying fox"):
        note_looked(tmp_path, version(word))
    assert not is_optimistic(tmp_path, version("vampire", "fresh"))
    assert not is_optimistic(tmp_path, version("bat", "fresh")), "the first version under another name"


def test_a_list_that_another_is_edited_into_later_stays_honest(tmp_path):
    note_looked(tmp_path, version("flying fox", "first"))
    note_looked(tmp_path, version("bat"))
    note_looked(tmp_path, version("flying fox"))
    ledger = json.loads((tmp_path / LOOKED).read_text())
    ledger["first"] = dict.fromkeys(ledger["first"], "2026-01-02T03:04:05+0000")
    (tmp_path / LOOKED).write_text(json.dumps(ledger))
    assert not is_optimistic(tmp_path, version("flying fox", "first"))
    assert is_optimistic(tmp_path, version("flying fox"))


@pytest.mark.parametrize(
    ("edited", "is_marked"), [("2026-03-29T01:30:00+0100", True), ("2026-03-29T03:30:00+0200", False)]
)
def test_the_earlier_look_counts_also_where_the_clock_was_changed_between(tmp_path, edited, is_marked):
    """Half past one in winter time is before one o'clock in universal time; half past three in summer time is after."""
    note_looked(tmp_path, version("flying fox", "first"))
    for word in ("bat", "flying fox"):
        note_looked(tmp_path, version(word))
    ledger = json.loads((tmp_path / LOOKED).read_text())
    ledger["first"][version("flying fox").key] = "2026-03-29T01:00:00+0000"
    ledger["own"][version("flying fox").key] = edited
    (tmp_path / LOOKED).write_text(json.dumps(ledger))
    assert is_optimistic(tmp_path, version("flying fox", "first")) == is_marked
