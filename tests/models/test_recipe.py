"""The recipe: one definition of the keys that trained models share."""

from __future__ import annotations

from dataclasses import fields

import pytest

from kit.core.errors import InputError
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.training.recipe import Recipe, recipe_of
from kit.runs.store.build import build_model


@pytest.mark.parametrize("model", [FineTune, ClipFinetune])
def test_every_key_of_the_recipe_reaches_training(model):
    instance = model(
        encoder="timm:test_vit", epochs=7, lr=1e-3, accumulate=3, layer_decay=0.7, lora_rank=2, lora_targets=["qkv"]
    )
    recipe = recipe_of(instance, 90)
    assert type(recipe) is Recipe
    assert all(getattr(recipe, key.name) == getattr(instance, key.name) for key in fields(Recipe))


@pytest.mark.parametrize("key", ["lora_alpha = 8.0", 'lora_targets = ["qkv"]'])
def test_how_to_adapt_without_a_rank_is_refused(colours, key):
    competition = colours(f'[runs.net]\nmodel = "fine_tune"\nencoder = "timm:test_vit"\n{key}')
    with pytest.raises(InputError, match="need lora_rank"):
        build_model(competition, competition.run("net"))


def test_a_whole_recipe_is_read_from_toml(colours):
    keys = (
        'lora_rank = 4\nlora_alpha = 8.0\nlora_targets = ["attn"]\nlayer_decay = 0.75\naccumulate = 2\nhead_lr = 1e-3'
    )
    competition = colours(f'[runs.net]\nmodel = "fine_tune"\nencoder = "timm:test_vit"\n{keys}')
    recipe = recipe_of(build_model(competition, competition.run("net")), 90)
    assert (recipe.lora_rank, recipe.lora_alpha, recipe.lora_targets) == (4, 8.0, ["attn"])
    assert (recipe.layer_decay, recipe.accumulate, recipe.head_lr) == (0.75, 2, 1e-3)
