"""Plan the runs of a competition: what an expert would try on this machine, in this time, with these weights.

Reads the image table, a few images and the headers of weights; asks the hub once; writes ``[runs.*]`` and
``[ensemble]`` of competition.toml. File by file::

    facts.py      the competition's counts, the machine, what the user wishes
    catalog.py    encoders of today that the hub offers, one published reason each
    folder.py     weights in a folder: the network, and how it wants its images
    choose.py     between ways to read a file of weights, by a probe on the labels
    portfolio.py  which encoders fit machine and time
    planned.py    one run: its table, its reason, what it costs
    networks.py   which networks are trained: resolution, seeds, time by their steps
    recipe.py     which runs: heads, the joint one, the one that it teaches, networks
    places.py     what a plan would take on other machines
    text.py       a plan as TOML and as a table; the user's own runs are kept
    write.py      into competition.toml
"""

from kit.curate.plan.facts import PRESETS, PlanFacts, Wishes, read_facts
from kit.curate.plan.places import GUESSES, estimate_places, render_places
from kit.curate.plan.recipe import Plan, PlannedRun, plan_runs
from kit.curate.plan.text import describe_plan, head_of, is_all_planned, list_replaced, plan_text, rewrite
from kit.curate.plan.write import plan_competition, write_plan

__all__ = [
    "GUESSES",
    "PRESETS",
    "Plan",
    "PlanFacts",
    "PlannedRun",
    "Wishes",
    "describe_plan",
    "estimate_places",
    "head_of",
    "is_all_planned",
    "list_replaced",
    "plan_competition",
    "plan_runs",
    "plan_text",
    "read_facts",
    "render_places",
    "rewrite",
    "write_plan",
]
