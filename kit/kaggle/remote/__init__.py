"""Remote: runs trained in a session of Kaggle, its GPU included, and taken back after the checks of `verify`.

A push is a private dataset (the kit as a wheel, competition, folds, weights, what unfinished runs have left) and a
private notebook that trains the runs; its state is a small file of the workspace, so that nothing is pushed twice.
File by file::

    state.py     one push: what was sent, how far it came; the lock against a second one
    weights.py   the files of encoders, in the places where another machine looks for them
    contents.py  what a push is made of: runs chosen, files packed
    script.py    what Kaggle runs: finds, checks and unpacks the push, installs the wheels, starts `session`
    session.py   in the session: trains, packs what is finished and what is not
    sending.py   dataset and notebook: uploaded, pushed, each once
    taking.py    how the session is, its log, its output taken
    unfinished.py  folds and checkpoints, taken where they are further
"""

from kit.kaggle.remote.contents import Plan, pack, plan_push
from kit.kaggle.remote.sending import (
    Earlier,
    ask_quota,
    check_earlier,
    describe_quota,
    find_earlier,
    read_hours,
    send_push,
)
from kit.kaggle.remote.state import Push, pushing, write_push
from kit.kaggle.remote.taking import (
    Look,
    Output,
    Taken,
    discard_push,
    fetch_output,
    find_push,
    look_at,
    stop_session,
    take_output,
)

__all__ = [
    "Earlier",
    "Look",
    "Output",
    "Plan",
    "Push",
    "Taken",
    "ask_quota",
    "check_earlier",
    "describe_quota",
    "discard_push",
    "fetch_output",
    "find_earlier",
    "find_push",
    "look_at",
    "pack",
    "plan_push",
    "pushing",
    "read_hours",
    "send_push",
    "stop_session",
    "take_output",
    "write_push",
]
