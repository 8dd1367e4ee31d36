"""Imbalance: every switch is nothing where classes are of one size, and what the papers and scikit-learn say else."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_class_weight
from support.channels import CODED, ONE, make_by_turns
from torch.nn import functional

from kit.cli import main
from kit.config.competition import Run
from kit.core.errors import InputError
from kit.data.images import Images, Pool, pool_behind
from kit.data.prepared import prepare
from kit.models.balance import adjust, class_shares, class_weights, draw_counts, draw_distribution, repeat_factors
from kit.models.balance.options import NESTED, TAU
from kit.models.classic import forest
from kit.models.classic.forest import Forest
from kit.models.classic.svm import SVM
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.prototypes import Prototypes
from kit.models.heads.semi_head import SemiProbe
from kit.models.training.recipe import Recipe
from kit.runs.fit.crossval import crossval
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.store import fold_folder
from kit.runs.store.build import build_model
from kit.runs.verify import verify

PNG = b"\x89PNG"
EQUAL = np.repeat([0, 1, 2], 8)
UNEQUAL = np.repeat([0, 1, 2], [4, 4, 16])  # whose balanced weights, 2 and .5, float32 holds exactly
SWITCHES = ["inverse", "sqrt_inverse", "effective", "over", "under", "repeat_factor", "logit_adjustment"]
LIGHT = {
    "linear_probe": lambda **options: LinearProbe("given", **options),
    "prototypes": lambda **options: Prototypes("given", **options),
    "forest": lambda **options: Forest("given", n_trees=40, **options),
    "svm": lambda **options: SVM("given", C=0.1, **options),
}


def clouds(folder: Path, codes: np.ndarray, n_unlabeled: int = 60, spread: float = 0.5) -> tuple[Images, Images]:
    """Return labelled images of the given classes and unlabelled ones, with given features around three centres."""
    generator = np.random.default_rng(0)
    every = np.concatenate([codes, np.arange(n_unlabeled) % 3])
    values = np.eye(8)[every] + generator.normal(0, spread, (len(every), 8))
    ids = np.array([f"{i:04d}" for i in range(len(every))], dtype=object)
    splits = np.where(np.arange(len(every)) < len(codes), "labeled", "unlabeled").astype(object)
    pool = Pool(
        ids=ids, splits=splits, paths=ids, digests=ids, groups=np.arange(len(ids)), classes=("a", "b", "c"),
        cache=folder / "cache", prompts=folder / "prompts", embeddings=values.astype(np.float32),
    )  # fmt: skip
    return pool.select(np.arange(len(codes)), codes), pool.select(np.arange(len(codes), len(every)))


def _drop_labels(folder: Path, keep: int) -> None:
    for path in sorted(folder.iterdir())[keep:]:
        path.unlink()


def _sweep(labels: np.ndarray, rare: int) -> np.ndarray:
    """Return two settings: one right on the frequent classes alone, one on the rare class and on most others."""
    frequent = np.where(labels == rare, (rare + 1) % 3, labels)
    fair = labels.copy()
    fair[np.flatnonzero(labels != rare)[::16]] = rare
    return np.stack([np.eye(3)[proba] * 0.7 + 0.1 for proba in (frequent, fair)])


@pytest.mark.parametrize("kind", ["inverse", "sqrt_inverse", "effective"])
def test_weights_are_one_for_classes_of_one_size_and_one_in_the_mean_for_others(kind):
    assert class_weights(EQUAL, kind, 3).tolist() == [1, 1, 1]
    weights = class_weights(UNEQUAL, kind, 3)
    assert weights[0] == weights[1] > weights[2]
    assert weights[UNEQUAL].mean() == pytest.approx(1)


def test_inverse_weights_agree_with_scikit_learn():
    labels = np.random.default_rng(0).choice(4, 50, p=[0.6, 0.2, 0.15, 0.05])
    theirs = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert class_weights(labels, "inverse", 4) == pytest.approx(theirs)


def test_the_effective_number_lies_between_no_weights_and_inverse_frequency():
    assert class_weights(UNEQUAL, "effective", 3, beta=0.0) == pytest.approx(np.ones(3))
    inverse = class_weights(UNEQUAL, "inverse", 3)
    assert class_weights(UNEQUAL, "effective", 3, beta=1 - 1e-9) == pytest.approx(inverse, abs=1e-5)
    by_hand = np.array([0.1 / (1 - 0.9**4), 0.1 / (1 - 0.9**4), 0.1 / (1 - 0.9**16)])
    assert class_weights(UNEQUAL, "effective", 3, beta=0.9) * 24 == pytest.approx(
        by_hand * 24 * 24 / (by_hand @ [4, 4, 16])
    )


def test_classes_of_several_labels_per_image_are_weighed_by_how_often_they_are_named():
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [-1, -1, -1]], dtype=np.int8)
    weights = class_weights(labels, "inverse", 3)
    assert weights[0] / weights[2] == pytest.approx(3) and weights[1] == 1


def test_repeat_factors_follow_the_formula_by_hand():
    labels = np.repeat([0, 1], [90, 10])
    factors = repeat_factors(labels, 2, threshold=0.4)
    assert factors[0] == 1 and factors[-1] == pytest.approx(np.sqrt(0.4 / 0.1))
    several = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.int8)  # shares .75 and .25
    assert repeat_factors(several, 2, threshold=1.0) == pytest.approx([np.sqrt(1 / 0.75), 2, np.sqrt(1 / 0.75), 1])


@pytest.mark.parametrize(("kind", "size"), [("over", 16), ("under", 4)])
def test_resampling_makes_classes_of_one_size_and_spreads_the_draws(kind, size):
    counts = draw_counts(UNEQUAL, kind, 3, seed=0)
    assert np.bincount(UNEQUAL, counts).tolist() == [size] * 3
    assert all(np.ptp(counts[code == UNEQUAL]) <= 1 for code in range(3))


def test_repeat_factors_are_met_on_average():
    labels = np.repeat([0, 1], [90, 10])
    drawn = np.mean([draw_counts(labels, "repeat_factor", 2, seed, 0.225) for seed in range(200)], axis=0)
    assert drawn[:90].tolist() == [1] * 90 and drawn[90:].mean() == pytest.approx(1.5, abs=0.05)


def test_several_labels_per_image_cannot_be_resampled_to_one_size():
    with pytest.raises(ValueError, match="several labels"):
        draw_counts(np.ones((4, 2), dtype=np.int8), "over", 2, seed=0)


@pytest.mark.parametrize("balance", ["over", "logit_adjustment", "nested"])
def test_what_sets_classes_against_each_other_is_refused_with_several_labels(balance, colours):
    competition = colours(changes=('competition.task="multilabel"', 'competition.metric="macro_f1"'))
    run = Run(name="own", model="forest", options={"balance": balance})
    with pytest.raises(InputError, match="sets one class against the others"):
        build_model(competition, run)


def test_adjustment_by_tau_0_or_of_equal_classes_is_the_very_same_array():
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert adjust(proba, np.array([0.7, 0.2, 0.1]), 0.0) is proba
    assert adjust(proba, class_shares(EQUAL, 3), 1.0) is proba


def test_adjustment_subtracts_tau_log_priors_from_the_logits():
    logits, shares = np.random.default_rng(0).normal(size=(5, 3)), np.array([0.7, 0.2, 0.1])
    softmax = functional.softmax
    proba = softmax(torch.from_numpy(logits), dim=1).numpy()
    wanted = softmax(torch.from_numpy(logits - 0.5 * np.log(shares)), dim=1).numpy()
    assert adjust(proba, shares, 0.5) == pytest.approx(wanted)
    assert np.isfinite(adjust(proba, np.array([0.7, 0.3, 0.0]), 1.0)).all()


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("switch", SWITCHES)
def test_on_classes_of_one_size_every_switch_is_none(name, switch, tmp_path):
    labeled, others = clouds(tmp_path, EQUAL)
    plain = LIGHT[name]().fit(labeled, others).predict_proba(others)
    assert np.array_equal(LIGHT[name](balance=switch).fit(labeled, others).predict_proba(others), plain)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_hears_rare_classes_more(name, switch, tmp_path):
    if (name, switch) in {("prototypes", switch) for switch in SWITCHES if switch != "logit_adjustment"}:
        pytest.skip("a mean of a class does not depend on how large the class is, and the probe beside it hardly")
    labeled, others = clouds(tmp_path, np.repeat(UNEQUAL, 4), n_unlabeled=300, spread=0.9)
    plain = LIGHT[name]().fit(labeled, others).predict_proba(others)
    rare = LIGHT[name](balance=switch).fit(labeled, others).predict_proba(others)
    assert rare[:, :2].sum() > plain[:, :2].sum()


def test_a_forest_hears_weights_also_where_scikit_learn_draws_all_images_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(forest, "_draws_by_weight", lambda: False)
    labeled, others = clouds(tmp_path, np.repeat(UNEQUAL, 4), n_unlabeled=300, spread=0.9)
    shares = [LIGHT["forest"](balance=each).fit(labeled, others).predict_proba(others) for each in ("none", "inverse")]
    assert shares[1][:, :2].sum() > 1.1 * shares[0][:, :2].sum()


def test_inverse_weights_of_models_agree_with_scikit_learns_balanced(tmp_path):
    labeled, others = clouds(tmp_path, UNEQUAL)
    values, asked = (pool_behind(images).embeddings[images.rows] for images in (labeled, others))
    values, asked = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in (values, asked))
    ours = {name: LIGHT[name](balance="inverse").fit(labeled, others) for name in ("linear_probe", "svm")}
    ours["trees"] = Forest("given", n_trees=40, trees="extra", balance="inverse").fit(labeled, others)
    proba = {name: model.predict_proba(others) for name, model in ours.items()}
    probe = LogisticRegression(C=30, max_iter=2000, class_weight="balanced").fit(values, UNEQUAL)
    assert proba["linear_probe"] == pytest.approx(probe.predict_proba(asked), abs=1e-4)
    trees = ExtraTreesClassifier(40, max_depth=60, random_state=0, class_weight="balanced").fit(values, UNEQUAL)
    assert proba["trees"] == pytest.approx(trees.predict_proba(asked))
    machine = SVC(C=0.1, gamma="scale", class_weight="balanced").fit(values, UNEQUAL)
    margins = torch.from_numpy(machine.decision_function(asked))
    assert proba["svm"] == pytest.approx(margins.softmax(dim=1).numpy(), abs=1e-6)


def test_neighbours_know_labels_as_well_as_without_class_weights(tmp_path):
    labeled, others = clouds(tmp_path, UNEQUAL)
    head = LinearProbe("given", balance="inverse", smooth=0.8).fit(labeled, others)
    assert head.tensors()["nodes.weights"].tolist() == [1.0] * (len(labeled) + len(others))


def test_a_probe_sweeps_tau_beside_its_other_settings_and_restores_it(tmp_path):
    labeled, others = clouds(tmp_path, UNEQUAL)
    options = {"balance": NESTED, "C": NESTED, "smooth": NESTED}
    head = LinearProbe("given", **options).fit(labeled, others)
    values = head.sweep_values()
    assert values[0]["tau"] == 0 and len(values) == 4 * 3 * 5 and head.sweep_default["tau"] == TAU
    plain = LinearProbe("given", C=NESTED, smooth=NESTED).fit(labeled, others)
    at_0 = [i for i, value in enumerate(values) if value["tau"] == 0]
    assert np.array_equal(head.predict_sweep(others)[at_0], plain.predict_sweep(others))
    restored = LinearProbe("given", **options).restore(head.tensors(), labeled.classes)
    assert np.array_equal(restored.predict_sweep(others), head.predict_sweep(others))


@pytest.mark.parametrize("model", ["forest", "svm"])
def test_a_model_without_kept_weights_has_its_tau_chosen_nested_and_verified(model, colours):
    run = f'[runs.own]\nmodel = "{model}"\nbalance = "nested"\nrefit = true\n'
    competition = colours(run + ("n_trees = 10\n" if model == "forest" else ""))
    _drop_labels(competition.root / "train" / "red", keep=3)
    prepared = prepare(competition)
    result = crossval(prepared, "own")
    assert result.record.chosen["name"] == "tau" and result.record.chosen["values"][0] == 0
    assert any("tau chosen on the other folds" in verdict for verdict in verify(prepared, [result]))
    settled = json.loads((fold_folder(result.folder, 0) / "settled.json").read_text())
    assert settled == result.record.chosen["per_fold"]["0"]


def test_a_fixed_adjustment_is_no_sweep(colours):
    competition = colours('[runs.own]\nmodel = "forest"\nbalance = "logit_adjustment"\ntau = 0.5\n')
    assert not build_model(competition, competition.run("own")).is_swept
    assert build_model(competition, Run(name="own", model="forest", options={"balance": "nested"})).is_swept


@pytest.mark.parametrize(("metric", "wanted"), [("accuracy", 0), ("balanced_accuracy", 1), ("macro_f1", 1)])
def test_the_sweep_follows_the_metric_on_unequal_classes(metric, wanted, colours):
    """Six rare images are worth more than six frequent ones only where classes count alike."""
    labels = np.repeat([0, 1, 2], [48, 48, 6])
    prepared = prepare(colours(changes=(f'competition.metric="{metric}"',)))
    prepared = replace(prepared, labels=labels, folds=np.arange(len(labels)) % 3)
    sweeps = {fold: _sweep(prepared.fold_labels(fold), rare=2) for fold in prepared.scored}
    assert set(choose_per_fold(prepared, [0, 1], sweeps, 0).values()) == {wanted}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "inverse", "tau": 0.5}, 'tau is read with balance = "logit_adjustment" alone'),
        ({"effective_beta": 0.9}, 'effective_beta is read with balance = "effective" alone'),
        ({"repeat_threshold": 0.1}, "repeat_threshold is read"),
    ],
)
def test_a_key_that_the_switch_does_not_read_is_refused_by_every_model(options, message):
    for build in (
        LIGHT["forest"],
        LIGHT["linear_probe"],
        Recipe,
        lambda **options: SemiProbe(encoder="given", **options),
    ):
        with pytest.raises(InputError, match=message):
            build(**options)


def test_the_folds_command_draws_what_a_runs_balance_does(colours, monkeypatch, capsys):
    runs = '[runs.own]\nmodel = "svm"\nbalance = "inverse"\n[runs.other]\nmodel = "label_spreading"\n'
    workspace = colours(runs).workspace.root
    _drop_labels(workspace / "data" / "colours" / "train" / "red", keep=3)
    for run, code in (("own", 0), ("other", 2)):
        arguments = ["kit", "folds", "colours", "--run", run, "--json", "--workspace", str(workspace)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            main()
        assert int(stop.value.code or 0) == code
    streams = capsys.readouterr()
    balance = json.loads(streams.out)["balance"]
    assert balance["before"] == [6, 6, 3] and balance["after"] == pytest.approx([5, 5, 5])
    assert Path(balance["picture"]).read_bytes().startswith(PNG)
    assert "does not balance classes" in streams.err


def test_the_picture_is_a_png_and_refuses_other_numbers_of_classes():
    before = np.bincount(UNEQUAL)
    drawn = draw_distribution(before, before * class_weights(UNEQUAL, "inverse", 3), ["a", "b", "$c"])
    assert drawn.startswith(PNG)
    with pytest.raises(ValueError, match="for 2 classes"):
        draw_distribution(before, before, ["a", "b"])


def test_options_that_contradict_each_other_are_refused_with_file_and_table(tmp_path):
    runs = '[runs.forest]\nmodel = "forest"\nbalance = "nested"\ntau = 0.5\n'
    prepared = make_by_turns(tmp_path, "id,label\n{id},{code}", ONE, CODED, runs)
    with pytest.raises(InputError, match=r'competition\.toml: \[runs\.forest\] tau is read with balance = "logit_adj'):
        crossval(prepared, "forest")
