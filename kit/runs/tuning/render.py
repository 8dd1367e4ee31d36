"""What a person reads of a tuning: what to do first, then why, then the trials, then TOML where it is worth pasting."""

from __future__ import annotations

from kit.core.terminal import count
from kit.runs.tuning.report import Tuned, write_run
from kit.runs.tuning.study import COMPLETE, PRUNED, REFUSED, spell_options

TRIALS_SHOWN = 10  # trials


def render(tuned: Tuned, with_toml: bool = False) -> str:
    """Return what a person reads; `with_toml` adds the best values also where they are not surely better."""
    fresh = tuned.comparison
    where = f"fresh folds (seed {fresh.seed})" if fresh.seed is not None else "the same folds, chosen nested"
    n_chosen = count(len(set(fresh.chosen.values())), "setting")
    lines = [
        f"{tuned.run.name}: {tuned.verdict}",
        "",
        f"  tuned - untuned     {fresh.difference:+.4f} +- {fresh.error:.4f}   {tuned.metric}, on the same images",
        f"  tuned                {_spell(fresh.tuned)}   {where}; no row chose the setting it is scored with "
        f"({n_chosen})",
        *([f"  {tuned.nesting}"] if tuned.nesting else []),
        f"  untuned              {_spell(fresh.untuned)}   what the run has, on the same folds",
        f"  best of the search   {_spell(tuned.best)}   optimistic: the best of many, on the rows that chose it",
        "",
        *_list_trials(tuned),
    ]
    if tuned.has_helped or (with_toml and not tuned.is_own):
        lines += ["", write_run(tuned.run, tuned.options)]
    return "\n".join(lines)


def _list_trials(tuned: Tuned) -> list[str]:
    """Return a line for each of the best trials, the best first, whether or not it improved on those before it."""
    states = {state: [trial for trial in tuned.trials if trial.state == state] for state in (COMPLETE, PRUNED, REFUSED)}
    ordered = sorted(states[COMPLETE], key=lambda trial: -tuned.sign * (trial.score or 0.0))
    counts = ", ".join(f"{len(trials)} {state}" for state, trials in states.items() if trials)
    lines = [f"{count(len(tuned.trials), 'trial')} ({counts}), the best first, on the search's folds:"]
    for trial in ordered[:TRIALS_SHOWN]:
        mark = "   (what the run has)" if trial.number == tuned.own_trial else ""
        lines.append(f"  {trial.score:.4f}   trial {trial.number:<3}   {spell_options(trial.options)}{mark}")
    left_out = len(tuned.trials) - min(TRIALS_SHOWN, len(ordered))
    return [*lines, *([f"  and {left_out:,} more: --json lists all"] if left_out else [])]


def _spell(score: tuple[float, float]) -> str:
    return f"{score[0]:.4f} +- {score[1]:.4f}"
