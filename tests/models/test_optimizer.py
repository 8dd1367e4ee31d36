"""Learning rates, weight decay and the optimizers themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from support.training import QUICK, make_network
from torch import nn

from kit.core.errors import InputError
from kit.models.training.optimizer import make_optimizer, make_schedule
from kit.models.training.recipe import Recipe


def test_l2_of_the_head_is_its_own():
    network = timm.create_model("test_efficientnet", num_classes=3)
    recipe = Recipe(optimizer="adam", weight_decay=0.0, head_weight_decay=0.02)
    groups = make_optimizer(network, network.classifier, recipe).param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decays[id(network.classifier.weight)] == 0.02
    assert {value for key, value in decays.items() if key != id(network.classifier.weight)} == {0.0}


@pytest.mark.parametrize(("optimizer", "coupled"), [("sgd", True), ("adam", True), ("adamw", False)])
def test_weight_decay_is_l2_in_the_loss_with_adam_and_sgd_and_decoupled_with_adamw(optimizer, coupled):
    """Of a loss that does not depend on the weight, Keras' l2(x) has the gradient 2 x w: weight_decay = 2 x."""
    layer = nn.Linear(4, 4, bias=False)
    before = layer.weight.detach().clone()
    steps = make_optimizer(layer, None, Recipe(optimizer=optimizer, lr=0.1, weight_decay=0.5))
    layer.weight.grad = torch.zeros_like(layer.weight)
    steps.step()
    shrunk = torch.allclose(layer.weight, before * (1 - 0.1 * 0.5))
    plain = nn.Linear(4, 4, bias=False)
    plain.weight.data.copy_(before)
    free = make_optimizer(plain, None, Recipe(optimizer=optimizer, lr=0.1, weight_decay=0.0))
    (0.25 * plain.weight.square().sum()).backward()  # l2(0.25)
    free.step()
    assert torch.allclose(layer.weight, plain.weight, atol=1e-6) == coupled
    assert shrunk or coupled


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 100])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_schedule_is_counted_in_steps_and_ends_at_zero(steps_per_epoch, frozen):
    """Stepping per epoch with a horizon in steps would leave the learning rate near its top."""
    recipe = Recipe(epochs=15, frozen_epochs=5, lr=0.1, head_lr=0.4)
    network = make_network()
    optimizer = make_optimizer(network, network[-1], recipe)
    n_steps = steps_per_epoch * (5 if frozen else 10)
    schedule = make_schedule(optimizer, recipe.warmup_share, n_steps)
    rates = []
    for step in range(1, n_steps + 1):
        schedule.step_update(step)
        rates.append([group["lr"] for group in optimizer.param_groups])
    rates = np.array(rates)
    top = rates.argmax(axis=0)[0]
    assert sorted(set(rates.max(axis=0))) == pytest.approx([0.1, 0.4], rel=0.07)
    assert (rates[0] > 0).all() and (np.diff(rates[top:], axis=0) < 0).all()
    assert top <= max(1, 0.1 * len(rates))
    assert (rates[-1] < (0.1 if steps_per_epoch == 1 else 0.01) * rates.max(axis=0)).all()


def test_norms_and_biases_do_not_decay():
    network = make_network()
    optimizer = make_optimizer(network, network[-1], QUICK)
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]]
    assert {id(p) for p in decayed} == {id(network[0].weight), id(network[-1].weight)}


def test_an_unknown_optimizer_is_refused_by_name():
    with pytest.raises(InputError, match=r"'adamm'.*adam"):
        make_optimizer(make_network(), None, replace(QUICK, optimizer="adamm"))
