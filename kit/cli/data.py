"""Commands on the data: new, check, folds, features."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from kit.cli.call import DEFAULT, REPOSITORY, Comp, app, holding, options, read, ready, say
from kit.errors import MissingWeights


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
    say(str(folder), {"competition": name, "file": str(folder / FILE)})


@app.command()
def check(comp: Comp = DEFAULT) -> None:
    """Audit every file: broken, odd, duplicate, mislabelled; is the test like the training set?"""
    from kit import terminal
    from kit.check import audit
    from kit.prepare import make_data
    from kit.table import read_table

    competition = read(comp)
    with holding(competition):
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

    prepared = ready(read(comp))
    n_folds = int(prepared.folds.max()) + 1
    counts = np.zeros((len(prepared.classes), n_folds), dtype=int)
    np.add.at(counts, (prepared.labels, prepared.folds), 1)
    path = prepared.competition.workspace.folds(prepared.competition.name)
    table = Table("class", *[f"fold {fold}" for fold in range(n_folds)], title=str(path), title_justify="left")
    for name, row in zip(prepared.classes, counts, strict=True):
        table.add_row(terminal.escape(name), *map(str, row))
    document = {"file": str(path), "counts": dict(zip(prepared.classes, counts.tolist(), strict=True))}
    say(table, document)


@app.command()
def features(comp: Comp = DEFAULT) -> None:
    """Encode all images once with every encoder that a run names."""
    from kit import terminal
    from kit.features import encode_images

    prepared = ready(read(comp))
    everything = prepared.pool.select(range(len(prepared.pool)))
    shapes: dict[str, Any] = {}
    with holding(prepared.competition):
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
    say("\n".join(f"{name}: {n} images x {dims}" for name, (n, dims) in shapes.items()), shapes)
