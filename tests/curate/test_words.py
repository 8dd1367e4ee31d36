"""The comparison of prompt lists: zero-shot runs' own scores, confusions that add up, words that can be edited."""

from __future__ import annotations

import io
import json
import sys
import tomllib

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import confusion_matrix, recall_score
from support.clips import TINY_CLIP

from kit.cli import main
from kit.core.errors import InputError, MissingWeights
from kit.curate.words import compare_prompts
from kit.curate.words.confusions import confused, list_pairs, recalls
from kit.curate.words.render import OPTIMISTIC, print_report
from kit.data.prepared import prepare
from kit.features.cache import encode_images
from kit.features.prompts import PromptList, prompts_of
from kit.models.heads.zero_shot import ZeroShot
from kit.runs.fit.crossval import crossval
from kit.runs.seen import are_prompts_spoiled

RUNS = f"""
[runs.forest]
model = "forest"

[runs.zero_shot]
model = "zero_shot"
encoder = "{TINY_CLIP}"
prompts = "odd"

[runs.probe]
model = "linear_probe"
encoder = "{TINY_CLIP}"
"""
CLASSES = ("a", "b", "c")


def write_list(competition, name: str, words: str) -> None:
    folder = competition.folder / "prompts"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(f'templates = ["the {{}}", "a {{}}"]\n[words]\n{words}', encoding="utf-8")


@pytest.fixture
def competition(colours):
    made = colours(RUNS)
    write_list(made, "odd", 'blue = ["one", "two"]\ngreen = "seven"\nred = "nine [bold]"')
    write_list(made, "plain", 'blue = "zero"\ngreen = "eight"\nred = "three"')
    return made


@pytest.fixture
def prepared(competition):
    return prepare(competition)


def shown(report, width: int, name: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_report(report, console, name)
    return console.file.getvalue()


def test_a_list_scores_what_a_zero_shot_run_with_it_scores(prepared):
    (scores,) = compare_prompts(prepared).encoders
    (odd,) = [prompt_list for prompt_list in scores.lists if prompt_list.name == "odd"]
    record = crossval(prepared, "zero_shot").record
    assert (odd.score, odd.se) == pytest.approx((record.cv, record.se))


def test_an_encoder_that_two_runs_name_is_scored_once_and_every_list_with_it(prepared):
    (scores,) = compare_prompts(prepared).encoders
    assert sorted(prompt_list.name for prompt_list in scores.lists) == ["names", "odd", "plain"]
    assert scores.lists[0].score == max(prompt_list.score for prompt_list in scores.lists)
    assert scores.lists[0].against_best is None


def test_only_the_labelled_images_are_encoded_where_the_pool_is_larger(prepared):
    compare_prompts(prepared)
    (made,) = (prepared.pool.cache / "features").glob("*.npy")
    assert len(np.load(made)) == len(prepared.labeled) < len(prepared.pool) / 2


def test_features_of_the_whole_pool_are_used_where_they_are_there(prepared):
    encode_images(prepared.pool.select([0]), TINY_CLIP)
    first = compare_prompts(prepared)
    assert len(list((prepared.pool.cache / "features").glob("*.npy"))) == 1
    images = prepared.pool.select(prepared.labeled)
    proba = ZeroShot(TINY_CLIP, prompts="odd").fit(images, images).predict_proba(images)
    (odd,) = [prompt_list for prompt_list in first.encoders[0].lists if prompt_list.name == "odd"]
    assert odd.score == pytest.approx((proba.argmax(axis=1) == prepared.labels).mean())


def test_what_a_list_resolves_less_what_it_causes_is_its_gain(prepared):
    (scores,) = compare_prompts(prepared).encoders
    for prompt_list in scores.lists:
        gain = sum(one.n for one in prompt_list.resolves) - sum(one.n for one in prompt_list.causes)
        assert gain / len(prepared.labels) == pytest.approx(
            prompt_list.against_names.value if prompt_list.against_names else 0
        )


def test_confusions_and_recalls_are_scikit_learns():
    labels, predicted = np.random.default_rng(0).integers(0, 3, (2, 200))
    expected = confusion_matrix(labels, predicted)
    counts = {(pair.true, pair.predicted): pair.n for pair in confused(labels, predicted, CLASSES)}
    assert counts == {(CLASSES[i], CLASSES[j]): expected[i, j] for i in range(3) for j in range(3) if i != j}
    assert list(recalls(labels, predicted, CLASSES).values()) == pytest.approx(
        recall_score(labels, predicted, average=None)
    )


def test_a_class_without_images_has_no_recall():
    assert recalls(np.array([0, 0]), np.array([0, 1]), CLASSES) == {"a": 0.5, "b": None, "c": None}


def test_of_two_pairs_equally_confused_the_one_with_closer_texts_comes_first():
    text = np.array([[1, 0], [0.6, 0.8], [0, 1]])  # b is closer to c than to a
    labels, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 1])
    pairs = list_pairs(labels, predicted, text, PromptList("own", ("{}",), (("x",), ("y",), ("z",))), CLASSES)
    assert [(pair.first, pair.second, pair.n_forth, pair.n_back) for pair in pairs] == [
        ("b", "c", 0, 1),
        ("a", "b", 1, 0),
    ]
    assert [pair.cosine for pair in pairs] == pytest.approx([0.8, 0.6])
    assert [pair.closeness for pair in pairs] == pytest.approx([1, 2 / 3])
    assert pairs[0].second_words == ("z",)


def test_the_snippet_is_toml_with_the_words_as_they_stand(prepared):
    (scores,) = compare_prompts(prepared).encoders
    for prompt_list in scores.lists:
        words = tomllib.loads(prompt_list.snippet)["words"]
        assert words and all(tuple(words[name]) == prompt_list.words[name] for name in words)


@pytest.mark.parametrize("width", [30, 60, 132])
def test_the_report_fits_its_terminal_and_words_are_no_markup(prepared, width):
    message = shown(compare_prompts(prepared), width, "odd")
    lines = message.partition("# prompts/odd.toml")[0].splitlines()
    assert max(map(len, lines)) <= width
    assert 'red" = ["nine [bold]"]' in message


def test_a_list_edited_after_a_look_is_marked_and_the_first_one_is_not(competition, prepared):
    assert OPTIMISTIC not in shown(compare_prompts(prepared), 132)
    write_list(competition, "odd", 'blue = "four"\ngreen = "seven"\nred = "nine"')
    report = compare_prompts(prepared)
    assert [prompt_list.name for prompt_list in report.encoders[0].lists if prompt_list.optimistic] == ["odd"]
    assert OPTIMISTIC in shown(report, 132)
    assert are_prompts_spoiled(competition.workspace.runs("colours"), prompts_of(prepared.pool, "odd"))


def test_without_an_open_clip_encoder_one_must_be_given(colours):
    prepared = prepare(colours())
    with pytest.raises(InputError, match=r"no run names an open_clip encoder; give one: --encoder"):
        compare_prompts(prepared)
    (scores,) = compare_prompts(prepared, TINY_CLIP).encoders
    assert [prompt_list.name for prompt_list in scores.lists] == ["names"]


def test_an_encoder_without_text_tower_is_refused_before_any_work(prepared):
    with pytest.raises(InputError, match="'timm:resnet18' has no text tower"):
        compare_prompts(prepared, "timm:resnet18")
    assert not (prepared.pool.cache / "features").exists()


def test_an_encoder_that_cannot_be_had_is_skipped_and_named(colours, monkeypatch):
    pytest.importorskip("open_clip")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    far = '[runs.far]\nmodel = "zero_shot"\nencoder = "open_clip:local-dir:nowhere"\n'
    report = compare_prompts(prepare(colours(RUNS.replace('"odd"', '"names"') + far)))
    assert [encoder.encoder for encoder in report.encoders] == [TINY_CLIP]
    assert "nowhere" in report.skipped["open_clip:local-dir:nowhere"]
    with pytest.raises(MissingWeights, match="nowhere"):
        compare_prompts(prepare(colours(far)))


def test_the_command_prints_one_json_document(competition, monkeypatch, capsys):
    pytest.importorskip("open_clip")
    root = str(competition.workspace.root)
    monkeypatch.setattr(sys, "argv", ["kit", "prompts", "colours", "--json", "--workspace", root])
    with pytest.raises(SystemExit) as stop:
        main()
    document = json.loads(capsys.readouterr().out)
    assert not stop.value.code and document["n_images"] == {"blue": 6, "green": 6, "red": 6}
    assert set(document["encoders"][0]["lists"][0]["recalls"]) == {"blue", "green", "red"}


def test_the_words_of_a_list_that_is_not_there_are_refused_before_any_work(competition, monkeypatch, capsys):
    root = str(competition.workspace.root)
    monkeypatch.setattr(sys, "argv", ["kit", "prompts", "colours", "--list", "od", "--workspace", root])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "did you mean 'odd'" in " ".join(capsys.readouterr().err.split())
    assert not (competition.workspace.cache("colours") / "features").exists()
