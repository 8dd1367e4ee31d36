"""Commands on the data: check, folds, features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli.app import START, TRAIN, command
from kit.cli.call import DEFAULT, Comp, complete_run, holding, looking, options, read, ready, say, suggest
from kit.core.errors import InputError, MissingWeights

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from kit.config.competition import Competition
    from kit.data.prepared import Prepared


@command(panel=START, example="check digits")
def check(comp: Comp = DEFAULT) -> None:
    """Audit every file: broken, odd, duplicate, mislabelled; is the test like the training set?"""
    from kit.core import terminal
    from kit.data.audit import audit
    from kit.data.prepared import make_data
    from kit.data.table import read_table

    competition = read(comp)
    with looking(competition):
        make_data(competition)
        report = audit(competition, read_table(competition))
        copies = _look_again(competition)
    if options.json:
        terminal.print_json(report.as_dict() | {"altered": copies})
    else:
        report.print()
        _print_copies(copies)
    suggest("all", comp)


def _look_again(competition: Competition) -> list[dict[str, Any]] | None:
    """Return the altered copies of labelled images, by features that are there; None, and why, where there are none."""
    from kit.core import terminal
    from kit.data.prepared import prepare
    from kit.features.altered.telling import KINDS, list_pairs, look_for_copies, warn_of_copies
    from kit.features.joint import encoders_of

    missing = f"call {competition.command('features')}, then check again"
    try:
        if not any(encoders_of(run.options) for run in competition.runs.values()):
            missing = "no run has an encoder"
        elif any(competition.workspace.cache(competition.name).glob("features/*.npy")):
            prepared = prepare(competition, keep_folds=False)
            if (copies := look_for_copies(prepared)) is not None:
                warn_of_copies(prepared, copies)
                return list_pairs(prepared, copies)
    except InputError as error:
        missing = str(error)
    terminal.note(f"altered copies ({KINDS}) are left out, as an encoder's features find them: {missing}")
    return None


def _print_copies(copies: list[dict[str, Any]] | None) -> None:
    """Print the first few altered copies, and how many there are."""
    from kit.core import terminal
    from kit.data.audit import N_SHOWN

    if copies is None:
        return
    terminal.out.print(f"altered copies of labelled images: {len(copies)}", highlight=False)
    for pair in copies[:N_SHOWN]:
        first, second = (f"{image['split']} {image['id']}" for image in (pair["first"], pair["second"]))
        terminal.out.print(terminal.escape(f"altered copy: {second} is {first} ({pair['change']})"), highlight=False)


@command(panel=TRAIN, example="folds digits")
def folds(
    comp: Comp = DEFAULT,
    run: Annotated[
        str | None,
        typer.Option(help="Draw the classes before and after this run's balance, too.", autocompletion=complete_run),
    ] = None,
    alike: Annotated[
        int | None,
        typer.Option(
            min=2, help="Keep look-alikes of a class in one fold, so many groups of each: a few more than folds."
        ),
    ] = None,
    encoder_of: Annotated[
        str | None, typer.Option(help="The run whose encoder tells look-alikes.", autocompletion=complete_run)
    ] = None,
) -> None:
    """Assign the folds once, or read and verify them; show classes x folds."""
    import numpy as np

    from kit.core import terminal

    competition = read(comp)
    if encoder_of and not alike:
        raise InputError("--encoder-of says who tells look-alikes, which --alike N groups; give both")
    prepared, grouped = _keep_together(competition, alike, encoder_of) if alike else (ready(competition), {})
    n_folds = int(prepared.folds.max()) + 1
    has = prepared.labels if prepared.labels.ndim == 2 else np.eye(len(prepared.classes), dtype=int)[prepared.labels]
    counts = np.stack([has[prepared.folds == fold].sum(axis=0, dtype=int) for fold in range(n_folds)], axis=1)
    path = prepared.competition.workspace.folds(prepared.competition.name)
    balance = _draw_balance(prepared, run) if run is not None else {}
    document = {"file": str(path), "counts": dict(zip(prepared.classes, counts.tolist(), strict=True))}
    if balance:
        terminal.note(f"the classes before and after: {balance['picture']}")
    more = ({"balance": balance} if balance else {}) | ({"alike": grouped} if grouped else {})
    say(_table_of_folds(prepared, counts, balance), document | more)
    suggest("train", comp)


def _keep_together(competition: Competition, n_groups: int, run: str | None) -> tuple[Prepared, dict[str, Any]]:
    """Group look-alikes before the folds are assigned, and say what that changes; return what is ready then."""
    from kit.core import terminal
    from kit.curate.look_alikes import describe_look_alikes, keep_together

    with holding(competition):
        kept = keep_together(competition, n_groups, run)
    (plain, plain_error), (grouped, grouped_error) = kept.plain, kept.grouped
    terminal.stage(
        "alike",
        f"logistic regression on these features: {competition.facts.metric} {plain:.3f} ± {plain_error:.3f} in plain "
        f"folds, {grouped:.3f} ± {grouped_error:.3f} with look-alikes kept together",
    )
    terminal.note(
        "these folds are for test images from other places or days than the labelled ones; where they are drawn "
        f"alike, CV is now far too low: delete {kept.file} and the fold file"
    )
    return kept.prepared, describe_look_alikes(kept, competition.facts.metric)


def _table_of_folds(prepared: Prepared, counts: np.ndarray, balance: dict[str, Any]) -> Table:
    """Return classes x folds; where there is no room, classes with their images and the fewest and most in a fold."""
    from kit.core import terminal

    columns = {f"fold {fold}": [str(n) for n in column] for fold, column in enumerate(counts.T)}
    longest = max(map(len, prepared.classes))
    if longest + sum(len(header) + 3 for header in columns) > terminal.out.width:
        columns = {"images": counts.sum(axis=1), "fewest": counts.min(axis=1), "most": counts.max(axis=1)}
        columns = {header: [str(n) for n in column] for header, column in columns.items()}
    if balance:
        columns[f"by {balance['balance']}"] = [f"{n:.1f}" for n in balance["after"]]
    table = terminal.empty_table(f"{prepared.competition.name}: labelled images of each class in each fold")
    table.add_column("class", overflow="fold")
    for header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for name, *cells in zip(prepared.classes, *columns.values(), strict=True):
        table.add_row(terminal.escape(name), *cells)
    return table


def _draw_balance(prepared: Prepared, name: str) -> dict[str, Any]:
    """Draw how much each class counts before and after a run's balance, in runs/NAME/RUN/balance.png; return it all."""
    from kit.core.files import write_atomic
    from kit.models.balance import Balance, draw_distribution, sizes_before_and_after
    from kit.runs.store.build import build_model

    run = prepared.competition.run(name)
    model = build_model(prepared.competition, run)
    if not isinstance(model, Balance):
        raise InputError(f"run {name}: {run.model} does not balance classes, so there is nothing to draw")
    before, after = sizes_before_and_after(prepared.pool.select(prepared.labeled, prepared.labels), model, run.seed)
    path = prepared.competition.workspace.runs(prepared.competition.name) / name / "balance.png"
    with write_atomic(path) as file:
        file.write(draw_distribution(before, after, prepared.classes, f"{name}: {model.balance}"))
    facts = {"run": name, "balance": model.balance, "picture": str(path)}
    return facts | {"before": before.tolist(), "after": after.tolist()}


@command(panel=TRAIN, example="features digits")
def features(comp: Comp = DEFAULT) -> None:
    """Encode all images once with every encoder that a run names."""
    import numpy as np

    from kit.core import terminal
    from kit.features.cache import GIVEN, encode_images, has_features
    from kit.features.joint import encoders_of
    from kit.runs.train import group_by_reason

    prepared = ready(read(comp))
    everything = prepared.pool.select(np.arange(len(prepared.pool)))
    shapes: dict[str, Any] = {}
    told: list[Any] = []  # encoders; several runs read the same
    skipped: dict[str, str] = {}
    with holding(prepared.competition):
        for name, run in prepared.competition.runs.items():
            encoders = encoders_of(run.options)
            if run.model in ("fine_tune", "clip_finetune"):
                continue  # networks that are trained read pixels
            try:
                for encoder, args in encoders:
                    known = encoder == GIVEN or has_features(prepared.pool, encoder, args)
                    n_images, n_dims = encode_images(everything, encoder, args).values.shape
                    shapes[name] = (n_images, n_dims + shapes.get(name, (0, 0))[1])
                    if known and (encoder, args) not in told:
                        terminal.stage("features", f"{encoder}: {terminal.count(len(everything), 'image')} re-used")
                    told.append((encoder, args))
            except MissingWeights as error:
                if options.strict:
                    raise
                shapes.pop(name, None)
                skipped[name] = str(error)
    for reason, names in group_by_reason(skipped).items():
        terminal.warn(f"skipped {', '.join(names)}: {reason}")
    lines = [f"{name}: {n} images x {dims}" for name, (n, dims) in shapes.items()]
    none = "nothing was encoded: every run that reads features was skipped" if skipped else "no run reads features"
    say("\n".join(lines or [none]), shapes)
    suggest("train", comp)
