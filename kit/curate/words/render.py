"""Print the comparison of prompt lists: scores, recalls, confusions, and the words to edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kit.core.errors import some
from kit.core.terminal import empty_table, escape
from kit.curate.words.confusions import Confusion
from kit.curate.words.scores import ADVICE, Difference, EncoderScores, ListScore, PromptReport
from kit.curate.words.snippet import N_PAIRS
from kit.features.prompts import NAMES

PADDING = 3  # characters that a column takes beside its text
OPTIMISTIC = "CV optimistic: written after a score was seen"


def print_report(report: PromptReport, console: Console, shown: str | None = None) -> None:
    """Print a comparison on a console of any width; `shown` is the list whose pairs are shown, or the best."""
    for scores in report.encoders:
        score = next((score for score in scores.lists if score.name == shown), scores.lists[0])
        console.print(_table_of_lists(report, scores, console.width))
        console.print(_table_of_recalls(report, scores, console.width))
        if len(scores.lists) > 1:
            console.print(_table_of_changes(scores))
        if score.pairs:
            console.print(_table_of_pairs(score, console.width))
            console.print(Text(score.snippet), soft_wrap=True)  # a broken line is no TOML
            console.print()
    if any(score.optimistic for scores in report.encoders for score in scores.lists):
        console.print(OPTIMISTIC, highlight=False)
    console.print(Text(ADVICE), highlight=False)


def _table_of_lists(report: PromptReport, scores: EncoderScores, width: int) -> Table:
    """Return a line per list; what is less needed is left out where there is no room."""
    columns: dict[str, Callable[[ListScore], str]] = {
        "list": lambda score: score.name,
        "words": lambda score: str(sum(map(len, score.words.values()))),
        "templates": lambda score: str(len(score.templates)),
        f"{report.metric} ± SE": lambda score: f"{score.score:.3f} ± {score.se:.3f}",
        "log-loss": lambda score: f"{score.log_loss:.3f}",
        "against names": lambda score: _show_difference(score.against_names),
        "against best": lambda score: _show_difference(score.against_best) or "best",
        "": lambda score: "CV optimistic" if score.optimistic else "",
    }
    cells = {header: [cell(score) for score in scores.lists] for header, cell in columns.items()}
    if not any(cells[""]):
        del cells[""]
    for spare in ("templates", "words", "log-loss", "against names"):
        if _width(cells) > width:
            del cells[spare]
    table = empty_table(
        f"{report.competition}: {sum(report.n_images.values())} labelled images, zero-shot, {scores.encoder}",
        "= not distinguishable at 95 % (paired on the same images)",
    )
    _fill(table, cells, left=("list", ""))
    return table


def _table_of_recalls(report: PromptReport, scores: EncoderScores, width: int) -> Table:
    """Return a line per class, those the best list recognises least first; as many lists as there is room for."""
    best = scores.lists[0]
    classes = sorted(report.n_images, key=lambda name: best.recalls[name] or 0)
    cells = {"class": classes, "images": [str(report.n_images[name]) for name in classes]}
    columns = sorted(scores.lists, key=lambda score: (score is not best, score.name != NAMES))  # the others by score
    left_out = []
    for score in columns:
        more = {score.name: ["" if (value := score.recalls[name]) is None else f"{value:.2f}" for name in classes]}
        if score is not best and _width(cells | more) > width:
            left_out.append(score.name)
        else:
            cells |= more
    table = empty_table("recall per class", f"no room for {some(left_out)}; --json has all" if left_out else "")
    _fill(table, cells, left=("class",))
    return table


def _table_of_changes(scores: EncoderScores) -> Table:
    """Return what each list gets right that `names` gets wrong, and the other way round."""
    table = empty_table("images against names (true > predicted)")
    for header in ("list", "resolves", "causes"):
        table.add_column(header, overflow="fold")
    for score in scores.lists:
        if score.name != NAMES:
            table.add_row(escape(score.name), _show_confusions(score.resolves), _show_confusions(score.causes))
    return table


def _table_of_pairs(score: ListScore, width: int) -> Table:
    """Return the pairs that ask for better words; their words, which follow as TOML, only where there is room."""
    pairs = score.pairs[:N_PAIRS]
    cells = {
        "true > predicted": [
            f"{pair.first} > {pair.second} {pair.n_forth}\n{pair.second} > {pair.first} {pair.n_back}" for pair in pairs
        ],
        "share": [f"{pair.share:.2f}" for pair in pairs],
        "cosine": [f"{pair.cosine:.2f}" for pair in pairs],
        "words": [f"{some(pair.first_words, 3)}\n{some(pair.second_words, 3)}" for pair in pairs],
    }
    if _width(cells) > width:
        del cells["words"]
    table = empty_table(
        f"{score.name}: pairs that ask for better words",
        "ranked by the share of their images that are confused x how close their texts are among all pairs",
    )
    _fill(table, cells, left=("true > predicted", "words"))
    return table


def _fill(table: Table, cells: dict[str, list[str]], left: tuple[str, ...]) -> None:
    """Give a table its columns and rows; headers may be list names, so they are data too."""
    for header in cells:
        table.add_column(escape(header), justify="left" if header in left else "right", overflow="fold")
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(escape, row))


def _show_difference(difference: Difference | None) -> str:
    """Return a difference and its standard error; ``=`` where it is not distinguishable."""
    if difference is None:
        return ""
    return f"{difference.value:+.3f} ± {difference.se:.3f} {' ' if difference.distinguishable else '='}"


def _show_confusions(confusions: Sequence[Confusion]) -> str:
    """Return the count and the foremost confusions."""
    total = sum(confusion.n for confusion in confusions)
    named = some((f"{confusion.true} > {confusion.predicted} {confusion.n}" for confusion in confusions), 4)
    return escape(f"{total}: {named}" if total else "0")


def _width(cells: dict[str, list[str]]) -> int:
    """Return how many characters the columns need side by side."""
    longest = [
        max((cell_len(line) for text in column for line in text.split("\n")), default=0) for column in cells.values()
    ]
    return sum(PADDING + max(cell_len(header), widest) for header, widest in zip(cells, longest, strict=True))
