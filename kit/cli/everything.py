"""The command that does everything: all."""

from __future__ import annotations

from kit.cli.call import DEFAULT, Comp, TimeLimit, app, holding, list_weights, options, read, ready, say_board
from kit.errors import TimeIsUp


@app.command("all")
def all_(comp: Comp = DEFAULT, time_limit: TimeLimit = None) -> None:
    """Do everything: check, folds, all runs, ensemble, one submission, leaderboard, verify."""
    from kit import terminal
    from kit.ensemble import check_members, ensemble
    from kit.pipeline import OutOfTime, find_better, find_finished, find_members, group_by_reason, train_runs
    from kit.submission import make_submission, read_sample
    from kit.verify import verify

    competition = read(comp)
    with holding(competition):
        prepared = ready(competition, time_limit, held=True)
        check_members(prepared)
        if len(prepared.split("test")):
            read_sample(prepared)  # a sample that does not fit must not be found out after hours of training
        results, skipped = train_runs(prepared, competition.default_runs, strict=options.strict)
        is_late = any(isinstance(reason, OutOfTime) for reason in skipped.values())
        if is_late and not results:
            raise TimeIsUp("time limit reached before any run was finished; the next call goes on")
        combined = ensemble(prepared, find_members(prepared))
        cv, error, weights = combined.facts["cv"], combined.facts["se"], list_weights(combined, ", ")
        terminal.stage("ensemble", f"CV {cv:.4f} +- {error:.4f} (nested); {weights}")
        said = verify(prepared, [*results, combined])
        terminal.stage("verify", f"{len(said)} checks held")
        path = make_submission(prepared, combined) if len(prepared.split("test")) else None
    say_board(prepared, find_finished(prepared), skipped, submission=path)
    for reason, names in group_by_reason(skipped).items():
        terminal.warn(f"{', '.join(names)} was skipped: {reason}")
    if path and (better := find_better(prepared, results, combined)):
        terminal.note(f"{better} alone is better than the ensemble: ./run.sh submission {comp} {better} writes its CSV")
    terminal.stage("submission", str(path or "none: the competition has no test images"))
    if path and competition.facts.slug:
        terminal.note(f"next: ./run.sh submit {comp} -m {path.stem}")
    if is_late:
        raise TimeIsUp("time limit reached; what was finished is in the submission, the next call goes on")
