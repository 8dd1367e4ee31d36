"""Learning curves: kept with a network's folds, drawn in the report, told while it trains."""

from __future__ import annotations

from kit.core import activity
from kit.core.files import read_object
from kit.data.prepared import prepare
from kit.models.training import loop
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
semi = "fixmatch"
threshold = 0.1
"""


def test_loss_and_mask_rate_are_kept_drawn_by_step_and_told_while_a_network_trains(colours, monkeypatch):
    told = []

    def listen(**facts) -> None:
        told.append(facts)
        activity.tell(**facts)

    monkeypatch.setattr(loop, "tell", listen)
    prepared = prepare(colours(CNN))
    result = crossval(prepared, "cnn")
    record = read_object(result.folder / "fold_0" / "training.json")["copies"][0]
    section = curves.build(Evidence(prepared, [result]))
    plots = {plot.key: plot for plot in charts_of(section.parts)}
    assert {"loss-cnn", "mask-rate-cnn", "lr-cnn"} <= plots.keys()
    (line,) = [series for series in plots["loss-cnn"].series if series.name == "fold 0"]
    assert line.x == [each["step"] for each in record] and line.y == [each["loss"] for each in record]
    assert 0 < record[0]["step"] < record[1]["step"] and plots["loss-cnn"].x_title == "step"
    newest = told[1]
    assert newest["epoch"] == "2 of 2" and newest["loss"] == round(record[1]["loss"], 4) and "mask rate" in newest
    assert told[2]["epoch"] is None  # nothing is told of a network that is trained


def test_runs_that_are_no_networks_have_no_section(trained):
    prepared, result = trained
    assert curves.build(Evidence(prepared, [result])) is None
