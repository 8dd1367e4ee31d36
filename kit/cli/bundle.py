"""The command that packs runs for a code competition: bundle."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import KAGGLE, command
from kit.cli.call import DEFAULT, Comp, complete_result, holding, read, ready, say, suggest
from kit.core.errors import InputError

if TYPE_CHECKING:
    from kit.kaggle.bundle import WrittenBundle


@command(panel=KAGGLE, example="bundle digits probe --limit 9h")
def bundle(
    comp: Comp = DEFAULT,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs; the ensemble's members by default.", autocompletion=complete_result),
    ] = None,
    owner: Annotated[str, typer.Option(help="Your name at Kaggle, for the metadata.")] = "OWNER",
    n_test: Annotated[
        int | None, typer.Option(min=1, help="Images of the hidden test set; as many as are here by default.")
    ] = None,
    limit: Annotated[str, typer.Option(help="Kaggle's limit on the notebook's run time (9h, 30m).")] = "9h",
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out runs that cannot go; their weight is shared.")
    ] = False,
    wheels: Annotated[bool, typer.Option("--wheels", help="Fetch the wheels that Kaggle's image lacks.")] = False,
    lacks: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="What Kaggle's image lacks, in place of what is assumed; repeatable."),
    ] = None,
) -> None:
    """Pack trained runs into a folder that predicts new test images without internet, for code competitions."""
    from kit.core import terminal
    from kit.core.deadline import parse_duration
    from kit.core.names import ENSEMBLE
    from kit.kaggle.bundle import write_bundle
    from kit.runs.train import find_members, find_trained

    if not re.fullmatch(r"[A-Za-z0-9-]+", owner):
        raise InputError(f"--owner {owner}: a name at Kaggle, as in your profile's address: letters, digits and -")
    seconds = parse_duration(limit, "--limit")
    prepared = ready(read(comp))
    named = list(dict.fromkeys(name for name in runs or () if name != ENSEMBLE))
    with holding(prepared.competition):
        results = [find_trained(prepared, name) for name in named] or find_members(prepared)
        written = write_bundle(prepared, results, owner, drop, wheels, "-".join(named) or ENSEMBLE, lacks)
    n_images = n_test or len(prepared.split("test")) + len(prepared.broken_test)
    estimate, longest = written.trial.estimate(n_images), written.trial.estimates(n_images)[1]
    _tell(written, owner, n_images, "assumed, not looked up" if lacks is None else "said")
    if longest > seconds:
        alone = prepared.competition.command("bundle", "RUN")
        verb = "is" if estimate > seconds else "may be"
        terminal.warn(f"that {verb} more than {limit}: bundle fewer runs, or the best alone: {alone}")
    say(str(written.folder), _document(written, n_images, estimate, seconds))
    if prepared.competition.facts.slug is None:
        terminal.note(
            'a practice competition takes no notebook: slug = "..." in [competition] would name one that does'
        )
        suggest("leaderboard", comp)
        return
    place = shlex.quote(str(written.folder))
    terminal.note(f"upload it:          kaggle datasets create -p {place} -r zip")
    terminal.note(f"run the notebook:   kaggle kernels push -p {place}")
    terminal.note("and once it has run:")
    suggest("submit", comp, *(named if len(named) == 1 else ()), "-k", written.addresses["kernel"], "-v", "1")


def _tell(written: WrittenBundle, owner: str, n_images: int, how: str) -> None:
    """Say what is in the bundle, how it did, how long it will take and what to do with it."""
    from kit.core import terminal

    trial = written.trial
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in written.members.items())
    terminal.stage("bundle", f"{shares}; {written.n_bytes / 1e6:,.1f} MB")
    terminal.stage(
        "tried",
        f"{trial.n_images} test images: {trial.n_other} other labels, probabilities within {trial.difference:.1g}; "
        f"{trial.images_per_second:,.0f} images/s on {trial.device}, {trial.load_seconds:.1f} s to load",
    )
    shortest, longest = map(_spell, trial.estimates(n_images))
    spelled = shortest if shortest == longest else f"{shortest} to {longest}"
    by = f"by the pace of {terminal.count(trial.n_timed, 'image')}"
    terminal.stage("estimate", f"{spelled} for {n_images:,} images on a machine such as this one, {by}")
    if written.wanted:
        terminal.note(
            f"{how}: Kaggle's image lacks {', '.join(written.wanted)} or has another version; "
            "--wheels puts them into the bundle, --lacks PACKAGE names others. The notebook checks before it predicts"
        )
    if owner == "OWNER":
        terminal.note("write your name at Kaggle for OWNER in both metadata files, or call again with --owner NAME")


def _document(written: WrittenBundle, n_images: int, estimate: float, limit: float) -> dict[str, Any]:
    """Return the bundle as JSON."""
    facts = asdict(written) | {"folder": str(written.folder), "n_test": n_images}
    facts |= {"estimate_range_seconds": [round(each, 1) for each in written.trial.estimates(n_images)]}
    return facts | {"estimate_seconds": round(estimate, 1), "limit_seconds": limit, "fits": estimate <= limit}


def _spell(seconds: float) -> str:
    """Return a duration as people say it."""
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60:.0f} s"
