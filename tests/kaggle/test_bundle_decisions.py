"""Bundles of what is decided: several labels per image, and images that show none of the classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.clips import TINY_CLIP
from support.colours import COLOURS, draw, lay_out, write_toml
from support.folders import write
from support.tiles import make_tiles

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.prepared import Prepared, prepare
from kit.kaggle.bundle import predict_bundle, read_bundle
from kit.kaggle.bundle.writing import write_bundle
from kit.kaggle.submission.write import make_submission
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval

OF_TILES = f"""
[runs.forest]
model = "forest"
n_trees = 8
pixels = 8

[runs.probe]
model = "linear_probe"
encoder = "{TINY_CLIP}"

[runs.smooth]
model = "linear_probe"
encoder = "{TINY_CLIP}"
smooth = 0.5
use_test_images = true

[runs.refitted]
model = "linear_probe"
encoder = "{TINY_CLIP}"
power = 0.5
refit = true
"""
OF_COLOURS = f"""
[runs.forest]
model = "forest"
n_trees = 5
pixels = 4

[runs.probe]
model = "linear_probe"
encoder = "{TINY_CLIP}"

[runs.smooth]
model = "linear_probe"
encoder = "{TINY_CLIP}"
smooth = 0.5
use_test_images = true
"""


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Prepared:
    """Pictures of up to three coloured tiles, their labels paths; a test image is broken."""
    workspace = tmp_path_factory.mktemp("tiles")
    write(workspace / "data/tiles/sample.csv", "id,tags\n" + "".join(f"test{i:02d},x\n" for i in reversed(range(12))))
    data = 'sample_submission = "sample.csv"\n[decision]\nnone_of_these = "nothing"\n'
    return make_tiles(workspace, (40, 12), 40, given=False, data=data, runs=OF_TILES, broken="test03.png")


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Prepared:
    """Three colours to know, and test images of a fourth."""
    workspace = tmp_path_factory.mktemp("colours")
    root, draws = workspace / "data" / "colours", np.random.default_rng(5)
    lay_out(root)
    with open(root / "sample_submission.csv", "a") as sample, open(root / "solution.csv", "a") as solution:
        for i in range(6):
            draw((230, 230, 40), draws).save(root / "test" / f"s{i}.png")
            sample.write(f"s{i},red\n")
            solution.write(f"s{i},strange\n")
    rest = '[decision]\nnone_of_these = "strange"\naccept_rate = 0.8\n'
    write_toml(workspace / "competitions" / "colours", OF_COLOURS, rest=rest)
    return prepare(read_competition("colours", Workspace(workspace)))


def planned(prepared: Prepared, **keys: object) -> Prepared:
    """Return the competition with other keys of [decision]."""
    plan = prepared.competition.decision.model_copy(update=keys)
    return dataclasses.replace(prepared, competition=prepared.competition.model_copy(update={"decision": plan}))


def both(prepared: Prepared, names: tuple[str, ...], out: Path, chunk: int = 4096) -> tuple[str, str]:
    """Return what the bundle of some runs writes, away from the runs, and what the kit does."""
    results = [crossval(prepared, name) for name in names]
    folder = write_bundle(prepared, results, "somebody").folder
    whole = results[0] if len(results) == 1 else ensemble(prepared, results)
    theirs = make_submission(prepared, whole).read_text()
    return predict_bundle(folder, prepared.competition.root, out, chunk).read_text(), theirs


@pytest.mark.parametrize("names", [("forest",), ("probe",), ("smooth",), ("forest", "probe")])
def test_several_labels_are_sent_as_the_kit_sends_them(tiles, tmp_path, names):
    ours, theirs = both(planned(tiles, thresholds=0.3), names, tmp_path / "submission.csv")
    assert ours == theirs and "warm/red" in ours and "warm;" not in ours


def test_thresholds_and_parents_of_a_bundle_are_the_competitions(tiles, tmp_path):
    by_class = {name: 0.2 + 0.1 * code for code, name in enumerate(tiles.classes)}
    prepared = planned(tiles, thresholds=by_class, parents=True, separator=" + ")
    ours, theirs = both(prepared, ("forest",), tmp_path / "submission.csv")
    assert ours == theirs and "warm + warm/red" in ours
    assert read_bundle(made_of(prepared, "forest")).decision.thresholds == pytest.approx(list(by_class.values()))
    assert ours != both(planned(tiles, thresholds=0.5), ("forest",), tmp_path / "half.csv")[0]


def made_of(prepared: Prepared, name: str) -> Path:
    return prepared.competition.workspace.runs(prepared.competition.name) / "bundle" / name


def test_a_column_per_class_is_filled_with_several_labels_too(tiles, tmp_path):
    sample = tiles.competition.root / "sample.csv"
    before = sample.read_text()
    ids = [line.partition(",")[0] for line in before.splitlines()[1:]]
    try:
        sample.write_text(
            "id,cold/blue,nothing,warm/red,warm/yellow\n" + "".join(f"{image_id},0,0,0,0\n" for image_id in ids)
        )
        ours, theirs = both(planned(tiles, thresholds=0.3), ("forest",), tmp_path / "submission.csv")
    finally:
        sample.write_text(before)
    assert ours == theirs and {cell for line in ours.splitlines()[1:] for cell in line.split(",")[1:]} == {"0", "1"}


def test_broken_images_get_the_share_of_every_label(tiles):
    assert tiles.broken_test == ("test03",)
    write_bundle(tiles, [crossval(tiles, "forest")], "somebody")
    assert read_bundle(made_of(tiles, "forest")).prior == pytest.approx(tiles.labels.mean(axis=0))


def test_dropped_runs_take_their_part_in_the_thresholds_with_them(tiles, capsys):
    results = [crossval(tiles, name) for name in ("forest", "probe", "refitted")]
    with pytest.raises(InputError, match=r"refitted was fitted on every label.*runs\.refitted\.refit=false"):
        write_bundle(tiles, results, "somebody")
    written = write_bundle(tiles, results, "somebody", drop=True)
    rest = ensemble(tiles, results[:2])
    assert "the others are weighed anew" in " ".join(capsys.readouterr().err.split())
    assert written.members == {name: weight for name, weight in rest.record.weights.items() if weight}
    assert read_bundle(written.folder).decision.thresholds == rest.record.thresholds.values


DECISIONS = [
    (("probe",), {}),
    (("probe",), {"score": "energy"}),
    (("smooth",), {"accept_rate": "leave_one_out"}),
    (("forest",), {}),  # without features: its probabilities alone
    (("forest",), {"score": "similarity", "encoder": TINY_CLIP}),
    (("probe", "forest"), {}),
]


@pytest.mark.parametrize(("names", "plan"), DECISIONS)
def test_an_image_that_shows_none_of_the_classes_is_sent_as_the_kit_sends_it(colours, tmp_path, names, plan):
    prepared = planned(colours, **plan)
    ours, theirs = both(prepared, names, tmp_path / "submission.csv", chunk=4)
    assert ours == theirs and 0 < ours.count("strange") < ours.count("\n") - 1


def test_a_rejected_image_is_a_row_of_zeros_in_a_bundles_submission_too(colours, tmp_path):
    sample = colours.competition.root / "sample_submission.csv"
    before = sample.read_text()
    ids = [line.partition(",")[0] for line in before.splitlines()[1:]]
    try:
        sample.write_text(f"id,{','.join(COLOURS)}\n" + "".join(f"{image_id},0,0,0\n" for image_id in ids))
        ours, theirs = (
            submission.splitlines() for submission in both(colours, ("forest",), tmp_path / "submission.csv")
        )
    finally:
        sample.write_text(before)
    assert [line.endswith(",0,0,0") for line in ours] == [line.endswith(",0,0,0") for line in theirs]
    assert sum(line.endswith(",0,0,0") for line in ours) > 0


def test_what_cannot_be_decided_elsewhere_is_refused(colours):
    probe, forest = crossval(colours, "probe"), crossval(colours, "forest")
    with pytest.raises(InputError, match=r'encoder = "given".*new test images have no such embeddings'):
        write_bundle(planned(colours, encoder="given"), [probe], "somebody")
    with pytest.raises(InputError, match="needs the logits of one head"):
        write_bundle(planned(colours, score="energy"), [probe, forest], "somebody")


def test_images_that_a_run_leaves_out_are_left_out_where_it_is_fitted_anew(colours):
    rows = colours.labeled[colours.labels == 0][:4]
    write(colours.competition.folder / "out.csv", "id,weight\n" + "".join(f"{colours.pool.ids[i]},0.1\n" for i in rows))
    run = colours.competition.run("forest").model_copy(update={"name": "fewer", "exclude": "out.csv"})
    runs = colours.competition.runs | {"fewer": run}
    prepared = dataclasses.replace(colours, competition=colours.competition.model_copy(update={"runs": runs}))
    assert write_bundle(prepared, [crossval(prepared, "fewer")], "somebody").trial.difference < 1e-6


def test_a_metric_of_the_users_own_goes_with_the_bundle(colours, tmp_path):
    write(colours.competition.folder / "costs.py", "def cost(labels, proba):\n    return float(proba.max())\n")
    facts = colours.competition.facts.model_copy(update={"metric": "costs.cost"})
    prepared = dataclasses.replace(colours, competition=colours.competition.model_copy(update={"facts": facts}))
    ours, theirs = both(prepared, ("forest",), tmp_path / "submission.csv")
    assert ours == theirs and (made_of(prepared, "forest") / "costs.py").is_file()
