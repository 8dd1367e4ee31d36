"""Bench semi: the numbers are the library's, every method gets the same draw, refusals name what is missing."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from support.command import flat

from kit.bench import Measurement, bench, bench_semi, compare_with_baseline, render_semi, semi
from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.errors import InputError, MissingWeights
from kit.core.files import Workspace, read_json
from kit.data.images import Pool
from kit.data.prepared import Prepared, prepare
from kit.features.cache import encode_images
from kit.scoring.predictions import Predictions, read_predictions, write_predictions

SHOTS = 3
N_PHOTOS = {"blue": 13, "green": 12, "red": SHOTS}  # red has labels alone: no image of it is held out
TINTS = {"blue": (120, 124, 140), "green": (120, 140, 124), "red": (200, 60, 60)}  # the first two are hard to tell
CLIP = "open_clip:local-dir:mini-clip"
RUNS = {
    *("labels_only", "labels_only_mobilenet", "self_training", "label_spreading"),
    *("plain", "smooth", "smooth_mobilenet", "recommended"),
}


@pytest.fixture(scope="module", autouse=True)
def one_setting() -> Iterator[None]:
    """Measure one setting: three labels per class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semi, "SETTINGS", (semi.PhotoSetting("trashnet", SHOTS),))
        yield


def draw_photos(folder: Path) -> None:
    """Write class folders of noisy pictures."""
    draws = np.random.default_rng(0)
    for name, n_photos in N_PHOTOS.items():
        (folder / name).mkdir(parents=True)
        for i in range(n_photos):
            pixels = TINTS[name] + draws.normal(0, 50, (16, 16, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{name}{i:02d}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as --data wants it: photos, the tiny CLIP of digits, a MobileNet with random weights."""
    root = tmp_path_factory.mktemp("photos")
    draw_photos(root / "trashnet")
    (root / "mini-clip").symlink_to(HOME / "digits" / "tiny-clip")
    (root / "mobilenetv2_100").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("mobilenetv2_100", pretrained=False, pad_type="same")
    save_file(network.state_dict(), root / "mobilenetv2_100" / "model.safetensors")
    return root


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def measured(photos: Path, workspace: Workspace) -> list[Measurement]:
    return bench_semi(photos, workspace, range(1))


@pytest.fixture(scope="module")
def everything(photos: Path, workspace: Workspace) -> Prepared:
    """All photos with their labels, read apart from the bench."""
    home = Workspace(workspace.root / "apart")
    changes = (f'data.root="{photos}"', 'data.labeled="trashnet"')
    return prepare(read_competition(str(semi.RECIPES), home, changes))


@pytest.fixture
def kit(workspace, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code, out, err = run_command(workspace.root, *arguments)
        return code, out, flat(err)

    return call


def folders(workspace: Workspace) -> dict[str, Path]:
    """Return the folder of every run and round of the first draw, by its name."""
    home = workspace.root / "runs" / "bench-semi" / "runs" / f"trashnet-{SHOTS}-0"
    return {path.parents[1].name: path.parent for path in sorted(home.glob("*/*/run.json"))}


def truth_of(everything: Prepared, ids: np.ndarray) -> np.ndarray:
    """Return class codes by the folders that the photos lie in."""
    pool = everything.pool
    names = {name: Path(path).parent.name for name, path in zip(pool.ids, pool.paths, strict=True)}
    return np.array([everything.classes.index(names[image_id]) for image_id in ids])


def of_run(measured: list[Measurement], run: str) -> Measurement:
    return next(measurement for measurement in measured if measurement.run == run)


def row(run: str, accuracy: float, seed: int = 0, cv: float = 0.5, worst: float = 0.5, **more: object) -> Measurement:
    return Measurement(
        **{"setting": "a 4", "kept": True, **more}, seed=seed, run=run, accuracy=accuracy, cv=cv, worst_recall=worst
    )


def test_every_recipe_is_measured_and_one_round_of_each_is_kept(measured):
    names = [measurement.run for measurement in measured]
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} == RUNS
    assert sorted(measurement.run.partition(".")[0] for measurement in measured if measurement.kept) == sorted(RUNS)
    assert {(measurement.setting, measurement.seed) for measurement in measured} == {(f"trashnet {SHOTS}", 0)}


def test_labels_only_is_what_scikit_learn_gives_on_the_same_draw(measured, everything, workspace):
    folder = folders(workspace)["labels_only"]
    ids = everything.pool.ids
    values = dict(zip(ids, encode_images(everything.pool.select(np.arange(len(ids))), CLIP).values, strict=True))
    test_ids = read_predictions(folder / "test.parquet").ids
    test, oof = [], []
    for fold in sorted(folder.glob("fold_*")):
        taught = [name.partition("/")[2] for name in read_json(fold / "provenance.json")["labeled"]]
        held_out = read_predictions(fold / "oof.parquet").ids
        regression = LogisticRegression(C=30.0, max_iter=2000)
        regression.fit(np.stack([values[name] for name in taught]), truth_of(everything, taught))
        test.append(regression.predict_proba(np.stack([values[name] for name in test_ids])))
        predicted = regression.predict(np.stack([values[name] for name in held_out]))
        oof += list(predicted == truth_of(everything, held_out))
    measurement, truth = of_run(measured, "labels_only"), truth_of(everything, test_ids)
    predicted = np.mean(test, axis=0).argmax(axis=1)
    assert 0 < measurement.accuracy < 1
    assert measurement.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert measurement.cv == pytest.approx(np.mean(oof)) and len(oof) == SHOTS * len(N_PHOTOS)
    assert measurement.worst_recall == pytest.approx(
        recall_score(truth, predicted, labels=np.unique(truth), average=None).min()
    )


def test_every_run_is_given_the_same_labels_folds_pool_and_held_out_images(measured, workspace):
    drawn = set()
    for folder in folders(workspace).values():
        ids = [tuple(read_predictions(folder / f"{split}.parquet").ids) for split in ("oof", "test", "unlabeled")]
        taught = [read_json(fold / "provenance.json")["labeled"] for fold in sorted(folder.glob("fold_*"))]
        drawn.add(str((ids, [sorted(names) for names in taught])))
    of_rounds = {"plain", "recommended"}  # they hold the rounds that were chosen, which are measured one by one
    assert set(folders(workspace)) - of_rounds == {each.run for each in measured} and len(drawn) == 1
    assert len(measured) > len(RUNS)


def test_a_draw_has_so_many_labels_per_class_and_halves_the_rest(everything):
    laid, truth = semi.lay_out(everything, semi.SETTINGS[0], 0)
    assert np.bincount(laid.labels).tolist() == [SHOTS] * len(N_PHOTOS)
    n_rest = sum(N_PHOTOS.values()) - SHOTS * len(N_PHOTOS)
    assert len(truth) == len(laid.split("test")) == n_rest // 2
    assert len(laid.split("unlabeled")) == n_rest - n_rest // 2
    assert sorted(laid.pool.ids) == sorted(everything.pool.ids)


def test_a_draw_keeps_photos_labels_and_held_out_truth_together(everything):
    laid, truth = semi.lay_out(everything, semi.SETTINGS[0], 0)
    assert np.array_equal(truth, truth_of(everything, laid.pool.ids[laid.split("test")]))
    assert np.array_equal(laid.labels, truth_of(everything, laid.pool.ids[laid.labeled]))


def test_a_seed_draws_the_same_again_and_another_seed_draws_others(everything):
    first, again, other = (semi.lay_out(everything, semi.SETTINGS[0], seed)[0] for seed in (0, 0, 1))
    assert first.pool.key == again.pool.key and first.fold_key == again.fold_key
    assert set(first.pool.ids[first.labeled]) != set(other.pool.ids[other.labeled])


def test_at_most_so_many_photos_of_a_class_take_part(photos, workspace):
    thin = dataclasses.replace(semi.SETTINGS[0], n_per_class=5)
    kept = semi.read_photos(photos, thin, workspace)
    assert np.bincount(kept.labels).tolist() == [5, 5, SHOTS]
    assert np.array_equal(kept.labels, truth_of(kept, kept.pool.ids))


def test_recall_of_the_worst_class_and_accuracy_are_read_from_what_a_run_says(measured, everything, photos, workspace):
    file = folders(workspace)["smooth"] / "test.parquet"
    honest = read_predictions(file)
    truth = truth_of(everything, honest.ids)
    predicted = np.where((truth == 0) & (np.cumsum(truth == 0) > 2), 2, truth)  # two blue ones right, all green ones
    write_predictions(file, Predictions(honest.ids, honest.classes, np.eye(3)[predicted]))
    try:
        measurement = of_run(bench_semi(photos, workspace, range(1)), "smooth")
    finally:
        write_predictions(file, honest)
    assert measurement.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert measurement.worst_recall == pytest.approx(
        2 / (truth == 0).sum()
    )  # red, of which none is held out, has no recall
    assert measurement.cv == of_run(measured, "smooth").cv


def test_a_gain_is_paired_with_labels_alone_draw_by_draw():
    measurements = [
        row("labels_only", 0.5, 0),
        row("labels_only", 0.7, 1),
        row("smooth", 0.6, 0),
        row("smooth", 0.9, 1),
    ]
    base, smooth = compare_with_baseline(measurements)[:2]
    assert (base.gain, base.gain_se) == (0.0, 0.0)
    assert smooth.accuracy == pytest.approx(0.75)
    assert smooth.gain == pytest.approx(0.15)
    assert smooth.gain_se == pytest.approx(np.std([0.1, 0.2], ddof=1) / np.sqrt(2))


def test_a_promise_is_nested_oof_minus_held_out():
    measurements = [row("labels_only", 0.5, 0, cv=0.6, worst=0.1), row("labels_only", 0.7, 1, cv=0.65, worst=0.4)]
    line = compare_with_baseline(measurements)[0]
    assert line.optimism == pytest.approx(0.025)
    assert line.optimism_se == pytest.approx(np.std([0.1, -0.05], ddof=1) / np.sqrt(2))
    assert line.worst_recall == pytest.approx(0.25)
    assert line.worst_se == pytest.approx(np.std([0.1, 0.4], ddof=1) / np.sqrt(2))


def test_one_draw_has_no_standard_error():
    line = compare_with_baseline([row("labels_only", 0.5)])[0]
    assert (line.gain_se, line.optimism_se, line.worst_se) == (0.0, 0.0, 0.0)


def test_a_round_that_few_draws_reach_is_compared_on_those_and_left_out_over_all():
    measurements = [row("labels_only", 0.5, 0), row("labels_only", 0.9, 1), row("plain.1", 0.6, 0, kept=False)]
    measurements += [row("plain.2", 0.8, 0), row("plain.1", 0.7, 1)]
    lines = {(line.setting, line.run): line for line in compare_with_baseline(measurements)}
    assert lines["a 4", "plain.2"].gain == pytest.approx(0.3)
    assert lines["a 4", "plain"].accuracy == pytest.approx(0.75)  # round 2 of the first draw, round 1 of the second
    assert ("all", "plain") in lines and ("all", "plain.2") not in lines


def test_over_all_settings_every_draw_counts_once():
    measurements = [row("labels_only", 0.2, 0), row("smooth", 0.3, 0)]
    measurements += [row("labels_only", 0.6, 0, setting="b 4"), row("smooth", 0.6, 0, setting="b 4")]
    measurements += [row("labels_only", 0.7, 1, setting="b 4"), row("smooth", 0.9, 1, setting="b 4")]
    lines = compare_with_baseline(measurements)
    assert [line.setting for line in lines] == ["a 4", "a 4", "b 4", "b 4", "all", "all"]
    assert lines[-1].gain == pytest.approx(np.mean([0.1, 0.0, 0.2]))


def test_the_table_has_a_block_per_setting_named_once():
    table = render_semi(compare_with_baseline([row("labels_only", 0.5), row("smooth", 0.625, cv=0.5, worst=0.25)]))
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["a 4", "", "all", ""]
    assert [column[1] for column in columns[1:]] == [
        "smooth",
        "0.625",
        "+0.125 ± 0.000",
        "-0.125 ± 0.000",
        "0.250 ± 0.000",
    ]


def test_what_a_network_used_of_the_pool_is_averaged_and_shown_where_any_used_some():
    measurements = [row("labels_only", 0.5, 0), row("labels_only", 0.7, 1)]
    assert len(render_semi(compare_with_baseline(measurements)).columns) == 6
    measurements += [row("swift", 0.6, 0, used=0.5), row("swift", 0.8, 1, used=0.9)]
    lines = compare_with_baseline(measurements)
    assert [line.used for line in lines[:2]] == [None, pytest.approx(0.7)]
    assert list(render_semi(lines).columns[-1].cells)[:2] == ["", "70%"]


@pytest.mark.slow
def test_networks_tell_how_much_of_the_pool_they_used_beside_labels_alone(photos, workspace, monkeypatch):
    monkeypatch.setattr(semi, "OF_NETWORKS", (semi.PhotoSetting("trashnet", SHOTS),))
    measurements = bench_semi(photos, workspace, range(1), networks=True)
    lines = {line.run: line for line in compare_with_baseline(measurements) if line.setting != "all"}
    assert set(lines) == {"labels_only", "swift", "finessl", "probe"} and lines["labels_only"].gain == 0
    assert lines["labels_only"].used is lines["probe"].used is None
    assert all(0 <= lines[name].used <= 1 for name in ("swift", "finessl"))
    table = render_semi(list(lines.values()))
    assert [column.header for column in table.columns][-1] == "pool used"


def test_json_holds_every_line_and_a_second_call_makes_nothing_new(kit, photos, measured, workspace):
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.parquet")}
    code, out, _ = kit("bench", "semi", "--data", str(photos), "--seeds", "1", "--json")
    assert code == 0
    assert json.loads(out) == [dataclasses.asdict(line) for line in compare_with_baseline(measured)]
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.parquet")} == before


def test_the_command_prints_the_table(kit, photos, measured):
    code, out, _ = kit("bench", "semi", "--data", str(photos), "--seeds", "1")
    assert code == 0 and "nested oof - held-out" in out
    measurement = of_run(measured, "labels_only")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(
        line.startswith(f"trashnet {SHOTS} labels_only {measurement.accuracy:.3f} +0.000 ± 0.000") for line in lines
    )


def test_bench_semi_without_data_says_what_it_needs(kit):
    code, _, err = kit("bench", "semi")
    assert code == 2 and "bench semi needs --data DIR, which holds cifar10/ and trashnet/" in err


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_photos_is_refused_by_name(kit, tmp_path, there):
    data = tmp_path / "empty"
    if there:
        data.mkdir()
    code, out, err = kit("bench", "semi", "--data", str(data))
    assert code == 2 and not out
    assert "empty: none of trashnet/ is there; bench semi needs folders of photos" in err


def test_missing_weights_are_named(tmp_path):
    draw_photos(tmp_path / "trashnet")
    with pytest.raises(MissingWeights, match="mini-clip"):
        bench_semi(tmp_path, Workspace(tmp_path / "workspace"), range(1))


def test_no_draw_at_all_is_refused(kit, photos):
    code, _, err = kit("bench", "semi", "--data", str(photos), "--seeds", "0")
    assert code == 2 and "--seeds" in err


def test_data_is_refused_for_a_competition_and_an_unknown_one_is_named(kit, photos):
    code, _, err = kit("bench", "digits", "--data", str(photos))
    assert code == 2 and "--data is read by ./run.sh bench semi, bench recipes and bench explain alone" in err
    code, _, err = kit("bench", "digist")
    assert code == 2 and "no competition 'digist'; did you mean 'digits'?" in err


def test_speed_compares_the_store_with_files_and_refuses_a_pool_without_images(colours):
    prepared = prepare(colours())
    timings = bench(prepared)
    assert [(timing.way, timing.against) for timing in timings] == [("store", "files"), ("decoded ahead", "in turn")]
    for timing in timings:
        assert 0 < timing.lowest <= timing.ratio <= timing.highest and timing.images_per_second > 0
    nothing = np.array([], dtype=object)
    empty = Pool(nothing, nothing, nothing, nothing, nothing, prepared.classes, Path(), Path())
    with pytest.raises(InputError, match="no image to measure with"):
        bench(dataclasses.replace(prepared, pool=empty))


def test_bench_semi_waits_for_another_that_holds_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(semi, "SETTINGS", (semi.PhotoSetting("photos", 3),))
    monkeypatch.setattr(semi, "read_photos", lambda *_: None)
    (tmp_path / "photos").mkdir()
    home = tmp_path / "runs" / "bench-semi"
    home.mkdir(parents=True)
    with open(home / ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=semi.bench_semi, args=(tmp_path, Workspace(tmp_path), ()))
        second.start()
        time.sleep(0.3)
        assert second.is_alive()
        fcntl.flock(held, fcntl.LOCK_UN)
    second.join(10)
    assert not second.is_alive() and "waiting for another call" in capsys.readouterr().err


def test_a_folder_of_photos_may_have_quotes_and_backslashes_in_its_name(tmp_path, data):
    odd = tmp_path / 'of "mine" \\ née'
    shutil.copytree(data / "train", odd / "trashnet")
    with pytest.raises(InputError) as refused:  # its files are empty
        semi.read_photos(odd, semi.PhotoSetting("trashnet", 1), Workspace(tmp_path / "home"))
    assert str(odd) in str(refused.value)
