"""Learning curves: kept with a network's folds, drawn in the report, told while it trains."""

from __future__ import annotations

from kit.core import activity
from kit.core.files import read_object
from kit.data.prepared import prepare
from kit.models.training import loop
from kit.models.training.curve import curve_of
from kit.report.page.evidence import Evidence
from kit.report.page.parts import charts_of
from kit.report.page.sections import curves
from kit.runs.fit.crossval import crossval

CNN = """
[runs.cnn]
model = "small_cnn"
image_size = 16
channels = [8]
epochs = 2
batch_size = 4
semi = "fixmatch"
threshold = 0.1
"""


def test_loss_and_mask_rate_are_kept_drawn_by_step_and_told_while_a_network_trains(colours, monkeypatch):
    told = []

    def listen(**facts) -> None:
        told.append(facts)
        activity.tell(**facts)

    monkeypatch.setattr(loop, "tell", listen)
    monkeypatch.setattr(loop, "TELL_SECONDS", 0.0)
    prepared = prepare(colours(CNN))
    result = crossval(prepared, "cnn")
    record = read_object(result.folder / "fold_0" / "training.json")["copies"][0]
    section = curves.build(Evidence(prepared, [result]))
    plots = {plot.key: plot for plot in charts_of(section.parts)}
    assert {"loss-cnn", "mask-rate-cnn", "lr-cnn"} <= plots.keys()
    (line,) = [series for series in plots["loss-cnn"].series if series.name == "fold 0"]
    assert list(zip(line.x, line.y, strict=True)) == curve_of(record, "loss")
    assert list(line.x) == list(range(1, record[1]["step"] + 1)) and plots["loss-cnn"].x_title == "step"
    first, newest = told[0], told[record[1]["step"] + 1]
    assert first["epoch"] == "1 of 2" and first["step"] == 1 and first["learning rate"] > 0
    assert newest["epoch"] == "2 of 2" and newest["loss"] == float(f"{record[1]['loss']:.4g}")
    assert {"mask rate", "images per second"} <= newest.keys()
    assert set(told[record[1]["step"] + 2].values()) == {None}  # nothing is told of a network that is trained


def test_runs_that_are_no_networks_have_no_section(trained):
    prepared, result = trained
    assert curves.build(Evidence(prepared, [result])) is None
