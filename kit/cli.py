"""The command line: one subcommand per stage, in pipeline order.

Results go to stdout, everything else to stderr. Exit code 0 when the thing asked for was done, 2 for bad input, 1 for
a failure. Modules are imported inside the command that needs them, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.errors import InputError, LeakFound, MissingWeights, Stopped, TimeIsUp

if TYPE_CHECKING:
    from kit.competition import Competition
    from kit.leaderboard import Row
    from kit.prepare import Prepared
    from kit.runs import Result

DEFAULT = "digits"
REPOSITORY = Path(__file__).parents[1]
WITH_VALUE = ("--workspace", "--set", "--seed")
FLAGS = ("--strict", "--quiet", "--json")
PLACE_ERRORS = {  # what is wrong with the place that was written to, and what to do
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOENT: "make it, or choose another --workspace",
} | dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR), "choose another --workspace")

app = typer.Typer(
    help="From a folder of images with few labels to a scored, valid submission.csv.",
    epilog="COMP is a name under kit/competitions or a folder holding competition.toml. Global options may stand "
    "before or after the command.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@dataclass
class Options:
    """Hold the global options of this call."""

    workspace: Path = REPOSITORY
    changes: tuple[str, ...] = ()
    seed: int | None = None
    strict: bool = False
    json: bool = False


options = Options()

Comp = Annotated[str, typer.Argument(metavar="COMP", help="Competition: a name or a folder.", show_default=True)]
TimeLimit = Annotated[
    str | None, typer.Option(help="Stop cleanly after this long (9h, 30m, 45s); call again to go on.")
]


@app.callback()
def set_options(
    workspace: Annotated[
        Path | None, typer.Option(help="Where data/, runs/, folds/, submissions/ lie; the repository by default.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override, e.g. runs.probe.C=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every run.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail instead of skipping a run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Take the global options."""
    from kit import terminal

    options.workspace = (workspace or REPOSITORY).expanduser().resolve()
    options.changes, options.seed = tuple(change or ()), seed
    options.strict, options.json = strict, json
    terminal.err.quiet = quiet


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the new competition.")],
    data: Annotated[Path, typer.Option(help="A folder of images, or a zip or tar of one.")],
    slug: Annotated[str | None, typer.Option(help="Kaggle's slug or URL.")] = None,
) -> None:
    """Infer the layout of a folder of images; write competition.toml and a first prompt list."""
    from kit import terminal
    from kit.competition import FILE, HOME
    from kit.files import Workspace
    from kit.new import check_name, describe, write_competition
    from kit.new.layout import infer_layout

    home = HOME if options.workspace == REPOSITORY else options.workspace / "competitions"
    check_name(name, home)
    layout = infer_layout(data.expanduser(), options.workspace / "data" / name)
    terminal.err.print(describe(layout))
    folder = write_competition(name, layout, home, slug, Workspace(options.workspace))
    where = "" if options.workspace == REPOSITORY else f" --workspace {shlex.quote(str(options.workspace))}"
    terminal.note(f"next: look through {folder}, then ./run.sh all {name}{where}")
    _print(str(folder), {"competition": name, "file": str(folder / FILE)})


@app.command()
def check(comp: Comp = DEFAULT) -> None:
    """Audit every file: broken, odd, duplicate, mislabelled; is the test like the training set?"""
    from kit import terminal
    from kit.check import audit
    from kit.prepare import make_data
    from kit.table import read_table

    competition = _read(comp)
    with _hold(competition):
        make_data(competition)
        report = audit(competition, read_table(competition))
    if options.json:
        terminal.print_json(report.as_dict())
    else:
        report.print()


@app.command()
def folds(comp: Comp = DEFAULT) -> None:
    """Assign the folds once, or read and verify them; show classes x folds."""
    import numpy as np
    from rich.table import Table

    from kit import terminal

    prepared = _prepare(_read(comp))
    n_folds = int(prepared.folds.max()) + 1
    counts = np.zeros((len(prepared.classes), n_folds), dtype=int)
    np.add.at(counts, (prepared.labels, prepared.folds), 1)
    path = prepared.competition.workspace.folds(prepared.competition.name)
    table = Table("class", *[f"fold {fold}" for fold in range(n_folds)], title=str(path), title_justify="left")
    for name, row in zip(prepared.classes, counts, strict=True):
        table.add_row(terminal.escape(name), *map(str, row))
    document = {"file": str(path), "counts": dict(zip(prepared.classes, counts.tolist(), strict=True))}
    _print(table, document)


@app.command()
def features(comp: Comp = DEFAULT) -> None:
    """Encode all images once with every encoder that a run names."""
    from kit import terminal
    from kit.features import encode_images

    prepared = _prepare(_read(comp))
    everything = prepared.pool.select(range(len(prepared.pool)))
    shapes: dict[str, Any] = {}
    with _hold(prepared.competition):
        for name, run in prepared.competition.runs.items():
            encoder = run.options.get("encoder")
            if encoder is None or run.model in ("fine_tune", "clip_finetune"):
                continue  # networks that are trained read pixels
            try:
                shapes[name] = encode_images(everything, encoder, run.options.get("encoder_args", {})).values.shape
            except MissingWeights as error:
                if options.strict:
                    raise
                terminal.warn(f"{name} is skipped: {error}")
    _print("\n".join(f"{name}: {n} images x {dims}" for name, (n, dims) in shapes.items()), shapes)


@app.command()
def train(
    comp: Comp = DEFAULT,
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; all by default.")] = None,
    time_limit: TimeLimit = None,
) -> None:
    """Cross-validate runs: every run x every fold -> oof, test and unlabeled predictions."""
    from kit.pipeline import train_runs

    competition = _read(comp)
    if not competition.runs:
        raise InputError(f"{competition.folder / 'competition.toml'}: there is no [runs.NAME] table to train")
    for name in runs or []:
        competition.run(name)
    prepared = _prepare(competition, time_limit)
    with _hold(competition):
        results, _ = train_runs(prepared, runs or list(competition.runs), strict=True)
    lines = [f"{own.name}: CV {own.facts['cv']:.4f} +- {own.facts['se']:.4f}" for own in results]
    _print("\n".join(lines), [own.facts for own in results])


@app.command("import")
def import_(
    comp: Annotated[str, typer.Argument(metavar="COMP")],
    name: Annotated[str, typer.Argument(help="Name of the member.")],
    oof: Annotated[Path, typer.Option(help="Oof predictions: id, then one column per class (CSV or parquet).")],
    test: Annotated[Path, typer.Option(help="Test predictions in the same form.")],
) -> None:
    """Take predictions made elsewhere as an ensemble member, after the same checks."""
    from kit.importing import import_predictions

    prepared = _prepare(_read(comp))
    with _hold(prepared.competition):
        result = import_predictions(prepared, name, oof, test)
    _print(f"{name}: CV {result.facts['cv']:.4f} +- {result.facts['se']:.4f}", result.facts)


@app.command("ensemble")
def ensemble_(comp: Comp = DEFAULT) -> None:
    """Learn temperatures and weights on oof predictions; the score is nested."""
    from kit.ensemble import ensemble
    from kit.pipeline import find_members

    prepared = _prepare(_read(comp))
    with _hold(prepared.competition):
        result = ensemble(prepared, find_members(prepared))
    score = f"ensemble: CV {result.facts['cv']:.4f} +- {result.facts['se']:.4f} (nested)"
    _print(f"{score}\n{_list_weights(result, chr(10))}", result.facts)


@app.command()
def submission(
    comp: Comp = DEFAULT,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or the ensemble.")] = "ensemble",
) -> None:
    """Write the next validated CSV of a run into submissions/COMP, with a ledger row."""
    from kit.ensemble import ensemble
    from kit.pipeline import find_members
    from kit.runs import find_result
    from kit.submission import make_submission

    prepared = _prepare(_read(comp))
    with _hold(prepared.competition):
        if run == "ensemble":
            result = ensemble(prepared, find_members(prepared))
        else:
            prepared.competition.run(run)
            result = find_result(prepared, run)
        if result is None:
            raise InputError(f"run {run} has not been trained; ./run.sh train {comp} {run}")
        path = make_submission(prepared, result)
    _print(str(path), {"file": str(path), "run": run, "cv": result.facts["cv"], "se": result.facts["se"]})


@app.command("leaderboard")
def leaderboard_(comp: Comp = DEFAULT) -> None:
    """Compare the finished runs: CV +- SE, paired tests, local and Kaggle scores."""
    from kit.pipeline import find_finished

    prepared = _prepare(_read(comp))
    results = find_finished(prepared)
    if not results:
        raise InputError(f"no finished run of {prepared.competition.name} yet; ./run.sh all {comp}")
    _print_board(prepared, results, {})


@app.command("verify")
def verify_(comp: Comp = DEFAULT) -> None:
    """Re-derive folds, oof and the provenance of pseudo labels; a leak is named, exit code 1."""
    from kit.pipeline import find_finished
    from kit.verify import verify

    prepared = _prepare(_read(comp))
    said = verify(prepared, find_finished(prepared))
    _print("\n".join(said), {"checks": said})


@app.command()
def clean(
    comp: Comp = DEFAULT,
    everything: Annotated[bool, typer.Option("--all", help="Finished runs too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, say what would go.")] = False,
) -> None:
    """Free disk space: the cache of decoded images and features, and runs of settings no longer in use."""
    from kit.clean import list_removable, remove

    competition = _read(comp)
    prepared = None if everything else _prepare(competition)
    with _hold(competition):
        folders = list_removable(competition, prepared)
        if yes:
            remove(folders)
    total = sum(size for _, size in folders) / 2**20
    verb = "removed" if yes else "would remove (add --yes)"
    lines = [f"{size / 2**20:9.1f} MB  {folder}" for folder, size in folders]
    _print("\n".join([*lines, f"{verb}: {total:.1f} MB"]), {"removed": yes, "folders": [str(f) for f, _ in folders]})


@app.command("all")
def all_(comp: Comp = DEFAULT, time_limit: TimeLimit = None) -> None:
    """Do everything: check, folds, all runs, ensemble, one submission, leaderboard, verify."""
    from kit import terminal
    from kit.ensemble import check_members, ensemble
    from kit.pipeline import OutOfTime, find_better, find_finished, find_members, group_by_reason, train_runs
    from kit.submission import make_submission, read_sample
    from kit.verify import verify

    competition = _read(comp)
    with _hold(competition):
        prepared = _prepare(competition, time_limit, held=True)
        check_members(prepared)
        if len(prepared.split("test")):
            read_sample(prepared)  # a sample that does not fit must not be found out after hours of training
        results, skipped = train_runs(prepared, list(competition.runs), strict=options.strict)
        is_late = any(isinstance(reason, OutOfTime) for reason in skipped.values())
        if is_late and not results:
            raise TimeIsUp("time limit reached before any run was finished; the next call goes on")
        combined = ensemble(prepared, find_members(prepared))
        cv, error, weights = combined.facts["cv"], combined.facts["se"], _list_weights(combined, ", ")
        terminal.stage("ensemble", f"CV {cv:.4f} +- {error:.4f} (nested); {weights}")
        said = verify(prepared, [*results, combined])
        terminal.stage("verify", f"{len(said)} checks held")
        path = make_submission(prepared, combined) if len(prepared.split("test")) else None
    _print_board(prepared, find_finished(prepared), skipped, submission=path)
    for reason, names in group_by_reason(skipped).items():
        terminal.warn(f"{', '.join(names)} was skipped: {reason}")
    if path and (better := find_better(prepared, results, combined)):
        terminal.note(f"{better} alone is better than the ensemble: ./run.sh submission {comp} {better} writes its CSV")
    terminal.stage("submission", str(path or "none: the competition has no test images"))
    if path and competition.facts.slug:
        terminal.note(f'next: kaggle competitions submit -c {competition.facts.slug} -f "{path}" -m "{path.stem}"')
    if is_late:
        raise TimeIsUp("time limit reached; what was finished is in the submission, the next call goes on")


@app.command("bench")
def bench_(comp: Comp = DEFAULT) -> None:
    """Time decoding and the runs' encoders on this machine, side by side."""
    from dataclasses import asdict

    from kit.bench import bench

    prepared = _prepare(_read(comp))
    with _hold(prepared.competition):
        timings = bench(prepared)
    lines = [
        f"{own.task}: {own.way} {own.ratio:.2f}x [{own.lowest:.2f}-{own.highest:.2f}] {own.against}, "
        f"{own.images_per_second:.0f} images/s"
        for own in timings
    ]
    _print("\n".join(lines), [asdict(own) for own in timings])


@app.command()
def pretrain() -> None:
    """Rebuild the tiny CLIP and EfficientNetV2 of digits from rendered glyphs (minutes; not needed to use the kit)."""
    from kit.pretrain import rebuild

    rebuild()


def _list_weights(combined: Result, separator: str) -> str:
    """Return the ensemble's weights as text, the heaviest member first, and how far they are shrunk to uniform."""
    ordered = sorted(combined.facts["weights"].items(), key=lambda item: -item[1])
    weights = separator.join(f"{name} {weight:.2f}" for name, weight in ordered)
    shrunk = 1 - combined.facts["shrinkage"]
    return f"{weights}{separator}({shrunk:.0%} of the way to equal weights)" if shrunk else weights


def _read(comp: str) -> Competition:
    from kit.competition_file import read_competition
    from kit.files import Workspace

    return read_competition(comp, Workspace(options.workspace), options.changes, options.seed)


def _prepare(competition: Competition, time_limit: str | None = None, held: bool = False) -> Prepared:
    """Make a competition ready, alone in its workspace."""
    from kit import terminal
    from kit.deadline import parse_duration, set_deadline
    from kit.prepare import prepare

    set_deadline(parse_duration(time_limit) if time_limit else None)
    if held:
        prepared = prepare(competition)
    else:
        with _hold(competition):
            prepared = prepare(competition)
    counts = ", ".join(f"{len(prepared.split(split))} {split}" for split in ("labeled", "unlabeled", "test"))
    terminal.stage("images", f"{competition.name}: {len(prepared.classes)} classes, {counts}")
    return prepared


@contextmanager
def _hold(competition: Competition) -> Iterator[None]:
    """Hold the competition's runs folder against a second call."""
    from kit import terminal
    from kit.files import hold

    with hold(competition.workspace.runs(competition.name), terminal.warn):
        yield


def _print(text: Any, document: Any) -> None:
    """Print a command's result: text, or one JSON document."""
    from kit import terminal

    if options.json:
        terminal.print_json(document)
    elif isinstance(text, str):
        sys.stdout.write(text + "\n")
    else:
        terminal.out.print(text)


def _print_board(
    prepared: Prepared, results: list[Result], skipped: dict[str, str], submission: Path | None = None
) -> None:
    """Print the leaderboard."""
    from dataclasses import asdict

    from kit import terminal
    from kit.leaderboard import leaderboard, render

    rows: list[Row] = leaderboard(prepared, results, skipped)
    document = {
        "competition": prepared.competition.name,
        "metric": prepared.competition.facts.metric,
        "runs": [asdict(row) for row in rows],
    }
    _print(
        render(prepared, rows, terminal.out.width), document | ({"submission": str(submission)} if submission else {})
    )


def hoist(arguments: list[str]) -> list[str]:
    """Move global options in front of the command, wherever they were written."""
    front, rest, ahead = [], [], iter(arguments)
    for argument in ahead:
        if argument == "--":
            rest += [argument, *ahead]
        elif argument in WITH_VALUE:
            front += [argument, *([value] if (value := next(ahead, None)) is not None else [])]
        elif argument in FLAGS or argument.startswith(tuple(f"{name}=" for name in WITH_VALUE)):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def main() -> None:
    """Run a command; turn what went wrong into one message and an exit code."""
    signal.signal(signal.SIGINT, _stop)
    try:
        app(hoist(sys.argv[1:]), prog_name="./run.sh")
    except InputError as error:
        _fail(str(error), 2)
    except (LeakFound, TimeIsUp, RuntimeError) as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        remedy = PLACE_ERRORS[error.errno]
        _fail(f"{error.filename or options.workspace}: {error.strerror}; what was written before is whole, {remedy}", 2)
    except Stopped:
        _fail("stopped; what was computed is kept, the next call goes on", 130)


def _stop(*_: object) -> None:
    """End on Ctrl-C with our own exception: Typer swallows KeyboardInterrupt."""
    raise Stopped


def _fail(message: str, code: int) -> None:
    from kit import terminal

    terminal.fail(message)
    sys.exit(code)
