"""A plan in competition.toml: what it wrote is replaced, what a person wrote stays."""

from __future__ import annotations

import tomllib

import pytest

from kit.core.errors import InputError
from kit.curate.plan.facts import Wishes
from kit.curate.plan.recipe import Plan, PlannedRun
from kit.curate.plan.text import list_replaced, plan_text, rewrite

HEAD = '# facts\n[competition]\ntitle = "t"\n\n[data]  # here\nlabeled = "train"\n'
OWN = '# mine, and dear\n[runs.mine]\nmodel = "svm"\n\n[runs.mine.search]\nC = [1, 2]\n'


def make_plan(*names, preset="good", notes=(), **options):
    runs = [PlannedRun(name, {"model": "forest", **options}, f"{name} is good", 30.0, 12.0) for name in names]
    return Plan(tuple(runs), tuple(notes), Wishes(preset))


def runs_of(text):
    return tomllib.loads(text)["runs"]


def test_a_plan_follows_the_facts_with_a_reason_and_the_cost_of_every_run():
    text, kept = rewrite(HEAD, make_plan("forest", encoder_args={"pad_type": "same", "mean": [0.5, 1]}, smooth=0.8))
    assert text.startswith(HEAD) and kept == []
    assert runs_of(text)["forest"] == {
        "model": "forest",
        "encoder_args": {"pad_type": "same", "mean": [0.5, 1]},
        "smooth": 0.8,
    }
    assert "# Forest is good. About 30 seconds, 12 MB. [plan " in text
    assert tomllib.loads(text)["ensemble"] == {"method": "weights"}


def test_what_is_to_be_said_stands_above_the_runs():
    text, _ = rewrite(HEAD, make_plan("forest", notes=["The hub cannot be reached."]))
    assert text.index("# The hub cannot be reached.") < text.index("[runs.forest]")


def test_a_plan_takes_the_place_of_the_one_before():
    first, _ = rewrite(HEAD, make_plan("forest", "probe", notes=["an earlier note"]))
    second, kept = rewrite(first, make_plan("forest", "joint", preset="best", notes=["new"]))
    assert list(runs_of(second)) == ["forest", "joint"] and kept == []
    assert "an earlier note" not in second and second.count("Planned for --preset") == 1


def test_of_an_earlier_plan_the_runs_that_the_next_one_does_not_write_alike_are_replaced():
    text, _ = rewrite(HEAD + OWN, make_plan("forest", "probe", "joint"))
    plan = make_plan("forest", "probe")
    plan.runs[1].table["smooth"] = 0.5
    assert list_replaced(text, plan) == ["probe", "joint"]


def test_the_same_plan_changes_nothing():
    first, _ = rewrite(HEAD + OWN, make_plan("forest", "probe", notes=["a note"]))
    assert rewrite(first, make_plan("forest", "probe", notes=["a note"]))[0] == first


def test_runs_of_a_person_are_kept_with_their_comments():
    text, kept = rewrite(HEAD + OWN, make_plan("forest"))
    assert kept == ["mine"] and "# mine, and dear\n[runs.mine]" in text
    assert list(runs_of(text)) == ["forest", "mine"] and runs_of(text)["mine"]["search"] == {"C": [1, 2]}


def test_a_planned_run_that_was_changed_is_a_persons():
    first, _ = rewrite(HEAD, make_plan("forest", "probe"))
    changed = first.replace('[runs.probe]\nmodel = "forest"', '[runs.probe]\nmodel = "svm"')
    text, kept = rewrite(changed, make_plan("forest", "probe"))
    assert kept == ["probe"] and runs_of(text)["probe"] == {"model": "svm"}


def test_an_ensemble_that_was_changed_is_kept():
    text, _ = rewrite(HEAD + '[ensemble]\nmethod = "greedy"\n', make_plan("forest"))
    assert tomllib.loads(text)["ensemble"] == {"method": "greedy"}


def test_tables_after_the_runs_are_kept():
    first, _ = rewrite(HEAD, make_plan("forest"))
    text, _ = rewrite(first + '\n[decision]\nnone_of_these = "other"\n', make_plan("forest"))
    assert tomllib.loads(text)["decision"] == {"none_of_these": "other"}


def test_a_layout_that_would_lose_a_line_is_refused():
    """A line of a longer text that looks like a header."""
    odd = HEAD + '[runs.mine]\nmodel = """\n[ensemble]\n"""\n'
    with pytest.raises(InputError, match="laid out so that"):
        rewrite(odd, make_plan("forest"))


def test_runs_of_a_name_that_is_taken_are_left_out():
    assert "[runs.forest]" not in plan_text(make_plan("forest", "probe"), kept=("forest",))
