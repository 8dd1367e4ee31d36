"""Explain: what is explained is what predicts, on the image that it held out; refusals, the sheet, the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from support.colours import lay_out, write_toml
from support.command import flat
from support.folders import write

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.decoding import decode_image
from kit.data.images import ids_of, pool_behind
from kit.data.prepared import Prepared, prepare
from kit.data.store import decode_block
from kit.report.explain import Question, explain, latest_sheets
from kit.report.explain.choice import Case, choose_cases, find_cases
from kit.report.explain.scratch import Scratch
from kit.report.explain.subject import check_explainable, open_subjects
from kit.report.page import refresh_report
from kit.report.page.evidence import Evidence
from kit.report.page.sections import explanations, suspicious
from kit.runs.fit.crossval import crossval
from kit.runs.store import find_result

CLIP = f'encoder = "open_clip:local-dir:{HOME / "digits" / "tiny-clip"}"'
RUNS = f"""
[runs.forest]
model = "forest"
n_trees = 20
pixels = 8

[runs.cnn]
model = "small_cnn"
image_size = 16
channels = [8, 16]
epochs = 4

[runs.probe]
model = "linear_probe"
{CLIP}
prompts = "names"
prior = 0.5
smooth = 0.5

[runs.words]
model = "zero_shot"
{CLIP}

[runs.tuned]
model = "clip_finetune"
{CLIP}
epochs = 1
alpha = 0.5

[runs.means]
model = "prototypes"
{CLIP}

[runs.given]
model = "svm"
encoder = "given"
"""
TRAINED = ("forest", "cnn", "probe", "words", "tuned")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    """The competition `colours`, its runs trained."""
    root = tmp_path_factory.mktemp("explained")
    lay_out(root / "data" / "colours")
    write_toml(root / "competitions" / "colours", RUNS)
    ready = prepare(read_competition("colours", Workspace(root)))
    for name in TRAINED:
        crossval(ready, name)
    return ready


@pytest.fixture
def kit(prepared, run_command):
    """Return a function that runs one command: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        root = prepared.competition.workspace.root
        code, out, err = run_command(root, *arguments)
        return code, out, flat(err)

    return call


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_explained_is_what_predicts(prepared, name):
    changes = ("runs.probe.smooth=0.0",) if name == "probe" else ()  # neighbours are left out
    if changes:
        workspace = prepared.competition.workspace
        prepared = prepare(read_competition("colours", workspace, changes))
        crossval(prepared, name)
    result, fold = find_result(prepared, name), prepared.scored[1]
    images = prepared.held_out(fold)
    expected = result.fold_predictions(fold, "oof").at(ids_of(images)).proba
    with Scratch(prepared.pool) as scratch:
        (subject,) = open_subjects(prepared, result, fold, (), scratch)
        pixels = decode_block(pool_behind(images).paths[images.rows], subject.geometry).numpy()
        np.testing.assert_allclose(subject.say(pixels), expected, atol=2e-3)
        if subject.network is not None:
            with torch.no_grad():
                logits = subject.network(torch.from_numpy(pixels).float()).numpy()
            np.testing.assert_allclose(softmax(logits, axis=1), expected, atol=2e-3)


def test_nothing_of_the_scratch_stays(prepared):
    with Scratch(prepared.pool) as scratch:
        folder = Path(scratch._folder.name)
        (subject,) = open_subjects(prepared, find_result(prepared, "cnn"), 0, (), scratch)
        subject.say(np.zeros((2, 3, 16, 16), dtype=np.uint8))
        assert sorted(path.name for path in folder.iterdir()) == ["text"]
    assert not folder.exists()


def test_each_image_is_explained_by_the_model_that_held_it_out(prepared):
    result = find_result(prepared, "forest")
    fold_of = dict(zip(prepared.labeled.tolist(), prepared.folds.tolist(), strict=True))
    chosen = choose_cases(prepared, result, 4)
    named = find_cases(prepared, prepared.pool.ids[prepared.labeled[::5]].tolist())
    assert all(case.fold == fold_of[case.row] for case in (*chosen, *named))
    assert len({case.row for case in chosen}) == len(chosen)
    test = prepared.pool.ids[prepared.split("test")[0]]
    assert find_cases(prepared, [test]) == [Case(int(prepared.split("test")[0]), prepared.scored[0], "test")]


@pytest.mark.parametrize("train", ["image", "both"])
def test_several_words_are_explained_beside_each_other(prepared, train):
    changes = (f"runs.tuned.train={train}",)
    prepared = prepare(read_competition("colours", prepared.competition.workspace, changes))
    result = crossval(prepared, "tuned")
    cases = find_cases(prepared, [str(prepared.pool.ids[0])])
    words = ("red", "a wine glass")
    (explanation,), seconds = explain(prepared, result, cases, Question(words=words, n_samples=10))
    assert seconds > 0
    assert [image_map.target for image_map in explanation.maps[:2]] == list(words)
    assert all(-1 <= image_map.score <= 1 and np.isfinite(image_map.values).all() for image_map in explanation.maps)


def test_a_head_and_its_fine_tuned_start_see_words_alike(prepared):
    """At alpha 0 the fine-tuned tower is the encoder itself."""
    start = prepare(read_competition("colours", prepared.competition.workspace, ("runs.tuned.alpha=0.0",)))
    crossval(start, "tuned")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 32, 32)).astype(np.uint8)
    with Scratch(start.pool) as scratch:
        logits = [
            open_subjects(start, find_result(start, name), 0, ("red",), scratch)[0].say(pixels)
            for name in ("tuned", "words")
        ]
    np.testing.assert_allclose(*logits, atol=1e-4)


@pytest.mark.parametrize(
    ("run", "methods", "words", "message"),
    [
        (
            "forest",
            ["gradcam"],
            [],
            "gives no gradients to take, so --method gradcam cannot be had; --method lime",
        ),
        ("means", ["lime", "gradients"], [], "so --method gradients cannot be had; --method lime works"),
        ("given", [], [], "reads the embeddings that were given"),
        ("ensemble", [], [], "explain one of its runs: forest, cnn"),
        (
            "cnn",
            [],
            ["red"],
            "words need a CLIP run, on an open_clip encoder, and cnn is none; those that can: probe",
        ),
        ("forst", [], [], "no run 'forst'; did you mean 'forest'"),
    ],
)
def test_what_a_run_cannot_show_is_refused(prepared, run, methods, words, message):
    with pytest.raises(InputError, match=message):
        check_explainable(prepared.competition, run, methods, words)


def test_unknown_ids_classes_and_methods_are_refused(kit):
    assert "no usable image of colours has the id 'elf'" in kit("explain", "colours", "forest", "--ids", "elf")[2]
    assert "no such class; did you mean 'red'" in kit("explain", "colours", "forest", "--class", "rd")[2]
    assert "no such method; did you mean 'lime'" in kit("explain", "colours", "forest", "--method", "lim")[2]
    assert "give one of them" in kit("explain", "colours", "words", "--class", "red", "--words", "red")[2]
    code, _, err = kit("explain", "colours", "means")
    assert code == 2 and "run means has not been trained; ./run.sh train colours means" in err


def test_an_image_of_a_fold_that_is_not_scored_is_refused(prepared):
    held = prepare(read_competition("colours", prepared.competition.workspace, ("folds.use=[0]",)))
    learned = held.pool.ids[held.labeled[held.folds == 1]][0]
    with pytest.raises(InputError, match="lies in fold 1, which is not scored"):
        find_cases(held, [learned])


def test_the_command_writes_a_sheet_and_the_numbers(kit, prepared):
    ids = prepared.pool.ids
    code, out, err = kit("explain", "colours", "cnn", "--ids", f"{ids[0]},{ids[-1]}", "--samples", "20", "--json")
    assert code == 0 and "seconds per image" in err
    document = json.loads(out)
    sheet = Path(document["sheet"])
    assert latest_sheets(prepared)[0] == sheet
    with Image.open(sheet) as picture:
        assert picture.size[1] > 2 * 168  # two rows
    assert [image_map["method"] for image_map in document["maps"]] == ["lime", "gradcam"] * 2
    maps = np.load(sheet.with_suffix(".npz"))["maps"]
    assert maps.shape == (4, 16, 16) and np.isfinite(maps).all()
    again = kit("explain", "colours", "cnn", "--ids", str(ids[0]), "--ids", str(ids[-1]), "--samples", "20")
    assert again[0] == 0 and (np.load(sheet.with_suffix(".npz"))["maps"] == maps).all()


def test_a_folder_that_cannot_be_written_is_named(kit, prepared):
    folder = prepared.competition.workspace.runs("colours") / "explain"
    kept = folder.rename(folder.with_name("kept")) if folder.exists() else None
    folder.symlink_to("/proc")
    try:
        code, _, err = kit("explain", "colours", "forest", "--n", "1", "--samples", "10")
    finally:
        folder.unlink()
        if kept:
            kept.rename(folder)
    assert code == 2 and str(folder) in err and "choose another --workspace" in err


def test_the_report_shows_sheets_and_suspicious_labels_where_they_are(kit, prepared):
    evidence = Evidence(prepared, [find_result(prepared, "forest")], {})
    assert suspicious.build(evidence) is None
    assert kit("explain", "colours", "forest", "--n", "1", "--samples", "10")[0] == 0
    section = explanations.build(evidence)
    assert "./run.sh explain colours RUN" in section.parts[0].text
    assert "forest" in [part.title for part in section.parts[1:]]
    first = refresh_report(prepared, evidence.results, {}).stat().st_mtime_ns
    assert refresh_report(prepared, evidence.results, {}).stat().st_mtime_ns == first
    assert kit("triage", "colours", "forest")[0] == 0
    assert refresh_report(prepared, evidence.results, {}).stat().st_mtime_ns != first
    text, table, *pictures = suspicious.build(evidence).parts
    assert "./run.sh triage colours" in text.text and 0 < len(table.rows) <= 20
    assert Path(pictures[0].path).name == "labels.png"


def test_several_labels_of_an_image_are_named_and_its_likeliest_class_explained(tmp_path):
    lay_out(tmp_path / "data")
    train = tmp_path / "data" / "train"
    rows = [f"{path.parent.name}/{path.stem},{path.parent.name}" for path in sorted(train.rglob("*.png"))]
    rows += [f"{row.partition(',')[0]},warm" for row in rows if row.endswith("red")]
    write(tmp_path / "data" / "train.csv", "\n".join(["id,label", *rows]))
    write(
        tmp_path / "comp" / "competition.toml",
        '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[folds]\nn = 3\n[data]\nroot = "data"\n'
        'labeled = { csv = "train.csv", images = "train" }\n[runs.cnn]\nmodel = "small_cnn"\nimage_size = 16\n'
        "channels = [8, 16]\nepochs = 2\n",
    )
    ready = prepare(read_competition(str(tmp_path / "comp"), Workspace(tmp_path)))
    result = crossval(ready, "cnn")
    cases = [*choose_cases(ready, result, 2), *find_cases(ready, [rows[-1].partition(",")[0]])]
    explanation, _ = explain(ready, result, cases, Question(n_samples=20))
    assert explanation[-1].label == "red|warm"
    oof = result.predictions("oof").at(np.array([explanation[-1].image_id], dtype=object)).proba[0]
    assert explanation[-1].predicted == ready.classes[oof.argmax()]
    assert all(image_map.score == pytest.approx(oof.max(), abs=1e-3) for image_map in explanation[-1].maps)


def test_another_class_than_the_predicted_can_be_asked_for(prepared):
    result = find_result(prepared, "cnn")
    cases = find_cases(prepared, [str(prepared.pool.ids[0])])
    for name in prepared.classes:
        (explanation,), _ = explain(prepared, result, cases, Question(("gradcam",), class_name=name))
        assert explanation.maps[0].target == name


def test_decoded_pictures_are_those_that_are_explained(prepared):
    result = find_result(prepared, "forest")
    case = find_cases(prepared, [str(prepared.pool.ids[0])])
    (explanation,), _ = explain(prepared, result, case, Question(("lime",), n_samples=10))
    whole = decode_image(prepared.pool.paths[0])
    assert explanation.pixels.shape == (3, 8, 8) and abs(explanation.pixels.mean() - whole.float().mean().item()) < 3
