"""Features: cached with a note of their preprocessing, finite at every precision, of unit length."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.clips import FILE, RESNET, TINY_CLIP, VIT, make_clip
from support.pools import make_pool

from kit.core.deadline import set_deadline
from kit.core.errors import InputError, TimeIsUp
from kit.data.images import Pool
from kit.features import cache as features
from kit.features import encoding
from kit.features.cache import encode_images, has_features, image_features
from kit.features.encoders import load_encoder
from kit.features.weights import parse_encoder
from kit.models.training.batches import predict_network
from kit.models.training.clip import ClipClassifier


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path / "pool", n_images=6)


@pytest.fixture
def in_half(monkeypatch):
    monkeypatch.setattr("kit.features.device.choose_precision", lambda spec, device: "float16")


def everything(pool):
    return pool.select(np.arange(len(pool)))


def notes(pool) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((pool.cache / "features").glob("*.json"))]


def enlarge(folder, factor: float) -> None:
    """Make the image tower's projection so large that half precision cannot hold what it gives."""
    tensors = load_file(folder / FILE)
    tensors["visual.proj"] *= factor
    save_file(tensors, folder / FILE)


def embed(pool: Pool, missing: tuple[int, ...] = ()) -> Pool:
    values = np.random.default_rng(0).normal(size=(len(pool), 5)).astype(np.float32)
    values[list(missing)] = np.nan
    return replace(pool, embeddings=values)


def test_the_hash_of_the_preprocessing_lies_beside_the_features(pool, tmp_path):
    clip = make_clip(tmp_path / "clip")
    encode_images(everything(pool), clip)
    (note,) = notes(pool)
    assert note["encoder"] == clip
    assert note["preprocessing"] == load_encoder(parse_encoder(clip)).preprocessing.key


def test_features_of_another_preprocessing_are_made_anew_and_it_is_said(pool, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip")
    before = encode_images(everything(pool), clip).values
    (file,) = (pool.cache / "features").glob("*.npy")
    np.save(file, np.zeros_like(np.load(file)))
    note = file.with_suffix(".json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "preprocessing": "another"}))
    again = encode_images(everything(pool), clip).values
    assert np.array_equal(again, before)
    assert "another preprocessing than it has now" in capsys.readouterr().err
    encode_images(everything(pool), clip)
    assert capsys.readouterr().err == ""


def test_re_using_features_builds_no_network(pool, tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip")
    encode_images(everything(pool), clip)
    monkeypatch.delattr("safetensors.torch.load_file")
    assert has_features(pool, clip) and len(encode_images(everything(pool), clip).values) == 6


def test_a_forced_preprocessing_gives_features_of_its_own(pool, tmp_path):
    clip = make_clip(tmp_path / "clip")
    args = {"force_preprocess_cfg": {"mean": [0, 0, 0]}}
    plain, forced = encode_images(everything(pool), clip), encode_images(everything(pool), clip, args)
    assert plain.key != forced.key and not np.allclose(plain.values, forced.values, atol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("tower", [VIT, RESNET], ids=["vit", "resnet"])
def test_half_precision_gives_finite_features_of_unit_length_near_float32s(
    pool, tmp_path, monkeypatch, precision, tower
):
    clip = make_clip(tmp_path / "clip", tower)
    exact = encode_images(everything(pool), clip).values
    monkeypatch.setattr("kit.features.device.choose_precision", lambda spec, device: precision)
    rounded = encode_images(everything(pool), clip).values
    assert [note["precision"] for note in notes(pool)].count(precision) == 1
    assert np.linalg.norm(rounded, axis=1) == pytest.approx(np.ones(6), abs=2e-3)
    assert (exact * rounded).sum(axis=1).min() > 0.99


@pytest.mark.usefixtures("in_half")
def test_an_encoder_that_overflows_in_half_precision_falls_back_to_float32_said_once(pool, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip")
    expected = encode_images(everything(pool), clip).values
    enlarge(tmp_path / "clip", 1e6)
    values = encode_images(everything(pool), clip).values
    assert values == pytest.approx(expected, abs=5e-3)  # a factor does not turn them
    message = capsys.readouterr().err
    assert f"{clip} gives features that are not finite in float16 (images 0000, 0001" in message
    assert "computed in float32" in message
    assert np.array_equal(encode_images(everything(pool), clip).values, values)
    assert capsys.readouterr().err == ""
    assert not list((pool.cache / "features").glob("*.part"))


def test_features_that_are_not_finite_in_float32_are_refused_by_encoder_and_image(pool, tmp_path):
    clip = make_clip(tmp_path / "clip")
    enlarge(tmp_path / "clip", float("nan"))
    with pytest.raises(InputError, match=r"encoder 'open_clip:local-dir:.*clip' gives .*not finite.*0000, 0001"):
        encode_images(everything(pool), clip)
    assert not list((pool.cache / "features").glob("*.npy"))


def test_encoding_and_predicting_run_without_gradients_but_not_in_inference_mode(pool, tmp_path):
    """On CPUs inference_mode with autocast is 3 to 10 times slower than no_grad."""
    seen = set()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: seen.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    )
    try:
        clip = make_clip(tmp_path / "clip")
        encode_images(everything(pool), clip)
        encoder = load_encoder(parse_encoder(clip))
        encoder.encode_text(["a dog"])
        predict_network(encoder.image_tower, everything(pool), encoder.preprocessing, "cpu", "float32")
    finally:
        hook.remove()
    assert seen == {(False, False)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_at_a_scale_of_100_stay_finite_in_half_precision(dtype):
    """Features of 60,000 have a length that float16 cannot hold."""
    pixels = torch.full((2, 8), 6e4).to(dtype)
    classifier = ClipClassifier(torch.nn.Identity(), torch.nn.Linear(8, 3, bias=False), logit_scale=100.0)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        logits = classifier(pixels)
    assert logits.dtype == torch.float32 and torch.isfinite(logits).all()


def test_features_are_cached_unit_length_and_follow_the_rows(prepared):
    everything = prepared.pool.select(np.arange(len(prepared.pool)))
    values = encode_images(everything, TINY_CLIP).values
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(len(values)), abs=2e-3)
    files = list((prepared.pool.cache / "features").glob("*.npy"))
    assert len(files) == 1
    rows = np.array([5, 1, 5, 0])
    assert (encode_images(prepared.pool.select(rows), TINY_CLIP).values == values[rows]).all()


def test_pixel_features_do_not_depend_on_which_images_are_asked_for(half_grey, monkeypatch):
    everything = image_features(half_grey.select(np.arange(20)), None, {}, 8)
    monkeypatch.setattr(features, "BLOCK", 3)
    monkeypatch.setattr(encoding, "BLOCK", 3)
    rows = np.array([5, 19, 2, 5, 0, 7, 13])
    assert (image_features(half_grey.select(rows), None, {}, 8) == everything[rows]).all()
    assert image_features(half_grey.select(rows[:0]), None, {}, 8).shape == (0, everything.shape[1])


def test_pixel_features_are_pixels_and_histograms_in_single_precision(half_grey):
    values = image_features(half_grey.select(np.arange(20)), None, {}, 8)
    assert values.dtype == np.float32 and values.shape == (20, 3 * 64 + 3 * 8)
    pixels, histograms = values[:, :192], values[:, 192:].reshape(20, 8, 3)
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert histograms.sum(axis=1) == pytest.approx(np.ones((20, 3)))


def test_given_embeddings_are_brought_to_unit_length(half_grey):
    pool = embed(half_grey)
    values = encode_images(pool.select(np.array([4, 1])), "given").values
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(2))
    assert values[0] == pytest.approx(pool.embeddings[4] / np.linalg.norm(pool.embeddings[4]))


def test_an_image_without_an_embedding_is_refused_by_name(half_grey):
    pool = embed(half_grey, missing=(3, 7))
    with pytest.raises(InputError, match=r"no row for 2 of 20 images: .*03.*07"):
        encode_images(pool.select(np.arange(20)), "given")
    assert np.isfinite(encode_images(pool.select(np.arange(3)), "given").values).all()


def test_the_time_limit_stops_encoding_between_blocks_and_a_later_call_goes_on(prepared, monkeypatch):
    everything = prepared.pool.select(np.arange(len(prepared.pool)))  # 39 images
    monkeypatch.setattr(features, "BLOCK", 20)
    monkeypatch.setattr(encoding, "BLOCK", 20)
    set_deadline(0)
    try:
        with pytest.raises(TimeIsUp):
            encode_images(everything, TINY_CLIP)
        values = encode_images(everything, TINY_CLIP).values
    finally:
        set_deadline(None)
    assert np.linalg.norm(values, axis=1) == pytest.approx(np.ones(39), abs=2e-3)
