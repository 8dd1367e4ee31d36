"""WiSE-FT: what lies at alpha 0 and 1, what stays fixed, and that blends stay loadable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from pools import labels_of, make_pool
from safetensors.numpy import load, save
from safetensors.torch import save_file

from kit.deadline import set_deadline
from kit.errors import InputError, TimeIsUp
from kit.images import Images, Pool
from kit.models import Resumable, Swept, build_model
from kit.models.clip_finetune import ClipFinetune, interpolate
from kit.models.zero_shot import ZeroShot
from kit.training.batches import predict_network

TOWERS = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
    "transformer": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
}
ENCODER = "open_clip:local-dir:resnet"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Spare tiny networks the waiting of threads for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    set_deadline(None)


def write_clip(folder: Path, vision: dict[str, Any]) -> None:
    """Write a tiny CLIP with random weights in open_clip's local-dir form."""
    folder.mkdir()
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    for name, vision in TOWERS.items():
        write_clip(folder / name, vision)
    return make_pool(folder, 36, 32, n_labeled=24)


@pytest.fixture
def labeled(pool: Pool) -> Images:
    return pool.select(np.arange(24), labels_of(np.arange(24)))


@pytest.fixture
def others(pool: Pool) -> Images:
    return pool.select(np.arange(24, 36))


def fit(labeled: Images, **options: Any) -> ClipFinetune:
    model = ClipFinetune(**{"encoder": ENCODER, "epochs": 2, "batch_size": 8, "lr": 1e-3, **options})
    return model.fit(labeled, labeled.take(np.arange(0)))


@pytest.mark.parametrize("tower", TOWERS)
def test_alpha_0_is_zero_shot_and_alpha_1_the_fine_tuned_model(labeled, others, tower):
    encoder = f"open_clip:local-dir:{tower}"
    model, untouched = fit(labeled, encoder=encoder), fit(labeled, encoder=encoder, lr=0.0)
    fine_tuned = predict_network(
        model._network, others, model._preprocessing, model._device, model._precision, model._forward
    )
    sweep = model.predict_sweep(others)
    assert np.array_equal(sweep[0], untouched.predict_sweep(others)[-1])
    assert np.allclose(sweep[0], ZeroShot(encoder).predict_proba(others), atol=2e-3)  # features are kept in float16
    assert np.array_equal(sweep[-1], fine_tuned)
    assert not np.allclose(sweep[0], sweep[-1], atol=1e-3)


def test_interpolation_is_exact_at_its_ends_and_linear_between():
    draws = torch.Generator().manual_seed(0)
    theta_0, theta_1 = ({"w": torch.randn(50, generator=draws), "n": torch.tensor(n)} for n in (3, 8))
    assert torch.equal(interpolate(theta_0, theta_1, 0.0)["w"], theta_0["w"])
    assert torch.equal(interpolate(theta_0, theta_1, 1.0)["w"], theta_1["w"])
    assert torch.allclose(interpolate(theta_0, theta_1, 0.25)["w"], 0.75 * theta_0["w"] + 0.25 * theta_1["w"])


def test_whole_number_buffers_survive_interpolation(labeled, others):
    model = fit(labeled, freeze_batch_norm=False)
    blend = interpolate(model._theta_0, model._theta_1, 0.5)
    counts = [name for name in blend if name.endswith("num_batches_tracked")]
    assert counts and all(blend[name].dtype == torch.int64 for name in counts)
    assert all(torch.equal(blend[name], model._theta_1[name]) for name in counts)
    assert all(model._theta_0[name] < model._theta_1[name] for name in counts)
    assert np.isfinite(model.predict_sweep(others)).all()


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
    sweep = fit(labeled, encoder="open_clip:local-dir:transformer", epochs=5).predict_sweep(labeled)
    of_label = sweep[:, np.arange(24), labeled.labels]
    assert np.log(of_label[-1]).mean() > np.log(of_label[0]).mean() + 0.3


def test_a_fixed_alpha_is_the_only_one_tried(labeled, others):
    model = fit(labeled)
    assert isinstance(model, Swept)
    assert model.sweep_values() == [step / 10 for step in range(11)]
    sweep = model.predict_sweep(others)
    assert np.array_equal(model.predict_proba(others), sweep[5])  # half and half, where nothing chose
    model.settle(0.3)
    assert model.sweep_values() == [0.3]
    assert np.array_equal(model.predict_proba(others), sweep[3])


def test_kept_tensors_give_the_same_model_back(labeled, others):
    model = fit(labeled)
    restored = ClipFinetune(encoder=ENCODER).restore(load(save(model.tensors())), labeled.classes)
    assert np.array_equal(restored.predict_sweep(others), model.predict_sweep(others))


def test_the_same_seed_gives_the_same_model(labeled, others):
    first, second, third = (fit(labeled, seed=seed).predict_sweep(others)[-1] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_time_up_leaves_a_checkpoint_and_the_next_call_goes_on(labeled, others, tmp_path):
    models = [ClipFinetune(ENCODER, epochs=3, batch_size=8, lr=1e-3) for _ in range(2)]
    for model in models:
        assert isinstance(model, Resumable)
        model.checkpoint_at(tmp_path / "checkpoint.pt")
    set_deadline(0)
    with pytest.raises(TimeIsUp):
        models[0].fit(labeled, others)
    set_deadline(None)
    resumed = models[1].fit(labeled, others).predict_sweep(others)
    assert np.array_equal(resumed, fit(labeled, epochs=3).predict_sweep(others))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_finite_probabilities(labeled, others, precision):
    proba = fit(labeled, precision=precision).predict_sweep(others)
    assert np.isfinite(proba).all() and np.allclose(proba.sum(2), 1, atol=1e-5)


def test_a_network_without_words_is_refused(labeled):
    with pytest.raises(InputError, match="fine_tune trains timm"):
        fit(labeled, encoder="timm:test_resnet")


def test_an_alpha_out_of_bounds_is_refused(colours):
    competition = colours(f'[runs.clip]\nmodel = "clip_finetune"\nencoder = "{ENCODER}"\nalpha = 1.5')
    with pytest.raises(InputError, match="alpha"):
        build_model(competition, competition.run("clip"))


def test_the_callers_random_numbers_are_left_alone(labeled, others):
    before = torch.get_rng_state()
    model = fit(labeled)
    model.restore(model.tensors(), labeled.classes).predict_proba(others)
    assert torch.equal(torch.get_rng_state(), before)
