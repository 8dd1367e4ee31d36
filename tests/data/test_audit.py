"""The report of a competition's files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.pictures import tabulate, texture

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core import terminal
from kit.core.files import Workspace
from kit.data.audit import Audit, audit
from kit.data.table import read_table


def make_competition(folder: Path) -> Competition:
    """Write and read a competition whose name is not Rich's markup."""
    home = folder / "one[bold]"
    home.mkdir()
    (home / "competition.toml").write_text('[competition]\ntitle = "x"\n[data]\nroot = "."\nlabeled = "labeled"\n')
    return read_competition(str(home), Workspace(folder))


@pytest.fixture
def report(tmp_path: Path) -> Audit:
    """Return the audit of a competition with one of everything."""
    paths = {split: [tmp_path / split / f"{i:02d}.jpg" for i in range(24)] for split in ("labeled", "test")}
    for split, files in paths.items():
        files[0].parent.mkdir()
        for i, path in enumerate(files):
            image = texture(i + (0 if split == "labeled" else 1000))
            image.save(path, quality=90 if split == "labeled" else 40)
    texture(0).save(paths["test"][0], quality=50)  # of labelled 00
    texture(1).save(paths["labeled"][13], quality=90)  # equal to 01, another class
    paths["labeled"][5].write_bytes(paths["labeled"][5].read_bytes()[:900])
    paths["test"][7].write_bytes(b"")
    texture(9).convert("CMYK").save(paths["labeled"][9])
    table = tabulate([*paths["labeled"], *paths["test"]], ["a"] * 12 + ["b"] * 36, ["labeled"] * 24 + ["test"] * 24)
    return audit(make_competition(tmp_path), table)


def test_the_report_names_what_is_broken_doubled_and_contradictory(report):
    assert report.splits == {"labeled": 24, "unlabeled": 0, "test": 24}
    assert report.classes == {"a": 11, "b": 12}
    assert [(image["split"], image["id"], image["label"]) for image in report.broken] == [
        ("labeled", "05", "a"),
        ("test", "07", None),
    ]
    assert report.remarks == {"CMYK": 1}
    assert [[image["id"] for image in pair] for pair in report.exact] == [["01", "13"]]
    assert [[(image["split"], image["id"]) for image in pair] for pair in report.near] == [
        [("labeled", "00"), ("test", "00")]
    ]
    assert report.across == report.near
    assert report.contradictions == report.exact


def test_the_report_prints_and_is_one_json_document(report, capsys, monkeypatch):
    monkeypatch.setattr(terminal.out, "_width", 200)
    report.print()
    output = capsys.readouterr().out
    assert "one[bold]: images" in output
    assert "broken: test 07: empty: the file has zero bytes; gets the class prior in the submission" in output
    assert "broken: labeled 05: truncated:" in output
    assert "different labels: labeled 01 (a), labeled 13 (b)" in output
    document = json.loads(json.dumps(report.as_dict()))
    assert document["probe"]["n_labeled"] == 23
    assert document["broken"][1]["problem"] == "empty: the file has zero bytes"


def test_a_report_of_many_faults_and_classes_is_short(report, capsys):
    many = {"broken": report.broken * 30, "unnamed": ["a"] * 300, "classes": {f"c{n}": 1 for n in range(100)}}
    replace(report, **many).print()
    output = capsys.readouterr().out
    listed = [line for line in output.splitlines() if line.startswith(("broken: ", "no row names it: "))]
    assert len(listed) == 12 and "... and 295 more; --json lists all" in listed[-1]
    assert "c24" in output and "c25" not in output and "... and 75 more; --json has all" in output


def test_images_without_duplicates_make_a_report_that_prints(tmp_path, capsys):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        texture(i).save(path)
    report = audit(make_competition(tmp_path), tabulate(paths))
    assert (report.broken, report.remarks) == ([], {})
    assert (report.exact, report.near, report.across, report.contradictions, report.refused) == ([], [], [], [], [])
    report.print()
    assert "near-duplicates" in capsys.readouterr().out


def test_a_table_without_images_makes_an_empty_report(tmp_path):
    report = audit(make_competition(tmp_path), tabulate([]))
    assert report.splits == {"labeled": 0, "unlabeled": 0, "test": 0}
    assert json.loads(json.dumps(report.as_dict()))["probe"]["auc"] is None


def test_check_counts_each_class(tiles):
    report = audit(tiles.competition, read_table(tiles.competition))
    counted = dict(zip(tiles.classes, tiles.labels.sum(axis=0).tolist(), strict=True))
    assert report.classes == counted | {"(no label)": int((~tiles.labels.any(axis=1)).sum())}
