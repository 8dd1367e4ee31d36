"""Encoders carry their own preprocessing, and agree with the libraries they come from."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.clips import FILE, RESNET, TEXT, TIMM, VIT, make_clip

from kit.config.competition import HOME
from kit.core.errors import InputError, MissingWeights
from kit.data.decoding import decode_image
from kit.data.store import Geometry
from kit.features.encoders import load_encoder, load_timm, preprocessing_of, timm_preprocessing
from kit.features.prompts import PromptList, text_weights
from kit.features.weights import parse_encoder

open_clip = pytest.importorskip("open_clip")
to_2tuple = pytest.importorskip("open_clip.utils").to_2tuple
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
    preprocessing = timm_preprocessing(network)
    ours = preprocessing.normalise(preprocessing.geometry.apply(decode_image(tmp_path / "a.png"))[None])[0]
    assert ours.shape == transform(image).shape
    assert (ours - transform(image)).abs().max() < 3 / 255 / min(preprocessing.std)


def test_constructor_arguments_are_not_changed_by_the_library():
    args = {"pretrained_cfg_overlay": {"input_size": [3, 64, 64]}}
    spec = parse_encoder("timm:resnet18", args)
    before = repr(spec)
    network = load_timm(spec, 3, pretrained=False)
    assert repr(spec) == before and timm_preprocessing(network).geometry.height == 64


def test_a_network_without_text_tower_refuses_words():
    from kit.features.encoders import Encoder

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


@pytest.mark.parametrize("vision", [VIT, RESNET, TIMM], ids=["vit", "resnet", "timm"])
@pytest.mark.parametrize(
    "forced", [{}, {"resize_mode": "squash", "mean": [0.1, 0.2, 0.3], "interpolation": "bilinear"}]
)
def test_the_preprocessing_of_a_clip_is_open_clips(tmp_path, vision, forced):
    text = make_clip(tmp_path, vision)
    model = open_clip.create_model(text.removeprefix("open_clip:"), force_preprocess_cfg=forced)
    theirs = open_clip.get_model_preprocess_cfg(model)
    ours = load_encoder(parse_encoder(text, {"force_preprocess_cfg": forced})).preprocessing
    assert ours == preprocessing_of(parse_encoder(text, {"force_preprocess_cfg": forced}))
    assert (ours.geometry.resize, ours.geometry.interpolation) == (theirs["resize_mode"], theirs["interpolation"])
    assert (ours.mean, ours.std) == (tuple(theirs["mean"]), tuple(theirs["std"]))
    assert (ours.geometry.height, ours.geometry.width) == to_2tuple(theirs["size"])


@pytest.mark.parametrize("text", ["ViT-B-32/openai", "ViT-B-32/openai@w.safetensors", "ViT-B-16-SigLIP/webli"])
def test_a_published_preprocessing_is_known_without_weights_and_can_be_overridden(text, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    published = preprocessing_of(parse_encoder(f"open_clip:{text}", {}, (tmp_path,)))
    config = open_clip.get_pretrained_cfg(*text.partition("@")[0].split("/"))
    assert (published.mean, published.geometry.resize) == (tuple(config["mean"]), config["resize_mode"])
    args = {"force_preprocess_cfg": {"resize_mode": "longest", "fill_color": 7, "std": 0.25}}
    forced = preprocessing_of(parse_encoder(f"open_clip:{text}", args, (tmp_path,)))
    assert (forced.geometry.resize, forced.geometry.fill, forced.std) == ("longest", 7, (0.25, 0.25, 0.25))
    assert forced.mean == published.mean and forced.key != published.key


def test_a_forced_image_size_is_the_size_of_the_images(tmp_path):
    spec = parse_encoder(make_clip(tmp_path), {"force_image_size": 48})
    encoder = load_encoder(spec)
    assert encoder.preprocessing.geometry.height == 48
    with torch.no_grad():
        assert encoder.image_tower(torch.zeros(1, 3, 48, 48)).shape == (1, 16)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"force_preprocess_cfg": {"resize_mod": "squash"}}, "force_preprocess_cfg has no 'resize_mod'; did you mean"),
        ({"force_preprocess_cfg": {"resize_mode": "squish"}}, "resize_mode = 'squish'; did you mean 'squash'"),
        ({"force_preprocess_cfg": {"mean": [127, 127, 127]}}, r"mean = \[127, 127, 127\]; write three numbers, 0..1"),
        ({"force_preprocess_cfg": "squash"}, "force_preprocess_cfg must be a table"),
        ({"force_preprocess_cfg": {"size": 64}}, "write force_image_size = 64 instead"),
        ({"force_imagesize": 64}, "encoder_args has no 'force_imagesize'; did you mean 'force_image_size'"),
        ({"weights_only": False}, "encoder_args has no 'weights_only'"),
        (
            {"timm": {"pad_type": "same"}},
            "table for image towers of timm's; this tower is open_clip's",
        ),
    ],
)
def test_wrong_arguments_of_a_clip_are_refused_by_name(tmp_path, args, message):
    with pytest.raises(InputError, match=message):
        load_encoder(parse_encoder(make_clip(tmp_path), args))


def test_the_timm_tower_of_a_clip_takes_timms_arguments(tmp_path):
    text = make_clip(tmp_path, TIMM)
    plain, same = (load_encoder(parse_encoder(text, args)) for args in ({}, {"timm": {"pad_type": "same"}}))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        differences = (plain.image_tower(images) - same.image_tower(images)).abs()
    assert differences.max() > 1e-4
    weights = same.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in plain.network.state_dict().items())
    assert open_clip.timm_model.timm is timm


@pytest.mark.parametrize(
    ("args", "message"),
    [({"padtype": "same"}, "open_clip cannot build it .*padtype"), ({"pretrained": True}, "'pretrained' is not yours")],
)
def test_wrong_arguments_of_a_timm_tower_are_refused(tmp_path, args, message):
    with pytest.raises(InputError, match=message):
        load_encoder(parse_encoder(make_clip(tmp_path, TIMM), {"timm": args}))
    assert open_clip.timm_model.timm is timm


@pytest.mark.parametrize(("tag", "is_quick"), [("openai", True), ("laion2b_s34b_b79k", False)])
def test_weights_get_the_activation_they_were_trained_with(tmp_path, monkeypatch, tag, is_quick):
    """open_clip 3 only warns and takes the architecture's; a tiny architecture goes by the name of the large one."""
    model = {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", model)
    network = open_clip.create_model("ViT-B-32", force_quick_gelu=is_quick)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    encoder = load_encoder(parse_encoder(f"open_clip:ViT-B-32/{tag}@w.safetensors", {}, (tmp_path,)))
    pixels = torch.ones(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(encoder.image_tower(pixels), network.eval().encode_image(pixels), atol=1e-6)
    assert any(type(part).__name__ == "QuickGELU" for part in encoder.network.modules()) == is_quick


def test_a_model_with_a_logit_bias_and_scales_of_another_shape_loads(tmp_path):
    """SigLIP's."""
    text = make_clip(tmp_path, init_logit_bias=-10, nonscalar_logit_scale=True, custom_text=True)
    tensors = load_file(tmp_path / FILE)
    save_file(
        {**tensors, **{f"logit_{x}": tensors[f"logit_{x}"].reshape(()) for x in ("scale", "bias")}}, tmp_path / FILE
    )
    encoder = load_encoder(parse_encoder(text))
    assert encoder.network.logit_bias.tolist() == [-10] and encoder.logit_scale == pytest.approx(1 / 0.07)


def test_weights_of_the_form_before_custom_text_towers_load(tmp_path):
    text = make_clip(tmp_path, custom_text=True)
    tensors = load_file(tmp_path / FILE)
    save_file({name.removeprefix("text."): tensor for name, tensor in tensors.items()}, tmp_path / FILE)
    assert load_encoder(parse_encoder(text)).encode_text(["a"]).shape == (1, 16)


def test_the_image_tower_of_a_captioner_gives_features_alone(tmp_path):
    vision = {**VIT, "output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}
    encoder = load_encoder(parse_encoder(make_clip(tmp_path, vision)))
    with torch.no_grad():
        assert encoder.image_tower(torch.zeros(1, 3, 32, 32)).shape == (1, 16)


@pytest.mark.parametrize(
    ("args", "geometry"),
    [
        (
            {"pretrained_cfg_overlay": {"crop_mode": "squash", "crop_pct": 1.0}},
            Geometry(224, 224, "squash", "bilinear"),
        ),
        ({"pretrained_cfg_overlay": {"crop_pct": 0.5}}, Geometry(224, 224, "shortest", "bilinear", 0.5)),
    ],
)
def test_timms_preprocessing_is_overridden_timms_way(args, geometry):
    spec = parse_encoder("timm:resnet18.tv_in1k", args)
    assert preprocessing_of(spec).geometry == geometry
    assert timm_preprocessing(load_timm(spec, 0, pretrained=False)).geometry == geometry


def test_the_size_of_a_timm_transformer_is_the_size_of_its_images():
    spec = parse_encoder("timm:test_vit", {"img_size": 64})
    network = load_timm(spec, 0, pretrained=False)
    assert preprocessing_of(spec) == timm_preprocessing(network) and preprocessing_of(spec).geometry.height == 64
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape[0] == 1


def test_a_timm_transformer_takes_its_file_at_another_image_size(tmp_path):
    network = timm.create_model("test_vit")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    spec = parse_encoder("timm:test_vit@w.safetensors", {"img_size": 64}, (tmp_path,))
    with torch.no_grad():
        assert load_timm(spec, 0)(torch.zeros(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"pretrained_cfg_overlay": {"crop_mod": "squash"}}, "pretrained_cfg_overlay has no 'crop_mod'; did you mean"),
        ({"pretrained_cfg_overlay": {"crop_mode": "squish"}}, "crop_mode = 'squish'; did you mean 'squash'"),
        ({"pretrained_cfg_overlay": {"crop_mode": "border", "crop_pct": 0.9}}, r"'border' needs crop_pct = 1\.0"),
        ({"checkpoint_path": "x.pth"}, "'checkpoint_path' is not yours to give"),
    ],
)
def test_wrong_arguments_of_a_timm_network_are_refused_by_name(args, message):
    with pytest.raises(InputError, match=message):
        preprocessing_of(parse_encoder("timm:resnet18", args))


def test_exclamation_marks_are_tokens(tiny):
    with pytest.raises(InputError, match=r"has \d+ tokens"):
        tiny.encode_text(["! " * 15])


def test_a_hugging_face_tokenizer_that_is_missing_is_named_with_its_place(tmp_path):
    text = make_clip(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/words"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    has_transformers = importlib.util.find_spec("transformers") is not None
    message = (
        rf"tokenizer.json .* of owner/words and put them into {tmp_path}" if has_transformers else "pip install tran"
    )
    with pytest.raises(MissingWeights, match=message):
        load_encoder(parse_encoder(text)).encode_text(["a dog"])
