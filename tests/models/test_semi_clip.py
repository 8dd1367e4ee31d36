"""SWIFT and FineSSL: their formulas, the rules of the temperatures, and a CLIP that uses its pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from support.clips import TOWERS, write_clip
from support.pools import labels_of, make_pool
from support.training import METHODS, QUICK, SIZE, make_network, record_of
from torch import nn
from torch.nn import functional

from kit.core.errors import InputError
from kit.data.images import Images, Pool
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.training.finessl import FineSSL, make_method
from kit.models.training.loss import cross_entropy
from kit.models.training.probe import START_SHARE, calibrate_probe, fit_probe, passing_temperature
from kit.models.training.recipe import Semi
from kit.models.training.semi import Matching

POOL = (60, SIZE, 30)
EVEN = torch.full((4,), 0.25)
LOGITS = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (40, 4))).float()


def make_finessl(**keys: Any) -> tuple[FineSSL, nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(5, 4)
    method = make_method(Semi(semi="finessl", **keys), EVEN, head=head, scale=2.0)
    assert isinstance(method, FineSSL)
    return method, head


def test_swift_at_temperatures_of_one_is_fixmatch():
    swift = Matching(Semi(semi="swift", loss_temperature=1, confidence_temperature=1, threshold=0.5, align=False), EVEN)
    fixmatch = Matching(Semi(semi="fixmatch", threshold=0.5), EVEN)
    targets = [method.teach(LOGITS, 0.0) for method in (swift, fixmatch)]
    assert torch.equal(*targets)
    assert torch.equal(*[method.loss(LOGITS, targets[0]) for method in (swift, fixmatch)])


def test_swift_divides_by_one_temperature_in_the_losses_and_by_the_other_for_confidence():
    keys = {"loss_temperature": 0.5, "confidence_temperature": 0.1, "threshold": 0.9, "align": False}
    method = Matching(Semi(semi="swift", **keys), EVEN)
    targets = method.teach(LOGITS, 0.0)
    passes = softmax(LOGITS.numpy() / 0.1, axis=1).max(axis=1) > 0.9
    assert np.array_equal(targets.sum(1).numpy() > 0, passes) and passes.mean() > 0.5
    expected = -(targets.numpy() * log_softmax(LOGITS.numpy() / 0.5, axis=1)).sum()
    assert float(method.loss(LOGITS, targets)) == pytest.approx(expected, rel=1e-5)
    assert float(method.label_loss(cross_entropy)(LOGITS, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_at_the_passing_temperature_so_many_images_pass(share):
    logits = np.random.default_rng(1).normal(0, 0.05, (400, 6))  # flat, as a CLIP's cosines
    assert (softmax(logits, axis=1).max(axis=1) > 0.8).mean() == 0
    temperature = passing_temperature(logits, 0.8, share)
    assert (softmax(logits / temperature, axis=1).max(axis=1) > 0.8).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("spread", [0.2, 1.5])
def test_a_probe_that_says_too_little_of_what_it_knows_is_sharpened(labeled, spread):
    draws = np.random.default_rng(2)
    values = np.eye(3)[labeled.labels] + draws.normal(0, spread, (len(labeled), 3))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    temperature = calibrate_probe(values, labeled, strength=0.3)
    assert (temperature < 0.5) == (spread == 0.2)


def test_a_probe_of_one_image_per_class_is_left_as_it_is(labeled):
    few = labeled.take(np.unique(labeled.labels, return_index=True)[1])
    assert calibrate_probe(np.eye(3, dtype=np.float32)[few.labels], few) == 1.0


def test_a_class_with_a_single_image_does_not_blur_the_others(labeled):
    values = np.eye(3, dtype=np.float32)[labeled.labels]
    kept = np.flatnonzero((labeled.labels != 2) | (np.arange(len(labeled)) == np.flatnonzero(labeled.labels == 2)[0]))
    assert calibrate_probe(values[kept], labeled.take(kept)) < 0.5


def test_margins_agree_with_the_paper_in_numpy_and_vanish_where_all_classes_are_named_alike():
    method, _ = make_finessl(margin=8.0)
    assert torch.equal(method.margins(), torch.zeros(4))
    pace = np.array([1.0, 0.5, 0.2, 0.0])
    method.pace.copy_(torch.from_numpy(pace))
    expected = 8.0 * (pace.max() - pace.min()) * (1 - pace) / (1 + pace)
    assert method.margins().numpy() == pytest.approx(expected, abs=1e-6)
    codes = torch.arange(4)
    wanted = functional.one_hot(codes, 4).float()
    raised = LOGITS[:4].numpy() + expected[:, None] * (1 - np.eye(4))  # the margin on all classes but the own
    loss = -log_softmax(raised, axis=1)[codes, codes].sum()
    assert float(method._with_margins(LOGITS[:4], wanted)) == pytest.approx(loss, rel=1e-5)


def test_the_class_that_is_seldom_named_gets_the_largest_margin():
    method, head = make_finessl(threshold=0.5, momentum=0.5)
    logits = 9 * functional.one_hot(torch.tensor([0] * 12 + [1] * 6 + [2] * 2), 4).float()
    for _ in range(8):
        with method.watch():
            head(torch.zeros(20, 5))
            method.teach(logits, 0.0)
    assert method.margins().tolist() == sorted(method.margins().tolist())
    assert method.margins()[0] == 0 < method.margins()[3]


def test_every_unlabeled_image_teaches_as_much_as_the_second_head_trusts_it():
    method, head = make_finessl(threshold=0.7, smoothing=0.3)
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    with method.watch():
        head(features)
        targets = method.teach(3 * LOGITS, 0.0)
    named, smoothed = (part.numpy() for part in targets.chunk(2, dim=1))
    proba = softmax(3 * LOGITS.numpy(), axis=1)
    trust = softmax(2.0 * (features @ head.weight.T + head.bias).detach().numpy(), axis=1).max(axis=1)
    assert named == pytest.approx(np.eye(4)[proba.argmax(1)] * trust[:, None], abs=1e-5)
    is_sure = proba.max(axis=1) >= 0.7
    assert smoothed.sum(axis=1) == pytest.approx(is_sure.astype(float), abs=1e-6)
    assert smoothed[is_sure].max(axis=1) == pytest.approx(0.7) and smoothed[is_sure].min(axis=1) == pytest.approx(0.1)


def test_finessl_reads_logits_at_its_temperature_in_confidence_and_losses():
    sharp, plain = (make_finessl(threshold=0.7, loss_temperature=each)[0] for each in (0.5, 1.0))
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    taught = []
    for method, logits in ((sharp, LOGITS), (plain, 2 * LOGITS)):
        with method.watch():
            method._head[0](features)
            taught.append(method.teach(logits, 0.0))
    named = [targets.chunk(2, dim=1) for targets in taught]
    assert torch.equal(named[0][1], named[1][1])  # as many are sure as of logits twice as large
    assert torch.allclose(sharp._with_margins(LOGITS, named[0][1]), plain._with_margins(2 * LOGITS, named[0][1]))
    assert torch.allclose(sharp._judge(features), 2 * plain._judge(features))


def test_the_second_head_changes_neither_the_features_nor_the_first():
    method, head = make_finessl(unlabeled_weight=0.0)
    features = torch.randn(6, 5, requires_grad=True)
    wanted = torch.full((6, 8), 0.25)
    with method.watch():
        method.loss(head(features), wanted).backward()
    assert not features.grad.any() and not head.weight.grad.any()
    assert method.auxiliary.weight.grad.any()


def test_two_heads_or_none_are_refused():
    for head in (None, nn.ModuleList([nn.Linear(5, 4), nn.Linear(5, 4)])):
        with pytest.raises(InputError, match="several heads"):
            make_method(Semi(semi="finessl"), EVEN, head=head)


def test_the_second_head_learns_and_is_in_the_checkpoint(labeled, unlabeled, tmp_path):
    network, file = make_network(), tmp_path / "checkpoint.pt"
    from kit.models.training import loop

    recipe = replace(QUICK, **METHODS["finessl"])
    from support.training import PREPROCESSING

    run = loop.Loop(
        network, recipe, labeled, unlabeled, PREPROCESSING, network[-1], nn.Module.__call__, 0, "cpu", "float32"
    )
    before = run.method.auxiliary.weight.clone()
    run.run(None, "")
    run._save(file, "")
    saved = torch.load(file, weights_only=True)["method"]
    assert torch.equal(saved["auxiliary.weight"], run.method.auxiliary.weight)
    assert not torch.equal(saved["auxiliary.weight"], before)
    assert "margins" in record_of(labeled, unlabeled, recipe)[-1]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "transformer", TOWERS["transformer"])
    return make_pool(folder, 60, 32, n_labeled=18)


def split_of(pool: Pool) -> tuple[Images, Images]:
    rows = np.flatnonzero(pool.splits == "labeled")
    return pool.select(rows, labels_of(rows)), pool.select(np.flatnonzero(pool.splits == "unlabeled"))


def test_a_clip_uses_half_of_its_pool_by_the_end(clips):
    labeled, unlabeled = split_of(clips)
    options = {"steps": 40, "batch_size": 8, "views": 2, "lr": 1e-3}
    model = ClipFinetune(encoder="open_clip:local-dir:transformer", semi="finessl", **options).fit(labeled, unlabeled)
    assert model.record_[-1]["mask_rate"] >= 0.5
    sure = model.predict_proba(unlabeled).argmax(1)
    assert (sure == labels_of(unlabeled.rows)).mean() > 0.8


def test_the_temperatures_follow_from_the_probe_and_the_pool(clips):
    labeled, unlabeled = split_of(clips)
    model = ClipFinetune(encoder="open_clip:local-dir:transformer", semi="swift")
    model._build(clips)
    values = model._features(labeled)
    recipe = model._settle_temperatures(model._settle_recipe(labeled), labeled, unlabeled, values)
    coefficients, intercepts = fit_probe(values, labeled)
    logits = model._features(unlabeled) @ coefficients.T + intercepts
    confidence = softmax(logits / recipe.confidence_temperature, axis=1).max(axis=1)
    assert (confidence > 0.8).mean() == pytest.approx(START_SHARE, abs=0.03)
    assert recipe.loss_temperature == calibrate_probe(values, labeled)
    given = replace(recipe, loss_temperature=0.3, confidence_temperature=0.2)
    assert model._settle_temperatures(given, labeled, unlabeled, values) == given


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (ClipFinetune, {"semi": "swift", "probe_first": False}, "starts at a probe"),
        (ClipFinetune, {"semi": "swift", "train": "both"}, "starts at a probe"),
        (ClipFinetune, {"semi": "finessl", "train": "both"}, "drop train_layers and semi"),
        (ClipFinetune, {"semi": "finessl", "align": True}, 'semi = "finessl" does not read align'),
        (FineTune, {"semi": "fixmatch", "loss_temperature": 0.1}, "it is read by swift"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(model, options, message):
    with pytest.raises(InputError, match=message):
        model(encoder="open_clip:x", **options)


def test_a_network_without_a_probe_cannot_be_swift(labeled, unlabeled):
    model = FineTune(encoder="timm:test_vit", pretrained=False, image_size=32, epochs=1, semi="swift")
    with pytest.raises(InputError, match="starts at a probe"):
        model.fit(labeled, unlabeled)
