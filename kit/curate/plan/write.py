"""Write a plan into competition.toml: its runs in place of an earlier plan's, the user's own kept."""

from __future__ import annotations

import pandas as pd

from kit.config.competition import Competition
from kit.core.files import write_atomic
from kit.curate.plan.facts import Encode, Wishes, encode_paths, read_facts
from kit.curate.plan.recipe import Plan, plan_runs
from kit.curate.plan.text import rewrite
from kit.runs.seen import note_chosen


def plan_competition(
    competition: Competition, wishes: Wishes, table: pd.DataFrame | None = None, encode: Encode = encode_paths
) -> Plan:
    """Plan the runs of a competition, of its image `table` where that is read already; nothing is written.

    Labelled images on which encoders are compared are encoded by `encode`. InputError where its image table cannot be
    read, or the folder of weights is none.
    """
    return plan_runs(read_facts(competition, table, encode), wishes)


def write_plan(competition: Competition, plan: Plan, is_draft: bool = False) -> list[str]:
    """Put a plan into competition.toml; return the names of the user's own runs, which are kept.

    In which encoders labels had a say is remembered beside the runs, and the leaderboard says it of their CVs. The
    runs of a draft, which nobody has seen yet, all make way. InputError where the file is laid out so that its tables
    cannot be told apart.
    """
    text, kept = rewrite(competition.file.read_text(encoding="utf-8-sig"), plan, is_draft)
    note_chosen(competition.workspace.runs(competition.name), plan.chosen)  # first: a kill leaves no run unmarked
    with write_atomic(competition.file, "w") as file:
        file.write(text)
    return kept
