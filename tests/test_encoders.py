"""Encoders carry their own preprocessing, and agree with the libraries they come from."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import timm.data
import torch
from PIL import Image

from kit.competition import HOME
from kit.encoders import load_encoder, load_timm, timm_preprocessing
from kit.errors import InputError
from kit.images import decode_image
from kit.prompts import PromptList, text_weights
from kit.weights import parse_encoder

DIGITS = HOME / "digits"
TINY_CLIP = "open_clip:local-dir:tiny-clip"


@pytest.fixture(scope="module")
def tiny():
    return load_encoder(parse_encoder(TINY_CLIP, {}, (DIGITS,)))


def save_picture(path, width: int = 90, height: int = 70) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path)
    return image


def test_a_local_dir_gives_open_clips_own_preprocessing_and_features(tiny, tmp_path):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{DIGITS / 'tiny-clip'}")
    image = save_picture(tmp_path / "a.png")
    ours = tiny.preprocessing.normalise(tiny.preprocessing.geometry.apply(decode_image(tmp_path / "a.png"))[None])
    theirs = preprocess(image)[None]
    assert (ours - theirs).abs().max() < 3 / 255 / 0.5
    with torch.no_grad():
        assert torch.allclose(tiny.image_tower(theirs), model.eval().encode_image(theirs), atol=1e-5)


def test_text_features_are_open_clips(tiny):
    model = open_clip.create_model(f"local-dir:{DIGITS / 'tiny-clip'}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{DIGITS / 'tiny-clip'}")(["the digit seven"])
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True).numpy()
    assert tiny.encode_text(["the digit seven"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnetv2_s", "vit_tiny_patch16_224", "mobilenetv2_100"])
def test_timm_networks_bring_timms_own_preprocessing(name, tmp_path):
    network = load_timm(parse_encoder(f"timm:{name}"), 0, pretrained=False)
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config)
    image = save_picture(tmp_path / "a.png", 400, 300)
    own = timm_preprocessing(network)
    ours = own.normalise(own.geometry.apply(decode_image(tmp_path / "a.png"))[None])[0]
    assert ours.shape == transform(image).shape
    assert (ours - transform(image)).abs().max() < 3 / 255 / min(own.std)


def test_constructor_arguments_are_not_changed_by_the_library():
    args = {"pretrained_cfg_overlay": {"input_size": [3, 64, 64]}}
    spec = parse_encoder("timm:resnet18", args)
    before = repr(spec)
    network = load_timm(spec, 3, pretrained=False)
    assert repr(spec) == before and timm_preprocessing(network).geometry.height == 64


def test_a_network_without_text_tower_refuses_words():
    from kit.encoders import Encoder

    network = load_timm(parse_encoder("timm:resnet18"), 0, pretrained=False)
    encoder = Encoder(parse_encoder("timm:resnet18"), network, timm_preprocessing(network))
    with pytest.raises(InputError, match="no text tower"):
        encoder.encode_text(["a dog"])


def test_a_prompt_longer_than_the_context_is_named_with_its_length(tiny):
    with pytest.raises(InputError, match=r"has \d+ tokens; .* reads 16: shorten it"):
        tiny.encode_text(["one two three four " * 8])


def test_text_weights_are_the_unit_mean_over_words_and_templates(tiny):
    prompts = PromptList("own", ("a {}", "the digit {}"), (("one", "1"), ("two",)))
    weights = text_weights(tiny, prompts)
    mean = tiny.encode_text(["a one", "the digit one", "a 1", "the digit 1"]).mean(axis=0)
    assert weights[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert np.linalg.norm(weights, axis=1) == pytest.approx(np.ones(2), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_numbers(tiny, dtype):
    import copy

    tower = copy.deepcopy(tiny.image_tower).to(dtype)
    with torch.no_grad():
        features = tower(torch.randn(2, 3, 32, 32).to(dtype)).float()
    assert torch.isfinite(features).all()


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean"):
        load_timm(parse_encoder("timm:resnet1888"), 0, pretrained=False)
