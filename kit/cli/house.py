"""Commands on the house itself: clean, bench, pretrain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import HOUSE, command
from kit.cli.call import DEFAULT, Comp, holding, options, read, ready, say, suggest
from kit.core.errors import InputError
from kit.core.names import PROGRAM

SEMI, EXPLAIN, COVERAGE, NOISE, RECIPES = "semi", "explain", "coverage", "noise", "recipes"
NETWORKS, MEMBERS, SIZE, ENGINES, SENT = "networks", "members", "size", "engines", "sent"


@command(panel=HOUSE, example="clean digits --yes")
def clean(
    comp: Comp = DEFAULT,
    everything: Annotated[bool, typer.Option("--all", help="Finished runs too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, say what would go.")] = False,
) -> None:
    """Free disk space: the cache of decoded images and features, and runs of settings no longer in use."""
    from kit.core import terminal
    from kit.runs.clean import describe_removable, list_removable, remove

    competition = read(comp)
    prepared = None if everything else ready(competition)
    with holding(competition):
        folders = list_removable(competition, prepared)
        scores = describe_removable(competition, folders)
        if yes:
            remove(folders)
    total = sum(size for _, size in folders) / 2**20
    verb = "removed" if yes else "would remove (add --yes)"
    lines = [f"{size / 2**20:9.1f} MB  {folder}{_in_brackets(scores.get(folder))}" for folder, size in folders]
    document = {"removed": yes, "folders": [str(f) for f, _ in folders]}
    document |= {"scores": {str(folder): score for folder, score in scores.items()}}
    say("\n".join([*lines, f"{verb}: {total:.1f} MB"]), document)
    if scores:
        stays = "of finished runs score, settings and oof predictions stay"
        terminal.note(f"{stays}: {competition.command('history')} lists them, adopt brings settings back")
    if folders and not yes:
        suggest("clean", comp, *(["--all"] if everything else []), "--yes")
    else:
        suggest("all", comp)


def _in_brackets(text: str | None) -> str:
    return f"  ({text})" if text else ""


@command("bench", panel=HOUSE, example="bench digits")
def bench_(
    comp: Annotated[
        str,
        typer.Argument(
            metavar="COMP",
            help="A competition; or semi, networks, recipes, members, sent, explain, coverage, noise, size, engines.",
        ),
    ] = DEFAULT,
    of: Annotated[str | None, typer.Argument(metavar="COMP", help="Of noise and engines: whose runs are made.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Of semi, recipes and explain: a folder with cifar10, trashnet, grocery; of semi and explain with "
            "mobilenetv2_100 and mini-clip too."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of semi: draws of labels; of coverage: hundreds of draws.")] = 5,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Beside pip's: of recipes a folder of weights, as `new` takes it; of members one with mobilenetv2_100 "
            "and mini-clip."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=2, help="Of recipes, members, sent: draws of labels per setting; of noise: permutations.")
    ] = 8,
    all_runs: Annotated[bool, typer.Option("--all-runs", help="Of noise: networks too.")] = False,
    tuned: Annotated[
        list[str] | None, typer.Option("--tune", metavar="RUN", help="Of noise: what tune reports of these runs.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of noise with --tune: settings to try in every draw.")] = 10,
    only: Annotated[
        list[str] | None, typer.Option(help="Of recipes, members and sent: a setting, such as 'trashnet 15'.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Of recipes and members: a JSON file to write the evidence to.")
    ] = None,
) -> None:
    """Time decoding and encoders; or measure semi, networks, recipes, members, explain, coverage, noise, ..."""
    if comp == NOISE:
        _bench_noise(of or DEFAULT, draws, all_runs, tuned or [], trials)
        return
    if all_runs or tuned:
        raise InputError(f"--all-runs and --tune are read by {PROGRAM} bench noise alone")
    if comp == ENGINES:
        _bench_engines(of or DEFAULT)
        return
    if of is not None:
        raise InputError(f"a second COMP is read by {PROGRAM} bench noise and bench engines alone")
    if comp in (RECIPES, MEMBERS):
        (_bench_recipes if comp == RECIPES else _bench_members)(data, weights, draws, only or [], output)
        return
    if comp == SENT and weights is None and output is None:
        _bench_sent(data, draws, only or [])
        return
    if weights is not None or output is not None or only:
        alone = f"{PROGRAM} bench recipes and bench members"
        raise InputError(f"--weights and --output are read by {alone} alone, --only by these and bench sent")
    if comp == COVERAGE:
        _bench_coverage(data, seeds)
        return
    if comp in (SEMI, NETWORKS):
        _bench_semi(data, seeds, comp == NETWORKS)
        return
    if comp == EXPLAIN:
        _bench_explain(data)
        return
    if comp == SIZE:
        _bench_size(data)
        return
    if data is not None:
        raise InputError(f"--data is read by {PROGRAM} bench semi, bench recipes and bench explain alone")
    from kit.bench import bench

    prepared = ready(read(comp))
    with holding(prepared.competition):
        timings = bench(prepared)
    lines = [
        f"{timing.task}: {timing.way} {timing.ratio:.2f}x [{timing.lowest:.2f}-{timing.highest:.2f}] {timing.against}, "
        f"{timing.images_per_second:.0f} images/s"
        for timing in timings
    ]
    say("\n".join(lines), [asdict(timing) for timing in timings])


def _bench_semi(data: Path | None, seeds: int, networks: bool) -> None:
    """Compare ways to use unlabelled images, in heads or in networks, and print the table."""
    from kit.bench import bench_semi, compare_with_baseline, render_semi
    from kit.core.files import Workspace

    if options.changes or options.seed is not None:
        raise InputError("bench semi runs its own recipes: --set and --seed change nothing there; --seeds N draws more")
    if data is None:
        raise InputError(
            "bench semi needs --data DIR, which holds cifar10/ and trashnet/ (class folders), grocery/ (labels.csv, "
            "images/), mobilenetv2_100/model.safetensors and mini-clip/; what is not there is left out"
        )
    lines = compare_with_baseline(bench_semi(data, Workspace(options.workspace), range(seeds), networks))
    say(render_semi(lines), [asdict(line) for line in lines])


def _bench_coverage(data: Path | None, seeds: int) -> None:
    """Draw scores whose truth is known and print how their intervals hold."""
    from rich.console import Group

    from kit.bench import bench_coverage, render_coverage

    if data is not None or options.changes or options.seed is not None:
        raise InputError("bench coverage draws its numbers: --data, --set and --seed are nothing to it; --seeds N is")
    coverage, luck = bench_coverage(seeds)
    document = {"coverage": [asdict(row) for row in coverage], "equal_runs": [asdict(line) for line in luck]}
    say(Group(*render_coverage(coverage, luck)), document)


def _bench_size(data: Path | None) -> None:
    """Measure time and memory as images and classes grow, and print the table."""
    from kit.bench.size import bench_size, render_size

    if data is not None or options.changes or options.seed is not None:
        raise InputError("bench size draws its features: --data, --set and --seed are nothing to it")
    lines = bench_size()
    say(render_size(lines), [asdict(line) for line in lines])


def _bench_noise(comp: str, draws: int, all_runs: bool, tuned: list[str], trials: int) -> None:
    """Make a competition's runs on permuted labels, or tune some there, and print how optimistic the figures are."""
    from kit.bench import bench_noise, bench_search_noise, render_noise
    from kit.runs.noise import keep_noise

    if all_runs and tuned:
        raise InputError("bench noise: --tune measures searches, --all-runs the runs themselves; call it twice")
    prepared = ready(read(comp))
    with holding(prepared.competition):
        if tuned:
            measured = bench_search_noise(prepared, tuned, draws, trials)
        else:
            measured = bench_noise(prepared, draws, all_runs)
        keep_noise(prepared, measured)
    say(render_noise(measured), [asdict(each) | {"exceeds": each.exceeds} for each in measured])
    suggest("tune", comp, tuned[0]) if tuned else suggest("leaderboard", comp)


def _bench_engines(comp: str) -> None:
    """Do everything of a competition in this process and on a cluster, in turn, and print what the cluster costs."""
    from kit.api.stages import do_all
    from kit.bench.engines import bench_engines
    from kit.core.stopwatch import Stopwatch

    made = bench_engines(
        read(comp), options.changes, options.seed, lambda prepared: do_all(prepared, Stopwatch()).submission
    )
    same = "the same submission, byte for byte" if made.is_same else "submissions that DIFFER"
    spelled = f"{made.ratio:.2f}x [{made.lowest:.2f}-{made.highest:.2f}] the seconds of one process"
    spelled += f", {made.cpu_ratio:.2f}x its seconds of the CPU"
    say(f"all {comp} on the cluster: {spelled}, {same}", asdict(made))


def _check_photos(data: Path | None, name: str, what: str) -> Path:
    """Return the folder of photos that a measurement needs; refuse options that change nothing in it."""
    if options.changes or options.seed is not None:
        raise InputError(f"{name} {what}: --set and --seed change nothing there; --draws N does")
    if data is None:
        raise InputError(
            f"{name} needs --data DIR, which holds trashnet/ and cifar10/ (class folders) and grocery/ "
            "(labels.csv, images/); what is not there is left out"
        )
    return data


def _bench_recipes(data: Path | None, weights: Path | None, draws: int, only: list[str], output: Path | None) -> None:
    """Compare what `new` plans with what an expert would write, its ensembles with their runs; print the tables."""
    from rich.console import Group

    from kit.bench import members, recipes
    from kit.core.files import Workspace

    data = _check_photos(data, "bench recipes", "runs its own recipes")
    asked = data, weights, Workspace(options.workspace), range(draws), only
    measured, standings = recipes.bench_recipes(*asked), members.compare_planned(recipes.read_planned(*asked))
    evidence = recipes.summarise(measured)
    if output is not None:
        recipes.write_evidence(evidence, output)
    document = {"evidence": [asdict(line) for line in evidence], "mixing": [asdict(line) for line in standings]}
    say(Group(recipes.render_recipes(evidence), members.render_mixing(standings)), document)


def _bench_members(data: Path | None, weights: Path | None, draws: int, only: list[str], output: Path | None) -> None:
    """Compare ways of mixing unequal members, and rounds with their base, and print the tables."""
    from rich.console import Group

    from kit.bench import members
    from kit.core.files import Workspace

    data = _check_photos(data, "bench members", "fits its own members")
    measured = members.bench_members(data, weights, Workspace(options.workspace), range(draws), only)
    kinds, rounds = members.describe_kinds(measured), members.describe_rounds(measured)
    if output is not None:
        members.write_members(kinds, rounds, output)
    lines = members.compare_rules(measured)
    document = {"mixing": [asdict(line) for line in lines], "rounds": [asdict(line) for line in rounds]}
    say(Group(*members.render_members(lines, rounds)), document)


def _bench_sent(data: Path | None, draws: int, only: list[str]) -> None:
    """Compare what is expected of what is sent with what comes, and print the table."""
    from kit.bench import sent
    from kit.core.files import Workspace

    data = _check_photos(data, "bench sent", "fits its own probes")
    lines = sent.summarise(sent.bench_sent(data, Workspace(options.workspace), draws, only))
    say(sent.render_sent(lines), [asdict(line) for line in lines])


def _bench_explain(data: Path | None) -> None:
    """Measure whether explanations point at planted evidence and print the table."""
    from kit.bench import bench_explain, describe_explain, render_explain
    from kit.core.files import Workspace

    if options.changes or options.seed is not None:
        raise InputError("bench explain runs its own recipes: --set and --seed change nothing there")
    measured = bench_explain(data, Workspace(options.workspace))
    say(render_explain(measured), describe_explain(measured))


@command(panel=HOUSE, example="pretrain")
def pretrain() -> None:
    """Rebuild the tiny CLIP and EfficientNetV2 of digits from rendered glyphs (minutes; not needed to use the kit)."""
    from kit.bench.pretrain import rebuild

    rebuild()
    say("the tiny CLIP and EfficientNetV2 of digits are rebuilt", {"rebuilt": True})
