"""How long networks train, which layers learn, and that kept activations are those of the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from support.clips import TOWERS, write_clip
from support.pools import make_pool
from support.training import PREPROCESSING, QUICK, SIZE, counting, make_network, record_of, same, state, train
from torch import nn

from kit.core.errors import InputError
from kit.data.images import Images, Pool
from kit.models.heads.linear_probe import LinearProbe
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.networks.trained import LAST_LAYERS
from kit.models.training.fit import fit_network
from kit.models.training.kept import Cut, KeptViews
from kit.models.training.layers import freeze_layers
from kit.models.training.recipe import Recipe, recipe_of
from kit.models.training.split import Split, make_split

POOL = (60, SIZE, 30)
NETWORKS = ("test_vit", "test_efficientnet", "test_resnet", "test_convnext")


def steps_of(recipe: Recipe) -> list[int]:
    return [recipe.steps_in(epoch) or 0 for epoch in range(recipe.n_epochs)]


@pytest.mark.parametrize("n_steps", [1, 7, 30, 100, 307])
def test_steps_are_those_of_the_whole_training_in_equal_parts(n_steps):
    parts = steps_of(Recipe(epochs=12, steps=n_steps))
    assert sum(parts) == n_steps
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("frozen_epochs", [0, 2])
def test_so_many_steps_are_taken_however_many_images_there_are(labeled, frozen_epochs):
    for images in (labeled, labeled.take(np.arange(9))):
        calls: list[int] = []
        recipe = replace(QUICK, steps=13, frozen_epochs=frozen_epochs)
        network = make_network()
        fit_network(network, recipe, images, PREPROCESSING, head=network[-1], forward=counting(calls))
        assert sum(calls) == 13


def test_the_rate_falls_to_nothing_over_the_steps(labeled):
    record = record_of(labeled, labeled.take(np.arange(0)), replace(QUICK, steps=40, epochs=8))
    rates = [entry["lr"] for entry in record]
    assert len(rates) == 8 and rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.01 * max(rates)


def test_few_labels_get_more_steps_and_many_labels_their_epochs():
    model = ClipFinetune(encoder="open_clip:x")
    few, many = recipe_of(model, 90), recipe_of(model, 90_000)
    assert few.steps == ClipFinetune.least_steps and few.n_epochs == many.n_epochs == ClipFinetune.usual_epochs
    assert many.steps is None and many.steps_per_epoch is None


@pytest.mark.parametrize("written", [{"epochs": 4}, {"steps": 30}, {"epochs": 3, "steps_per_epoch": 5}], ids=str)
def test_what_is_written_holds(written):
    recipe = recipe_of(ClipFinetune(encoder="open_clip:x", **written), 90)
    assert {key: getattr(recipe, key) for key in written} == written
    assert "steps" in written or recipe.steps is None


def test_steps_of_the_whole_and_of_a_part_are_not_both_taken():
    with pytest.raises(InputError, match="use one of them"):
        Recipe(steps=10, steps_per_epoch=5)


def test_only_the_last_layers_learn_where_so_many_are_asked_for(labeled):
    network = timm.create_model("test_vit", num_classes=3)
    before = state(network)
    recipe = replace(QUICK, train_layers=1, epochs=1)
    fit_network(network, recipe, labeled, _preprocessing(network), head=network.head)
    moved = {name for name, value in state(network).items() if not torch.equal(value, before[name])}
    body = {name for name in before if name.startswith("blocks")}
    last = max(int(name.split(".")[1]) for name in body)
    assert any(name.startswith(f"blocks.{last}.") for name in moved)
    assert not any(name.startswith("blocks") and not name.startswith(f"blocks.{last}.") for name in moved)
    assert "patch_embed.proj.weight" not in moved


def _preprocessing(network: nn.Module):
    side = network.pretrained_cfg["input_size"][-1]
    return replace(PREPROCESSING, geometry=replace(PREPROCESSING.geometry, height=side, width=side))


def test_statistics_below_the_learning_layers_stay(labeled):
    network = timm.create_model("test_efficientnet", num_classes=3)
    before = state(network)
    recipe = replace(QUICK, train_layers=1, epochs=1)
    fit_network(network, recipe, labeled, _preprocessing(network), head=network.classifier)
    after = state(network)
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert not torch.equal(before["bn2.running_mean"], after["bn2.running_mean"])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_both_ways_through_a_cut_network_agree_and_all_that_learns_gets_its_gradient(name, n_layers):
    network = timm.create_model(name, num_classes=3).eval()
    head, size = network.get_classifier(), network.pretrained_cfg["input_size"]
    freeze_layers(network, head, n_layers)
    pixels = torch.randn(5, *size)
    split = Split(network, head, nn.Module.__call__, pixels[:2])
    gradients = []
    for way in (network, lambda each: split.upper(network, split.lower(network, each).detach())):
        network.zero_grad()
        logits = way(pixels)
        logits.square().sum().backward()
        gradients.append({key: each.grad.clone() for key, each in network.named_parameters() if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(value, gradients[1][key], atol=1e-4) for key, value in gradients[0].items())
    assert split.skipped  # and what lies below is not computed


def test_a_copy_of_the_network_is_cut_at_the_same_place():
    network = timm.create_model("test_vit", num_classes=3).eval()
    freeze_layers(network, network.head, 1)
    other = timm.create_model("test_vit", num_classes=3).eval()
    pixels = torch.randn(3, *network.pretrained_cfg["input_size"])
    split = Split(network, network.head, nn.Module.__call__, pixels)
    assert torch.allclose(split.upper(other, split.lower(other, pixels)), other(pixels), atol=1e-5)


class Bypass(nn.Module):
    """A network whose first layer also speaks to the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.first.requires_grad_(False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        values = self.first(pixels)
        return self.head((self.second(values.clone()) + values).mean((2, 3)))


def test_a_network_that_cannot_be_cut_is_noticed_and_left_whole(capfd):
    network = Bypass().train()
    assert make_split(network, network.head, nn.Module.__call__, torch.randn(2, 3, 8, 8)) is None
    assert "whole network: something passes by the cut" in capfd.readouterr().err
    assert network.training


def test_kept_views_begin_with_the_image_itself_and_are_as_many_as_fit(labeled, monkeypatch):
    network = timm.create_model("test_vit", num_classes=3).eval()
    freeze_layers(network, network.head, 1)
    preprocessing = _preprocessing(network)
    sample = torch.randn(2, *network.pretrained_cfg["input_size"])
    split = Split(network, network.head, nn.Module.__call__, sample)
    cut = Cut(split, network, preprocessing, "float32", "cpu", sample)
    views = KeptViews(labeled, cut, "light", False, 3, True, 0)
    assert views.values.shape[:2] == (30, 3)
    plain = KeptViews(labeled, cut, "none", False, 1, True, 0)
    assert torch.equal(views.values[:, 0], plain.values[:, 0])
    assert not torch.equal(views.values[:, 0], views.values[:, 1])
    drawn = plain.draw(labeled.rows[[4, 2]], torch.Generator().manual_seed(0))
    assert torch.equal(drawn, plain.values[[4, 2], 0].float())
    monkeypatch.setattr("kit.models.training.kept.MAX_BYTES", 2 * cut.bytes_per_view * len(labeled))
    assert KeptViews(labeled, cut, "light", False, 3, True, 0).values.shape[1] == 2


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("clips")
    for name, vision in TOWERS.items():
        write_clip(folder / name, vision)
    return make_pool(folder, 36, 32, n_labeled=24)


def images_of(pool: Pool) -> tuple[Images, Images]:
    from support.pools import labels_of

    rows = np.flatnonzero(pool.splits == "labeled")
    return pool.select(rows, labels_of(rows)), pool.select(np.flatnonzero(pool.splits == "unlabeled"))


@pytest.mark.parametrize("tower", TOWERS)
def test_by_default_a_clip_starts_at_the_probe_and_trains_its_last_layers(clips, tower):
    labeled, unlabeled = images_of(clips)
    encoder = f"open_clip:local-dir:{tower}"
    untrained = ClipFinetune(encoder=encoder, lr=0.0, head_lr=0.0, batch_size=2).fit(labeled, unlabeled)
    probe = LinearProbe(encoder).fit(labeled, unlabeled)
    assert np.allclose(untrained.predict_sweep(unlabeled)[-1], probe.predict_proba(unlabeled), atol=5e-3)
    model = ClipFinetune(encoder=encoder, batch_size=8).fit(labeled, unlabeled)
    moved = {name for name, value in model._theta_1.items() if not torch.equal(value, model._theta_0[name])}
    assert len(model.record_) == ClipFinetune.usual_epochs
    assert 2 < len(moved) < len(model._theta_1)
    assert not any("conv1.weight" in name and "layer" not in name for name in moved)  # the stem


def test_a_written_length_trains_the_whole_network_from_the_words_as_before(clips):
    labeled, unlabeled = images_of(clips)
    model = ClipFinetune(encoder="open_clip:local-dir:transformer", epochs=1, lr=1e-3).fit(labeled, unlabeled)
    assert "head.bias" not in model._theta_1
    assert not torch.equal(model._theta_1["tower.conv1.weight"], model._theta_0["tower.conv1.weight"])


def test_few_labels_train_the_last_layers_and_many_labels_all(clips, monkeypatch):
    labeled, _ = images_of(clips)
    model = ClipFinetune(encoder="open_clip:local-dir:transformer")
    model._build(clips)
    assert model._settle_recipe(labeled).train_layers == LAST_LAYERS
    monkeypatch.setattr("kit.models.networks.trained.FEW_IMAGES", len(labeled))
    assert model._settle_recipe(labeled).train_layers == "all"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_layers": 1, "lora_rank": 2}, "drop train_layers"),
        ({"train_layers": 1, "pretrained": False}, "need pretrained = true"),
    ],
    ids=str,
)
def test_layers_that_cannot_be_left_out_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FineTune(encoder="timm:test_vit", **options)


def test_views_that_are_kept_teach_as_those_drawn_anew(labeled):
    """With images that are not varied, a kept view is the image: training is the same but for half precision."""
    ends = []
    for n_views in (0, 2):
        torch.manual_seed(0)
        network = timm.create_model("test_vit", num_classes=3)
        recipe = replace(QUICK, train_layers=1, views=n_views, lr=1e-3)
        fit_network(network, recipe, labeled, _preprocessing(network), head=network.head, seed=3)
        ends.append(state(network))
    assert all(torch.allclose(value, ends[1][name], atol=2e-2) for name, value in ends[0].items())


def test_all_layers_are_all_layers(labeled):
    assert same(train(labeled, replace(QUICK, train_layers="all")), train(labeled, QUICK))
