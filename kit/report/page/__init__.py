"""The report: one HTML page of what happened in a competition, and what to do next.

``evidence`` gathers what the stages have left on the disk; every file of ``sections`` makes one section of it, or none
where its data does not exist; a section is made of parts (``parts``): texts, tables, charts, pictures. The page holds
everything it needs and opens from the disk without a network; a chart's numbers also become a PNG and a CSV.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kit import __version__
from kit.core.errors import InputError
from kit.core.files import key_of, read_json, write_atomic, write_json
from kit.core.terminal import count, stage, track, warn
from kit.curate.triage import find_sheets
from kit.data.prepared import Prepared
from kit.kaggle.submission import read_ledger
from kit.report.board import remarks_on, solution_hash
from kit.report.explain import latest_sheets
from kit.report.page.evidence import Evidence
from kit.report.page.parts import Section, charts_of
from kit.report.page.pictures import write_numbers, write_pictures
from kit.report.page.render import render_page
from kit.report.page.sections import SECTIONS
from kit.runs.noise import read_noise
from kit.runs.store import Result, commit
from kit.runs.train import way_to_runs

PAGE = "report.html"
FIGURES = "report"  # the folder of pictures and numbers
KEY = "key.json"  # in it: what the page was made from


def refresh_report(prepared: Prepared, results: Sequence[Result], skipped: dict[str, str]) -> Path:
    """Write the page where its runs, submissions, solution or sheets are others than then; return its path."""
    competition = prepared.competition
    home = competition.workspace.runs(competition.name)
    runs = [(result.name, result.record.key, result.record.cv) for result in results]
    sheets = [(path.name, path.stat().st_mtime_ns) for path in (*latest_sheets(prepared), *find_sheets(prepared))]
    remarks = [(*remarks_on(prepared, result, None), read_noise(prepared, result)) for result in results]
    plans = (competition.facts.model_dump(), competition.decision.model_dump(), solution_hash(prepared))
    key = key_of(__version__, runs, skipped, read_ledger(competition), prepared.pool.key, plans, remarks, sheets)
    if (home / PAGE).exists() and read_json(home / FIGURES / KEY) == key:
        stage("report", f"{home / PAGE}: as it was, its runs and submissions are the same")
        return home / PAGE
    path = write_report(prepared, results, skipped)
    write_json(home / FIGURES / KEY, key)
    return path


def write_report(prepared: Prepared, results: Sequence[Result], skipped: dict[str, str], png: bool = False) -> Path:
    """Write the page, and the numbers behind its charts, with `png` as pictures too; return the page's path.

    `skipped` says of each run why it could not be made. InputError where nothing has been trained yet.
    """
    competition = prepared.competition
    if not results:
        raise InputError(f"no finished run of {competition.name} yet; {way_to_runs(competition)}")
    sections = list(_build(Evidence(prepared, results, skipped)))
    home = competition.workspace.runs(competition.name)
    charts = charts_of([part for section in sections for part in section.parts])
    write_numbers(charts, home / FIGURES)
    if png:
        write_pictures(charts, home / FIGURES)
    made = f"{competition.name} · {time.strftime('%Y-%m-%d %H:%M')} · kit {__version__} {commit()}"
    page = render_page(competition.facts.title, made, sections)
    with write_atomic(home / PAGE) as file:
        file.write(page.encode())
    stage("report", f"{home / PAGE}: written, {count(len(sections), 'section')}, {len(page.encode()) / 1e6:.1f} MB")
    return home / PAGE


def _build(evidence: Evidence) -> Iterator[Section]:
    """Give every section that has data; one whose files are damaged is named and left out, the others stand."""
    left_out: dict[str, list[str]] = {}
    for build in track(SECTIONS, "report"):
        try:
            section = build(evidence)
        except InputError as error:
            left_out.setdefault(str(error), []).append(build.__module__.rpartition(".")[2])
            continue
        if section is not None:
            yield section
    for reason, names in left_out.items():
        warn(f"report: {', '.join(names)} {'is' if len(names) == 1 else 'are'} left out: {reason}")
