"""The log of looks and acts: that no line of it was edited, taken out or cut off, and that runs are as it says."""

from __future__ import annotations

from collections.abc import Iterable

from kit.core.errors import LeakFound, some
from kit.core.files import hash_file
from kit.core.terminal import count
from kit.data.prepared import Prepared
from kit.runs.store.ledger import FILE, Chain, read_chain, read_ledger
from kit.runs.store.result import Result


def verify_log(prepared: Prepared, runs: Iterable[Result]) -> str:
    """Return a sentence on the log; a line that is gone, or a run.json that is not the one it tells of, is a leak."""
    competition = prepared.competition
    home = competition.workspace.runs(competition.name)
    file, chain = home / FILE, read_chain(home)
    if chain.broken is not None:
        raise LeakFound(
            f"{file}: line {chain.broken} does not follow from the line before it: one of them was edited or taken out"
        )
    if chain.is_cut:
        raise LeakFound(
            f"{file}: it was cut short, exchanged or deleted: {competition.name}.log beside the fold file tells of a "
            "look that is not in it; bring it back"
        )
    ledger, strangers = read_ledger(home), []
    for run in runs:
        place = run.name, run.record.key
        seals = ledger.seals.get(place)
        if place not in ledger.runs:
            strangers.append(run.name)
        elif seals and hash_file(run.folder / "run.json") not in seals:
            raise LeakFound(f"{run.name}: {run.folder / 'run.json'} was edited since the run was finished")
        elif run.record.log not in ("", *chain.hashes):
            raise LeakFound(f"{run.name}: it was finished after a look that is not in {file}: lines were cut off")
    return _describe(chain, strangers)


def _describe(chain: Chain, strangers: list[str]) -> str:
    """Say what the log holds, and what it does not know."""
    sentence = f"log: {count(len(chain.hashes), 'look')} and acts, each sealed by the next"
    if chain.lost:
        sentence += f"; before line {chain.lost[0]} others were lost, of which nothing is known"
    if strangers:
        sentence += f"; not in it, so copied from elsewhere: {some(strangers)}"
    return sentence
