"""WiSE-FT: what lies at alpha 0 and 1, what stays fixed, what the text tower and a probe add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load, save
from support.clips import TINY_CLIP, TOWERS, write_clip
from support.pools import make_pool

from kit.config.reader import read_competition
from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.core.files import Workspace
from kit.data.images import Images, Pool
from kit.data.prepared import prepare
from kit.features.cache import encode_images
from kit.models.heads.linear_probe import LinearProbe
from kit.models.heads.zero_shot import ZeroShot
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.training.batches import predict_network
from kit.models.training.blend import interpolate
from kit.models.training.probe import weigh_words
from kit.runs.store.build import build_model
from kit.scoring.metrics import hits

ENCODER = "open_clip:local-dir:resnet"
TRANSFORMER = "open_clip:local-dir:transformer"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    for name, vision in TOWERS.items():
        write_clip(folder / name, vision)
    (folder / "prompts").mkdir()
    many = [f"picture {number} of {{}}" for number in range(50)]
    (folder / "prompts" / "many.toml").write_text(
        f"templates = {many}\n[words]\nblue = 'blue'\ngreen = 'green'\nred = ['red', 'scarlet']\n"
    )
    return make_pool(folder, 36, 32, n_labeled=24)


@pytest.fixture
def digits(tmp_path: Path) -> tuple[Images, Images, np.ndarray]:
    """The labelled digits, half of the test images and their hidden classes."""
    prepared = prepare(read_competition("digits", Workspace(tmp_path)))
    solution = pd.read_csv(prepared.competition.root / "solution.csv", dtype=str).set_index("id")["label"]
    rows = prepared.split("test")[:400]
    truth = np.array([prepared.classes.index(solution[name]) for name in prepared.pool.ids[rows]])
    return prepared.pool.select(prepared.labeled, prepared.labels), prepared.pool.select(rows), truth


def fit(labeled: Images, **options: Any) -> ClipFinetune:
    model = ClipFinetune(**{"encoder": ENCODER, "epochs": 2, "batch_size": 8, "lr": 1e-3, **options})
    return model.fit(labeled, labeled.take(np.arange(0)))


@pytest.mark.parametrize("tower", TOWERS)
def test_alpha_0_is_zero_shot_and_alpha_1_the_fine_tuned_model(labeled, unlabeled, tower):
    encoder = f"open_clip:local-dir:{tower}"
    model, untouched = fit(labeled, encoder=encoder), fit(labeled, encoder=encoder, lr=0.0)
    fine_tuned = predict_network(model._network, unlabeled, model._preprocessing, model._device, model._precision)
    sweep = model.predict_sweep(unlabeled)
    assert np.array_equal(sweep[0], untouched.predict_sweep(unlabeled)[-1])
    assert np.allclose(  # features are kept in float16
        sweep[0], ZeroShot(encoder).fit(labeled, unlabeled).predict_proba(unlabeled), atol=2e-3
    )
    assert np.array_equal(sweep[-1], fine_tuned)
    assert not np.allclose(sweep[0], sweep[-1], atol=1e-3)


def test_interpolation_is_exact_at_its_ends_and_linear_between():
    draws = torch.Generator().manual_seed(0)
    theta_0, theta_1 = ({"w": torch.randn(50, generator=draws), "n": torch.tensor(n)} for n in (3, 8))
    assert torch.equal(interpolate(theta_0, theta_1, 0.0)["w"], theta_0["w"])
    assert torch.equal(interpolate(theta_0, theta_1, 1.0)["w"], theta_1["w"])
    assert torch.allclose(interpolate(theta_0, theta_1, 0.25)["w"], 0.75 * theta_0["w"] + 0.25 * theta_1["w"])


def test_whole_number_buffers_survive_interpolation(labeled, unlabeled):
    model = fit(labeled, freeze_batch_norm=False)
    blend = interpolate(model._theta_0, model._theta_1, 0.5)
    counts = [name for name in blend if name.endswith("num_batches_tracked")]
    assert counts and all(blend[name].dtype == torch.int64 for name in counts)
    assert all(torch.equal(blend[name], model._theta_1[name]) for name in counts)
    assert all(model._theta_0[name] < model._theta_1[name] for name in counts)
    assert np.isfinite(model.predict_sweep(unlabeled)).all()


def test_words_and_batch_norm_statistics_stay_fixed(labeled):
    model = fit(labeled)
    theta_0, theta_1 = model._theta_0, model._theta_1
    statistics = [name for name in theta_0 if "running_" in name]
    assert statistics and all(torch.equal(theta_0[name], theta_1[name]) for name in statistics)
    assert torch.equal(theta_0["head.weight"], theta_1["head.weight"])
    assert not torch.equal(theta_0["tower.conv1.weight"], theta_1["tower.conv1.weight"])


def test_the_words_learn_where_they_are_let(labeled):
    model = fit(labeled, train_head=True)
    assert not torch.equal(model._theta_0["head.weight"], model._theta_1["head.weight"])


def test_fine_tuning_brings_images_closer_to_their_words(labeled):
    sweep = fit(labeled, encoder=TRANSFORMER, epochs=5).predict_sweep(labeled)
    of_label = sweep[:, np.arange(24), labeled.labels]
    assert np.log(of_label[-1]).mean() > np.log(of_label[0]).mean() + 0.3


def test_a_fixed_alpha_is_the_only_one_tried(labeled, unlabeled):
    model = fit(labeled)
    assert model.is_swept
    assert model.sweep_values() == [step / 10 for step in range(11)]
    sweep = model.predict_sweep(unlabeled)
    assert np.array_equal(model.predict_proba(unlabeled), sweep[5])  # half and half, where nothing chose
    model.settle(0.3)
    assert model.sweep_values() == [0.3]
    assert np.array_equal(model.predict_proba(unlabeled), sweep[3])


def test_kept_tensors_give_the_same_model_back(labeled, unlabeled):
    model = fit(labeled)
    restored = ClipFinetune(encoder=ENCODER, epochs=2).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_sweep(unlabeled), model.predict_sweep(unlabeled))


def test_the_same_seed_gives_the_same_model(labeled, unlabeled):
    first, second, third = (fit(labeled, seed=seed).predict_sweep(unlabeled)[-1] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_time_up_leaves_a_checkpoint_and_the_next_call_goes_on(labeled, unlabeled, tmp_path):
    models = [ClipFinetune(encoder=ENCODER, epochs=3, batch_size=8, lr=1e-3) for _ in range(2)]
    for model in models:
        assert model.resumes
        model.checkpoint_at(tmp_path / "checkpoint.pt")
    set_deadline(0)
    with pytest.raises(TimeIsUp):
        models[0].fit(labeled, unlabeled)
    set_deadline(None)
    resumed = models[1].fit(labeled, unlabeled).predict_sweep(unlabeled)
    assert np.array_equal(resumed, fit(labeled, epochs=3).predict_sweep(unlabeled))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("options", [{}, {"train": "both", "lora_rank": 2}, {"probe_first": True}], ids=str)
def test_half_precision_gives_finite_probabilities(labeled, unlabeled, precision, options):
    proba = fit(labeled, encoder=TRANSFORMER, precision=precision, **options).predict_sweep(unlabeled)
    assert np.isfinite(proba).all() and np.allclose(proba.sum(2), 1, atol=1e-5)


def test_a_network_without_words_is_refused(labeled):
    with pytest.raises(InputError, match="fine_tune trains timm"):
        fit(labeled, encoder="timm:test_resnet")


def test_an_alpha_out_of_bounds_is_refused(colours):
    competition = colours(f'[runs.clip]\nmodel = "clip_finetune"\nencoder = "{ENCODER}"\nalpha = 1.5')
    with pytest.raises(InputError, match="alpha"):
        build_model(competition, competition.run("clip"))


def test_the_callers_random_numbers_are_left_alone(labeled, unlabeled):
    before = torch.get_rng_state()
    model = fit(labeled)
    model.restore(model.tensors(), labeled.classes).predict_proba(unlabeled)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tower", TOWERS)
def test_with_both_towers_alpha_0_is_exactly_zero_shot_and_alpha_1_the_fine_tuned_pair(labeled, unlabeled, tower):
    encoder = f"open_clip:local-dir:{tower}"
    model = fit(labeled, encoder=encoder, train="both")
    pair = predict_network(model._network, unlabeled, model._preprocessing, model._device, model._precision)
    sweep = model.predict_sweep(unlabeled)
    zero_shot = fit(labeled, encoder=encoder, lr=0.0).predict_sweep(unlabeled)
    assert np.array_equal(sweep[0], zero_shot[0])
    assert np.allclose(sweep[-1], pair, atol=1e-6)
    assert not np.allclose(sweep[0], sweep[-1], atol=1e-3)


def test_the_words_of_a_blend_are_those_of_the_blended_text_tower(labeled, unlabeled):
    model = fit(labeled, train="both")
    sweep = model.predict_sweep(unlabeled)
    model._network.load_state_dict(interpolate(model._theta_0, model._theta_1, 0.5))
    blended = predict_network(model._network, unlabeled, model._preprocessing, model._device, model._precision)
    assert np.allclose(sweep[5], blended, atol=1e-6)
    text = [name for name in model._theta_0 if name.startswith("text.clip.transformer") and name.endswith("weight")]
    assert text and not any(torch.equal(model._theta_0[name], model._theta_1[name]) for name in text)
    assert torch.equal(model._theta_0["text.clip.logit_scale"], model._theta_1["text.clip.logit_scale"])


def test_both_towers_bring_images_closer_to_their_words(labeled):
    sweep = fit(labeled, encoder=TRANSFORMER, train="both", epochs=5).predict_sweep(labeled)
    of_label = sweep[:, np.arange(24), labeled.labels]
    assert np.log(of_label[-1]).mean() > np.log(of_label[0]).mean() + 0.3


def test_of_many_prompts_one_per_class_is_drawn_in_training_and_all_count_in_prediction(labeled, unlabeled):
    model = fit(labeled, train="both", prompts="many")
    text = model._network.text
    with torch.no_grad(), torch.random.fork_rng():
        text.train()
        seen = [text() for _ in range(2)]
        text.eval()
        whole = [text() for _ in range(2)]
    assert len(text.tokens) == 200
    assert seen[0].shape == whole[0].shape == (3, 24)
    assert not torch.equal(*seen) and torch.equal(*whole)
    assert np.array_equal(
        model.predict_sweep(unlabeled)[0], fit(labeled, prompts="many", lr=0.0).predict_sweep(unlabeled)[0]
    )


def test_with_a_probe_first_alpha_0_is_the_probe_and_training_goes_on_from_it(labeled, unlabeled):
    model = fit(labeled, encoder=TRANSFORMER, probe_first=True, lr=0.0)
    probe = LinearProbe(TRANSFORMER).fit(labeled, unlabeled)
    sweep = dict(zip(model.sweep_values(), model.predict_sweep(unlabeled), strict=True))
    for alpha in (0.0, 1.0):  # features of the probe are kept in float16
        assert np.allclose(sweep[alpha], probe.predict_proba(unlabeled), atol=5e-3)
    learned = fit(labeled, encoder=TRANSFORMER, probe_first=True)._theta_1
    assert not torch.equal(learned["head.weight"], model._theta_1["head.weight"])
    assert not torch.equal(learned["head.bias"], model._theta_1["head.bias"])


def test_without_a_step_the_model_is_the_probe_at_every_alpha(labeled, unlabeled):
    model = ClipFinetune(encoder=TRANSFORMER, steps=0).fit(labeled, unlabeled)
    probe = LinearProbe(TRANSFORMER).fit(labeled, unlabeled).predict_proba(unlabeled)
    assert model.record_ is None and model.sweep_values()[0] == model.sweep_default == 0.8
    assert np.allclose(model.predict_sweep(unlabeled), probe, atol=5e-3)


@pytest.mark.parametrize(("knows", "added"), [(True, True), (False, False)])
def test_words_join_the_probe_where_they_help_it(labeled, knows, added):
    draws = np.random.default_rng(0)
    values = np.eye(3)[labeled.labels] + draws.normal(0, 1.5, (len(labeled), 3))
    words = 5.0 * np.eye(3)[labeled.labels] if knows else draws.normal(0, 5, (len(labeled), 3))
    assert (weigh_words(values.astype(np.float32), words, labeled) > 0) == added


def test_on_digits_it_is_no_worse_than_the_probe_by_more_than_one_standard_error(digits):
    labeled, hidden, truth = digits
    none = labeled.take(np.arange(0))
    model = ClipFinetune(encoder=TINY_CLIP, prompts="crafted").fit(labeled, none)
    probe = LinearProbe(TINY_CLIP).fit(labeled, none)
    more = hits(truth, model.predict_proba(hidden)) - hits(truth, probe.predict_proba(hidden))
    assert more.mean() >= -more.std() / np.sqrt(len(more))


def test_adapted_weights_have_the_names_of_the_others_and_blend(labeled, unlabeled):
    model = fit(labeled, encoder=TRANSFORMER, train="both", lora_rank=2, lr=1e-2)
    assert model._theta_1.keys() == model._theta_0.keys()
    changed = {name for name, value in model._theta_1.items() if not torch.equal(value, model._theta_0[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "in_proj_weight"}
    assert {
        "tower.transformer.resblocks.0.attn.in_proj_weight",
        "text.clip.transformer.resblocks.0.mlp.c_fc.weight",
    } < changed
    sweep = model.predict_sweep(unlabeled)
    assert not np.allclose(sweep[0], sweep[5]) and not np.allclose(sweep[5], sweep[-1])


@pytest.mark.parametrize(
    "options",
    [
        {"train": "both", "prompts": "many", "accumulate": 2, "patience": 5},
        {"encoder": TRANSFORMER, "lora_rank": 2, "ema_decay": 0.9, "grad_checkpointing": True},
        {"probe_first": True, "frozen_epochs": 1, "layer_decay": 0.7},
    ],
    ids=lambda options: next(iter(options)),
)
def test_with_every_option_a_stopped_training_goes_on_to_the_same_weights(labeled, unlabeled, tmp_path, options):
    def make() -> ClipFinetune:
        model = ClipFinetune(**{"encoder": ENCODER, "epochs": 3, "batch_size": 8, "lr": 1e-3, **options})
        model.checkpoint_at(tmp_path / "checkpoint.pt")
        return model

    set_deadline(0)
    with pytest.raises(TimeIsUp):
        make().fit(labeled, unlabeled)
    set_deadline(None)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["epoch"] == 1
    resumed, whole = make().fit(labeled, unlabeled), fit(labeled, **{"epochs": 3, **options})
    assert all(torch.equal(value, whole._theta_1[name]) for name, value in resumed._theta_1.items())


@pytest.mark.parametrize("options", [{"train": "both"}, {"probe_first": True}, {"lora_rank": 2}], ids=str)
def test_kept_tensors_of_every_kind_give_the_same_model_back(labeled, unlabeled, options):
    model = fit(labeled, **options)
    restored = ClipFinetune(encoder=ENCODER, epochs=2, **options).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_sweep(unlabeled), model.predict_sweep(unlabeled))


def test_features_at_alpha_0_are_the_encoders_and_move_with_alpha(labeled, unlabeled):
    model = fit(labeled)
    values = [model.encode(unlabeled, alpha) for alpha in (0.0, 0.5, 1.0)]
    assert np.allclose(values[0], encode_images(unlabeled, ENCODER).values, atol=2e-3)  # kept in float16
    assert all(np.allclose(np.linalg.norm(value, axis=1), 1, atol=1e-5) for value in values)
    assert np.linalg.norm(values[2] - values[0]) > np.linalg.norm(values[1] - values[0]) > 0
    assert np.array_equal(model.encode(unlabeled, 0.0), values[0])


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_a_blend_outside_0_to_1_is_refused(labeled, unlabeled, alpha):
    with pytest.raises(InputError, match=r"alpha = .* must lie in 0\.\.1"):
        fit(labeled, epochs=1).encode(unlabeled, alpha)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "both", "train_head": True}, "drop train_head"),
        ({"train": "both", "probe_first": True}, "drop train_head and probe_first"),
        ({"frozen_epochs": 1, "epochs": 2}, "set train_head or probe_first"),
        ({"head_lr": 1e-3, "probe_first": False}, "set train_head or probe_first"),
        ({"lora_alpha": 8.0}, "need lora_rank"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ClipFinetune(encoder=ENCODER, **options)


@pytest.mark.parametrize(
    ("option", "message"),
    [('train = "text"', "train"), ("layer_decay = 0.0", "layer_decay"), ("accumulate = 0", "accumulate"),
     ("lora_rank = -1", "lora_rank"), ("lora_targets = [3]", "lora_targets")],
)  # fmt: skip
def test_options_out_of_bounds_are_refused(colours, option, message):
    competition = colours(f'[runs.clip]\nmodel = "clip_finetune"\nencoder = "{ENCODER}"\n{option}')
    with pytest.raises(InputError, match=message):
        build_model(competition, competition.run("clip"))


def test_a_tower_that_cannot_compute_activations_twice_is_refused(labeled):
    with pytest.raises(InputError, match="ModifiedResNet cannot compute activations twice; accumulate"):
        fit(labeled, grad_checkpointing=True)
