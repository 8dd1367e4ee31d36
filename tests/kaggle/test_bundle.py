"""Bundles: what the kit would have said of new test images, said without the kit's data; and what they refuse."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_model
from support.clips import TINY_CLIP
from support.colours import COLOURS, draw, lay_out, write_toml

from kit.cli import main
from kit.config.reader import read_competition
from kit.core.errors import InputError, MissingWeights
from kit.core.files import Workspace
from kit.core.wheel import write_wheel
from kit.data.prepared import Prepared, prepare
from kit.data.table import read_test
from kit.kaggle.bundle import predict_bundle, read_bundle
from kit.kaggle.bundle.inference import as_competition, find_data, predict_table
from kit.kaggle.bundle.manifest import MANIFEST, write_manifest
from kit.kaggle.bundle.member_predictions import mix_members
from kit.kaggle.bundle.notebook import slug_of
from kit.kaggle.bundle.writing import WrittenBundle, write_bundle
from kit.runs.ensemble import ensemble
from kit.runs.fit.crossval import crossval
from kit.scoring.predictions import Predictions

SMALL = "{ pretrained_cfg_overlay = { input_size = [3, 32, 32] } }"
RUNS = f"""
[runs.forest]
model = "forest"
n_trees = 5
pixels = 4

[runs.svm]
model = "svm"
pixels = 4

[runs.spreading]
model = "label_spreading"
encoder = "{TINY_CLIP}"

[runs.probe]
model = "linear_probe"
encoder = "{TINY_CLIP}"
prompts = "names"
C = "nested"

[runs.network]
model = "fine_tune"
encoder = "timm:test_efficientnet"
pretrained = false
image_size = 32
epochs = 1
batch_size = 8

[runs.timm_probe]
model = "linear_probe"
encoder = "timm:test_efficientnet@network.safetensors"
encoder_args = {SMALL}

[runs.smooth]
model = "linear_probe"
encoder = "{TINY_CLIP}"
smooth = 0.5
power = 0.5
whiten = 0.5
n_neighbors = 3
encoders = [{{ encoder = "timm:test_efficientnet@network.safetensors", encoder_args = {SMALL} }}]

[runs.transduced]
model = "linear_probe"
encoder = "{TINY_CLIP}"
prompts = "names"
prior = 0.1
smooth = 0.5
n_neighbors = 3
self_training = 0.0
use_test_images = true
bags = 2
"""
NAMES = ("forest", "svm", "spreading", "probe", "network", "timm_probe", "smooth", "transduced")


def train(workspace: Path, seed_of_test: int) -> Prepared:
    """Lay out the competition with one set of test images or another, and train its runs."""
    root = workspace / "data" / "colours"
    lay_out(root)
    write_toml(workspace / "competitions" / "colours", RUNS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(timm.create_model("test_efficientnet"), workspace / "network.safetensors")
    if seed_of_test:
        write_test(root, seed_of_test)
    prepared = prepare(read_competition("colours", Workspace(workspace)))
    for name in NAMES:
        crossval(prepared, name)
    return prepared


def write_test(root: Path, seed: int, n_images: int = 11) -> None:
    """Write test images that nobody has seen, and their sample submission, labels as place-holders."""
    shutil.rmtree(root / "test", ignore_errors=True)
    (root / "test").mkdir(parents=True)
    draws = np.random.default_rng(seed)
    ids = [f"n{i:03d}" for i in range(n_images)]
    for i, image_id in enumerate(ids):
        draw(list(COLOURS.values())[i % 3], draws, size=30 + i).save(root / "test" / f"{image_id}.png")
    with open(root / "sample_submission.csv", "w", newline="") as text:
        csv.writer(text).writerows([("id", "label"), *((image_id, "red") for image_id in reversed(ids))])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return train(tmp_path_factory.mktemp("bundled"), 0)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Prepared:
    """The same competition, trained by the kit where the new test images are its own."""
    return train(tmp_path_factory.mktemp("elsewhere"), 7)


@pytest.fixture(scope="module")
def written(prepared, tmp_path_factory) -> WrittenBundle:
    """Write the bundle of all runs and put it where no later one takes its place."""
    bundle = write_bundle(prepared, [crossval(prepared, name) for name in NAMES], "somebody")
    return replace(bundle, folder=shutil.copytree(bundle.folder, tmp_path_factory.mktemp("written") / "bundle"))


@pytest.fixture
def copied(written, tmp_path) -> Path:
    return Path(shutil.copytree(written.folder, tmp_path / "copied"))


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder laid out as /kaggle/input, with new test images."""
    write_test(tmp_path / "input" / "competitions" / "colours-2025", 7)
    return tmp_path / "input"


def predictions_of_bundle(folder: Path, inputs: Path, scratch: Path, chunk: int = 4096) -> tuple[Predictions, object]:
    """Return a bundle's probabilities of the test images below a folder."""
    bundle = read_bundle(folder)
    competition = as_competition(bundle, folder, find_data(inputs, bundle), scratch)
    return predict_table(bundle, competition, read_test(competition), chunk)[1], bundle


def rows_of(file: Path) -> list[list[str]]:
    with open(file, newline="") as text:
        return list(csv.reader(text))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_says_of_new_images_what_the_kit_says(prepared, elsewhere, inputs, tmp_path, name):
    folder = write_bundle(prepared, [crossval(prepared, name)], "somebody").folder
    predictions, _ = predictions_of_bundle(folder, inputs, tmp_path / "scratch")
    known = crossval(elsewhere, name).predictions("test").at(predictions.ids)
    assert np.abs(predictions.proba - known.proba).max() < 1e-4


def test_members_are_mixed_as_in_the_ensemble(prepared, elsewhere, written, inputs, tmp_path):
    predictions, bundle = predictions_of_bundle(written.folder, inputs, tmp_path / "scratch")
    parts = [crossval(elsewhere, member.name).predictions("test").at(predictions.ids) for member in bundle.members]
    assert np.abs(predictions.proba - mix_members(bundle.members, parts)).max() < 1e-4
    record = ensemble(prepared, [crossval(prepared, name) for name in NAMES]).record
    assert {member.name: member.temperature for member in bundle.members}.items() <= record.temperatures.items()


def test_chunks_change_nothing(prepared, inputs, tmp_path):
    both = [crossval(prepared, name) for name in ("smooth", "forest")]
    folder = write_bundle(prepared, both, "somebody").folder
    whole, bundle = predictions_of_bundle(folder, inputs, tmp_path / "a")
    parts, _ = predictions_of_bundle(folder, inputs, tmp_path / "b", chunk=4)
    assert len(bundle.members) == 2
    assert np.abs(whole.proba - parts.proba).max() < 1e-5
    assert len(list((tmp_path / "b").rglob("features/*.npy"))) == 2  # of the graph, by two encoders; others are gone
    assert not list((tmp_path / "b").rglob("store/*.npy"))


def test_the_submission_has_the_samples_rows_in_its_order(written, inputs, tmp_path):
    out = predict_bundle(written.folder, inputs, tmp_path / "submission.csv")
    sample = rows_of(inputs / "competitions" / "colours-2025" / "sample_submission.csv")
    assert [row[0] for row in rows_of(out)] == [row[0] for row in sample]
    assert {row[1] for row in rows_of(out)[1:]} <= set(COLOURS)


def test_a_sample_of_one_column_per_class_gets_probabilities(written, inputs, tmp_path):
    sample = inputs / "competitions" / "colours-2025" / "sample_submission.csv"
    ids = [row[0] for row in rows_of(sample)[1:]]
    sample.write_text("id,red,blue,green\n" + "".join(f"{image_id},0.2,0.3,0.5\n" for image_id in ids))
    rows = rows_of(predict_bundle(written.folder, inputs, tmp_path / "submission.csv"))
    predictions, _ = predictions_of_bundle(written.folder, inputs, tmp_path / "scratch")
    assert rows[0] == ["id", "red", "blue", "green"]
    assert np.array([[row[i] for i in (2, 3, 1)] for row in rows[1:]], float) == pytest.approx(
        predictions.at(ids).proba
    )


def test_broken_images_get_the_class_prior(written, inputs, tmp_path):
    (inputs / "competitions" / "colours-2025" / "test" / "n003.png").write_bytes(b"no image")
    predictions, _ = predictions_of_bundle(written.folder, inputs, tmp_path / "scratch")
    assert predictions.at(np.array(["n003"], dtype=object)).proba[0] == pytest.approx([1 / 3] * 3)


def test_inference_runs_by_itself_from_the_wheel_without_a_network(written, inputs, tmp_path):
    shutil.copytree(written.folder, inputs / "datasets" / "somebody" / "kit-colours")
    site, working = tmp_path / "site", tmp_path / "working"
    working.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import socket, sys\n"
        "def refuse(*_): raise OSError('no network here')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )
    here = {"KIT_INPUT": str(inputs), "PIP_TARGET": str(tmp_path / "installed")}
    here["PYTHONPATH"] = f"{site}{os.pathsep}{tmp_path / 'installed'}"
    script = inputs / "datasets" / "somebody" / "kit-colours" / "inference.py"
    done = subprocess.run(
        [sys.executable, "-P", str(script)], cwd=working, env=os.environ | here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "kit" / "kaggle" / "bundle" / "inference.py").is_file()
    assert rows_of(working / "submission.csv") == rows_of(predict_bundle(written.folder, inputs, tmp_path / "here.csv"))


def test_the_notebook_is_valid_and_holds_the_script(written):
    notebook = nbformat.read(written.folder / "inference.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[1].source == (written.folder / "inference.py").read_text()


def test_the_metadata_is_for_kaggles_client_with_internet_off(written):
    kernel = json.loads((written.folder / "kernel-metadata.json").read_text())
    dataset = json.loads((written.folder / "dataset-metadata.json").read_text())
    assert kernel["enable_internet"] is False and kernel["enable_gpu"] is True and kernel["is_private"] is True
    assert kernel["dataset_sources"] == [dataset["id"]] == ["somebody/kit-colours-ensemble"]
    assert kernel["id"].partition("/")[2] == kernel["title"].replace(" ", "-")
    assert (written.folder / kernel["code_file"]).is_file()


@pytest.mark.parametrize("name", ["a", "x" * 80, "Säge_2025 / v2"])
def test_slugs_are_what_kaggle_takes(name):
    for ending in ("", "-inference"):
        assert 6 <= len(slug_of(name, ending)) <= 50
        assert set(slug_of(name, ending)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_the_wheel_is_the_same_every_time_and_holds_data(tmp_path):
    first, second = write_wheel(tmp_path / "a"), write_wheel(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert "kit/kaggle/bundle/script.py" in names
    assert any(not name.endswith(".py") for name in names if name.startswith("kit/"))
    assert not any("competitions/" in name or "__pycache__" in name for name in names)


def command(prepared: Prepared, capsys, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    """Run the command; return exit code, stdout and stderr."""
    workspace = prepared.competition.workspace.root
    monkeypatch.setattr(sys, "argv", ["kit", "bundle", "colours", *arguments, "--workspace", str(workspace)])
    with pytest.raises(SystemExit) as stop:
        main()
    streams = capsys.readouterr()
    return int(stop.value.code or 0), streams.out, " ".join(streams.err.split())


def test_the_command_measures_and_warns_of_the_limit(prepared, capsys, monkeypatch):
    arguments = ("svm", "--n-test", "100000000", "--limit", "1m", "--json")
    code, out, err = command(prepared, capsys, monkeypatch, *arguments)
    document = json.loads(out)
    assert code == 0 and document["n_test"] == 100_000_000 and not document["fits"]
    assert document["trial"]["n_other"] == 0 and (Path(document["folder"]) / "inference.ipynb").is_file()
    assert "more than 1m" in err


def test_a_run_that_is_not_trained_is_refused(prepared, capsys, monkeypatch):
    code, _, err = command(prepared, capsys, monkeypatch, "svm", "--set", "runs.svm.C=3")
    assert code == 2 and "run svm has not been trained; ./run.sh train colours svm" in err


def test_members_that_cannot_go_are_named_with_the_remedy(prepared, monkeypatch):
    monkeypatch.setattr("kit.kaggle.bundle.members.MAX_TRAINING_IMAGES", 20)
    results = [crossval(prepared, name) for name in ("smooth", "forest")]
    with pytest.raises(InputError, match=r"smooth asks an image's neighbours.*runs\.smooth\.smooth=0.*--drop"):
        write_bundle(prepared, results, "somebody")


def test_drop_shares_the_weight_of_what_stays_at_home(prepared, capsys, monkeypatch):
    monkeypatch.setattr("kit.kaggle.bundle.members.MAX_TRAINING_IMAGES", 20)
    results = [crossval(prepared, name) for name in ("smooth", "forest", "probe")]
    weights = ensemble(prepared, results).record.weights
    shares = write_bundle(prepared, results, "somebody", drop=True).members
    assert "smooth" not in shares and sum(shares.values()) == pytest.approx(1)
    assert shares["forest"] / shares["probe"] == pytest.approx(weights["forest"] / weights["probe"])
    assert "left out of the bundle: smooth" in " ".join(capsys.readouterr().err.split())


def test_copies_and_members_that_add_nothing_stay_at_home(prepared, written, capsys):
    results = [crossval(prepared, name) for name in NAMES]
    record = ensemble(prepared, results).record
    assert record.copies == {"transduced": "probe"} and record.weights["network"] == 0
    assert set(written.members) == {name for name, weight in record.weights.items() if weight > 0}
    told = " ".join(capsys.readouterr().err.split())
    assert "transduced has the predictions of probe: one of them is kept" in told
    assert "no weight for what adds nothing: " in told and "network" in told


def test_weights_that_are_lost_are_named(prepared):
    result = crossval(prepared, "network")
    file = result.folder / "fold_1" / "model.safetensors"
    kept = file.rename(file.with_name("elsewhere"))
    try:
        with pytest.raises(InputError, match="network has lost its weights"):
            write_bundle(prepared, [result], "somebody")
    finally:
        kept.rename(file)


def test_encoder_weights_as_a_pickle_alone_are_refused(tmp_path, monkeypatch):
    from kit.features.weights import locate_weights, parse_encoder

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="not on this machine as safetensors"):
        locate_weights(parse_encoder("timm:resnet18.a1_in1k"))


def test_changed_weights_are_refused(copied, inputs, tmp_path):
    file = sorted((copied / "weights").rglob("fold_0.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match=r"fold_0\.safetensors changed since the bundle was written"):
        predict_bundle(copied, inputs, tmp_path / "submission.csv")


def test_a_bundle_uploaded_without_its_folders_is_refused(copied, inputs, tmp_path):
    shutil.rmtree(copied / "weights")
    with pytest.raises(InputError, match="-r zip"):
        predict_bundle(copied, inputs, tmp_path / "submission.csv")


def test_classes_in_another_order_are_refused(copied, inputs, tmp_path):
    content = json.loads((copied / MANIFEST).read_text())
    content["classes"].reverse()
    (copied / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match="it was edited"):
        predict_bundle(copied, inputs, tmp_path / "submission.csv")


def test_another_preprocessing_is_refused(copied, inputs, tmp_path):
    bundle = read_bundle(copied)
    other = [encoder.model_copy(update={"preprocessing": "0" * 16}) for encoder in bundle.encoders]
    write_manifest(copied, bundle.model_copy(update={"encoders": other}))
    with pytest.raises(InputError, match="its preprocessing is not the one it was trained with"):
        predict_bundle(copied, inputs, tmp_path / "submission.csv")


def test_an_empty_test_folder_is_refused(written, inputs, tmp_path):
    for file in (inputs / "competitions" / "colours-2025" / "test").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="holds no images"):
        predict_bundle(written.folder, inputs, tmp_path / "submission.csv")


def test_a_competition_that_is_not_attached_is_named(written, tmp_path):
    (tmp_path / "input").mkdir()
    with pytest.raises(InputError, match="attach the competition's data"):
        predict_bundle(written.folder, tmp_path / "input", tmp_path / "submission.csv")


def test_a_sample_of_other_images_is_refused(written, inputs, tmp_path):
    (inputs / "competitions" / "colours-2025" / "sample_submission.csv").write_text("id,label\nnobody,red\n")
    with pytest.raises(InputError, match="1 ids have no test image: nobody"):
        predict_bundle(written.folder, inputs, tmp_path / "submission.csv")
