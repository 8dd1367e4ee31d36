"""Heads on cached features: degenerate settings are plain models, neighbours and words are settings of one sweep."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from support.clips import TINY_CLIP
from support.clouds import clouds, split

from kit.config.competition import Run
from kit.core.errors import InputError
from kit.core.tensors import read_tensors
from kit.data.prepared import prepare
from kit.features.cache import keep_features
from kit.features.neighbours import Graph, read_neighbours
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.prototypes import Prototypes
from kit.models.heads.tip_adapter import TipAdapter
from kit.models.heads.zero_shot import ZeroShot
from kit.runs.fit.crossval import crossval
from kit.runs.fit.fold import WEIGHTS_FILE
from kit.runs.store.build import build_model
from kit.runs.store.result import fold_folder
from kit.runs.verify import verify

HEADS = {
    "linear_probe": lambda **options: LinearProbe("given", **options),
    "prototypes": lambda **options: Prototypes("given", **options),
    "tip_adapter": lambda **options: TipAdapter("given", **options),
    "tip_adapter_f": lambda **options: TipAdapter("given", epochs=3, **options),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_knows_clear_clouds_and_keeps_row_order(name, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    head = HEADS[name]().fit(labeled, others)
    proba = head.predict_proba(others)
    assert proba.sum(axis=1) == pytest.approx(np.ones(len(others)), abs=1e-5)
    assert (proba.argmax(axis=1) == codes[others.rows]).mean() > 0.85
    order = np.random.default_rng(1).permutation(len(others))
    assert head.predict_proba(others.take(order)) == pytest.approx(proba[order], abs=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_a_restored_head_says_the_same_at_every_setting(name, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    head = HEADS[name](smooth="nested").fit(labeled, others)
    restored = HEADS[name](smooth="nested").restore(head.tensors(), pool.classes)
    assert np.array_equal(restored.predict_sweep(others), head.predict_sweep(others))
    value = head.sweep_values()[-1]
    restored.settle(value)
    assert np.array_equal(restored.predict_proba(others), head.predict_sweep(others)[-1])


@pytest.mark.parametrize("name", HEADS)
def test_whitening_is_kept_with_what_was_learned(name, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    options = {"smooth": 0.8, "power": 0.5, "whiten": 0.5}
    head = HEADS[name](**options).fit(labeled, others)
    restored = HEADS[name](**options).restore(head.tensors(), pool.classes)
    assert np.array_equal(restored.predict_sweep(others), head.predict_sweep(others))
    assert np.array_equal(restored.predict_logits(others), head.predict_logits(others))
    assert not np.allclose(
        HEADS[name](smooth=0.8).fit(labeled, others).predict_proba(others), head.predict_proba(others)
    )


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_a_power_of_1_without_whitening_is_the_plain_head(smooth, tmp_path):
    labeled, others = split(*clouds(tmp_path))
    plain, switched_off = (
        LinearProbe("given", smooth=smooth, **options).fit(labeled, others)
        for options in ({}, {"power": 1.0, "whiten": 0.0})
    )
    assert np.array_equal(plain.predict_proba(others), switched_off.predict_proba(others))
    assert plain.tensors().keys() == switched_off.tensors().keys()


def test_a_whitened_probe_is_a_regression_on_whitened_features(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    probe = LinearProbe("given", power=0.5, whiten=0.5).fit(labeled, others)
    values = normalize(np.sign(pool.embeddings) * np.abs(normalize(pool.embeddings)) ** 0.5)
    centred = values - values.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(values))
    whitened = normalize(centred @ axes * variances**-0.25)
    regression = LogisticRegression(C=30.0, max_iter=2000).fit(whitened[labeled.rows], labeled.labels)
    assert probe.predict_proba(others) == pytest.approx(regression.predict_proba(whitened[others.rows]), abs=2e-3)


def test_the_held_out_fold_takes_part_in_whitening_only_with_test_images(colours):
    competition = colours(
        "".join(
            f'[runs.{name}]\nmodel = "linear_probe"\nencoder = "given"\nsmooth = 0.8\npower = 0.5\nwhiten = 0.5\n'
            f"use_test_images = {written}\n"
            for name, written in (("alone", "false"), ("with_test", "true"))
        )
    )
    prepared = prepare(competition)
    values = np.random.default_rng(0).normal(size=(len(prepared.pool), 16)).astype(np.float32)
    prepared = dataclasses.replace(prepared, pool=dataclasses.replace(prepared.pool, embeddings=values))
    for name, n_whitenings in (("alone", len(prepared.scored)), ("with_test", 1)):
        result = crossval(prepared, name)
        kept = [read_tensors(fold_folder(result.folder, fold) / WEIGHTS_FILE) for fold in prepared.scored]
        assert len({tensors["whitening.0"].tobytes() for tensors in kept}) == n_whitenings
        for fold, tensors in zip(prepared.scored, kept, strict=True):
            allowed = prepared.training(fold).join(prepared.unlabeled(fold, name == "with_test"))
            unit = normalize(values[allowed.rows])
            assert tensors["whitening.0"][0] == pytest.approx(
                normalize(np.sign(unit) * np.abs(unit) ** 0.5).mean(axis=0), abs=1e-5
            )
        assert f"{name}: " in " ".join(verify(prepared, [result]))


def test_whitening_may_not_be_pulled_to_words(colours):
    options = {"encoder": "given", "pull": 0.5, "prompts": "names", "whiten": 0.5}
    with pytest.raises(InputError, match="pull: words have the features as they are; leave out pull, or power and"):
        build_model(colours(), Run(name="pulled", model="linear_probe", options=options))


@pytest.mark.parametrize("transduction", ["diffusion", "transclip"])
def test_neighbours_help_where_clouds_are_wide(transduction, tmp_path):
    pool, codes = clouds(tmp_path, n_labeled=6, n_unlabeled=600, spread=0.45)
    labeled, others = split(pool, codes)
    head = LinearProbe("given", smooth="nested", transduction=transduction).fit(labeled, others)
    right = (head.predict_sweep(others).argmax(axis=2) == codes[others.rows]).mean(axis=1)
    smooths = [setting["smooth"] for setting in head.sweep_values()]
    assert smooths[0] == 0.8 and set(smooths) == {0.0, 0.5, 0.8, 0.9}
    assert right[0] > right[smooths.index(0.0)] + 0.02


@pytest.mark.parametrize("transduction", ["diffusion", "transclip"])
def test_no_neighbours_is_the_head_alone(transduction, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    alone = LinearProbe("given").fit(labeled, others).predict_proba(others)
    switched_off = LinearProbe("given", smooth="nested", transduction=transduction).fit(labeled, others)
    off = [setting["smooth"] for setting in switched_off.sweep_values()].index(0.0)
    assert np.array_equal(switched_off.predict_sweep(others)[off], alone)


def test_images_outside_the_graph_take_one_step_from_their_nearest_nodes(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    nodes, outside = others.take(np.arange(60)), others.take(np.arange(60, 90))
    proba = LinearProbe("given", smooth=0.8).fit(labeled, nodes).predict_proba(outside)
    assert proba.sum(axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    assert (proba.argmax(axis=1) == codes[outside.rows]).mean() > 0.9


def test_self_training_helps_where_a_few_labels_lie_aside(tmp_path):
    pool, codes = clouds(tmp_path, n_labeled=3, n_unlabeled=600, spread=0.4)
    labeled, others = split(pool, codes)
    diffused, taught = (
        LinearProbe("given", smooth=0.8, self_training=weight).fit(labeled, others).predict_proba(others)
        for weight in (0.0, 0.3)
    )
    right = [(proba.argmax(axis=1) == codes[others.rows]).mean() for proba in (diffused, taught)]
    assert right[1] > right[0] + 0.03 and taught.sum(axis=1) == pytest.approx(np.ones(600), abs=1e-4)


def test_self_training_without_neighbours_or_without_a_pool_is_the_probe(tmp_path):
    labeled, others = split(*clouds(tmp_path))
    for smooth, pool in ((0.0, others), (0.8, others.take(range(0)))):
        plain, taught = (
            LinearProbe("given", smooth=smooth, self_training=weight).fit(labeled, pool).predict_proba(others)
            for weight in (0.0, 0.3)
        )
        assert np.array_equal(plain, taught)


def test_self_training_leaves_a_class_without_an_image_alone(tmp_path):
    labeled, others = split(*clouds(tmp_path))
    without = labeled.take(labeled.labels != 2)
    proba = LinearProbe("given", smooth=0.8).fit(without, others).predict_proba(others)
    assert np.isfinite(proba).all() and proba[:, 2].max() < 1e-6  # two classes are left, one regression


def test_labels_that_are_withheld_do_not_flow(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    kept = labeled.take(np.arange(9))
    withheld, shown = pool.select(labeled.rows[9:]), pool.select(labeled.rows[9:], (codes[labeled.rows[9:]] + 1) % 3)
    probas = [
        LinearProbe("given", smooth=0.8).fit(kept, others.join(rest)).predict_proba(withheld)
        for rest in (withheld, shown)
    ]
    assert (probas[0].argmax(axis=1) == codes[withheld.rows]).all()
    assert not np.allclose(probas[0], probas[1], atol=0.05)  # had they been given, it would show


@pytest.mark.parametrize("transduction", ["diffusion", "transclip"])
def test_a_pseudo_labelled_image_is_one_node_and_counts_by_its_weight(transduction, tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    wrong = pool.select(others.rows[:5], (codes[others.rows[:5]] + 1) % 3)
    light, heavy = (dataclasses.replace(wrong, weights=np.full(5, weight, np.float32)) for weight in (1e-3, 1.0))
    trusting, doubting = (
        LinearProbe("given", smooth=0.5, transduction=transduction, self_training=0.0)
        .fit(labeled.join(rows), others)
        .predict_proba(others.take(range(5)))[np.arange(5), wrong.labels]
        for rows in (heavy, light)
    )
    assert (trusting > doubting + 0.2).all() and (doubting < 0.5).all()


def test_a_trained_cache_starts_at_the_untrained_one(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, others = split(pool, codes)
    plain = TipAdapter("given").fit(labeled, others).predict_sweep(others)
    still = TipAdapter("given", epochs=1, lr=1e-12).fit(labeled, others).predict_sweep(others)
    trained = TipAdapter("given", epochs=20, lr=1e-2).fit(labeled, others).predict_sweep(others)
    assert still == pytest.approx(plain, abs=1e-5) and not np.allclose(trained, plain, atol=1e-3)


def test_a_prototype_is_the_weighted_mean_of_its_class(tmp_path):
    pool, codes = clouds(tmp_path)
    labeled, _ = split(pool, codes)
    means = Prototypes("given").learn(pool.embeddings[labeled.rows], labeled)["means"]
    assert means[1] == pytest.approx(pool.embeddings[labeled.rows][labeled.labels == 1].mean(axis=0), abs=1e-6)


def test_a_pull_without_words_is_refused(colours):
    run = Run(name="pulled", model="linear_probe", options={"encoder": "given", "pull": 0.5})
    with pytest.raises(InputError, match=r"\[runs\.pulled\] pull = 0\.5 needs prompts"):
        build_model(colours(), run)


@pytest.fixture
def worded(colours):
    """Return a competition whose list 'right' names the colours, and whose list 'wrong' swaps them."""

    def make(runs: str):
        competition = colours(runs)
        folder = competition.folder / "prompts"
        folder.mkdir(exist_ok=True)
        for name, words in {"right": "0 1 2", "wrong": "1 2 0"}.items():
            rows = zip(prepare(competition).classes, words.split(), strict=True)
            text = "\n".join(f'{json_name!r} = "{word}"' for json_name, word in rows)
            (folder / f"{name}.toml").write_text(f"[words]\n{text}\n", encoding="utf-8")
        return prepare(competition)

    return make


@pytest.fixture
def two_eyed(tmp_path):
    """Return labelled images and others that two encoders see, each half of what tells the classes apart."""
    pool, codes = clouds(tmp_path, n_unlabeled=300, spread=0.4)
    halves = np.random.default_rng(2).normal(0, 0.4, (2, len(pool), 8)) + np.eye(8)[codes]
    halves[0, :, 0] = halves[1, :, 1] = 0  # one encoder does not see the first class, one not the second
    pool = dataclasses.replace(pool, embeddings=halves[0].astype(np.float32))
    keep_features(pool, TINY_CLIP, {}, (halves[1] / np.linalg.norm(halves[1], axis=1, keepdims=True)).astype("f2"))
    return *split(pool, codes), codes


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_one_of_encoders_is_encoder(smooth, tmp_path):
    labeled, others = split(*clouds(tmp_path))
    alone, listed = (
        LinearProbe(smooth=smooth, **options).fit(labeled, others).predict_proba(others)
        for options in ({"encoder": "given"}, {"encoders": ["given"]})
    )
    assert np.array_equal(alone, listed)


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_joined_encoders_know_more_than_each(smooth, two_eyed):
    labeled, others, codes = two_eyed
    right = []
    for encoders in (["given"], [TINY_CLIP], ["given", TINY_CLIP]):
        probe = LinearProbe(encoders=encoders, smooth=smooth, self_training=0.0).fit(labeled, others)
        right.append((probe.predict_proba(others).argmax(axis=1) == codes[others.rows]).mean())
    assert right[2] > max(right[:2]) + 0.02


def test_a_graph_of_two_encoders_is_the_sum_of_theirs(two_eyed):
    labeled, others, _ = two_eyed
    nodes, both = labeled.join(others), [("given", {}), (TINY_CLIP, {})]
    first, second = (Graph(nodes, [each], 5).attach(nodes) for each in both)
    assert abs(Graph(nodes, both, 5).attach(nodes) - (first + second)).max() < 1e-6


def test_a_head_without_an_encoder_is_refused(colours):
    with pytest.raises(InputError, match=r"\[runs\.probe\] needs 'encoder', or several: encoders = \[\.\.\.\]"):
        build_model(colours(), Run(name="probe", model="linear_probe", options={}))


def test_the_encoder_with_a_text_tower_reads_the_words(worded):
    prepared = worded("")
    pool = dataclasses.replace(prepared.pool, embeddings=np.ones((len(prepared.pool), 4), dtype=np.float32))
    prepared = dataclasses.replace(prepared, pool=pool)
    images, unlabeled = prepared.held_out(0), prepared.unlabeled(0, False)
    alone, joined = (
        ZeroShot(prompts="right", **options).fit(prepared.training(0), unlabeled).predict_proba(images)
        for options in ({"encoder": TINY_CLIP}, {"encoders": ["given", TINY_CLIP]})
    )
    assert joined == pytest.approx(alone, abs=1e-6)


def test_several_lists_and_all_weights_are_one_sweep(worded):
    prepared = worded("")
    images = prepared.held_out(0)
    probe = LinearProbe(TINY_CLIP, prompts=["right", "wrong"], smooth="nested")
    probe.fit(prepared.training(0), prepared.unlabeled(0, False))
    settings = probe.sweep_values()
    assert len(settings) == 4 * (1 + 4 * 2) and settings[0]["prompts"] is None
    off = [(setting["smooth"], setting["prior"]) for setting in settings].index((0.0, 0.0))
    assert {setting["prompts"] for setting in settings} == {None, "right", "wrong"}
    alone = LinearProbe(TINY_CLIP).fit(prepared.training(0), images).predict_proba(images)
    assert probe.predict_sweep(images)[off] == pytest.approx(alone, abs=1e-6)


def test_a_list_is_chosen_for_each_fold_on_the_other_folds(worded):
    runs = f'[runs.words]\nmodel = "zero_shot"\nencoder = "{TINY_CLIP}"\nprompts = ["right", "wrong"]\n'
    prepared = worded(runs)
    result = crossval(prepared, "words")
    chosen = result.record.chosen
    assert {setting["prompts"] for setting in chosen["values"]} == {"right", "wrong"}
    assert set(chosen["per_fold"]) == {str(fold) for fold in prepared.scored}
    assert "setting chosen on the other folds" in " ".join(verify(prepared, [result]))


def test_a_head_shows_nothing_of_random_features(colours):
    """Neighbours of the scored fold must not carry its labels back to it."""
    competition = colours(
        '[runs.smooth]\nmodel = "linear_probe"\nencoder = "given"\nsmooth = 0.9\nuse_test_images = true'
    )
    prepared = prepare(competition)
    noise = np.random.default_rng(0).normal(size=(len(prepared.pool), 64)).astype(np.float32)
    prepared = dataclasses.replace(prepared, pool=dataclasses.replace(prepared.pool, embeddings=noise))
    assert crossval(prepared, "smooth").record.cv < 0.7


@pytest.mark.parametrize(("option", "value"), [("prior", -0.1), ("smooth", 1.0), ("C", 0.0), ("pull", "always")])
def test_an_option_out_of_its_range_is_refused_by_name(option, value, colours):
    written = f'"{value}"' if isinstance(value, str) else value
    runs = f'[runs.probe]\nmodel = "linear_probe"\nencoder = "given"\n{option} = {written}'
    with pytest.raises(InputError, match=rf"runs.probe\].* {option}"):
        prepare_and_fit(colours(runs))


def prepare_and_fit(competition):
    """Cross-validate the one run."""
    return crossval(prepare(competition), "probe")


def test_zero_shot_has_no_opinion_but_the_words():
    head = ZeroShot("given")
    assert not head.logits(np.ones((4, 8)), {"n_classes": np.array(3)}, {}).any()
    assert {setting["prior"] for setting in head.sweep_values()} == {1.0}


@pytest.mark.parametrize("name", ["prototypes", "tip_adapter"])
def test_a_weak_head_may_leave_the_word_to_the_probe(name, tmp_path):
    labeled, others = split(*clouds(tmp_path))
    probe = LinearProbe("given").fit(labeled, others).predict_proba(others)
    assert HEADS[name]().fit(labeled, others).predict_sweep(others)[0] == pytest.approx(probe, abs=1e-5)


def test_labelled_images_of_one_group_leave_each_other_room(tmp_path):
    pool, _ = clouds(tmp_path, n_labeled=30)
    pool.embeddings[:30] = pool.embeddings[0] + np.random.default_rng(0).normal(0, 1e-3, (30, 8))
    pool.groups[:30] = 0
    neighbours = read_neighbours(pool, "given", {}, 10, with_test=False)
    assert neighbours["row"][:30].min() >= 30


def test_embeddings_of_no_length_are_named(tmp_path):
    pool, codes = clouds(tmp_path)
    pool.embeddings[3] = 0
    with pytest.raises(InputError, match="zero or infinite for 1 of 12 images: 0003"):
        LinearProbe("given").fit(*split(pool, codes))
