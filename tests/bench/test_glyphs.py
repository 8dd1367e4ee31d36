"""Glyphs and the encoders pretrained on them: same seed, same pixels; small files; words fit pictures."""

from __future__ import annotations

import json
import tomllib
from functools import cache

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from kit.bench import pretrain
from kit.bench.pretrain import glyphs
from kit.bench.pretrain.glyphs import KINDS, LEVELS, SYMBOLS, WEIGHTS, Glyphs, draw_glyphs, trace_handwriting, upsample
from kit.bench.pretrain.handwriting import SKELETONS

open_clip = pytest.importorskip("open_clip")
FOLDER = pretrain.FOLDER
CLIP = FOLDER / "tiny-clip"
CLIP_WEIGHTS = CLIP / "open_clip_model.safetensors"
EFFICIENTNET = FOLDER / "tiny-efficientnetv2.safetensors"


@cache
def handwriting(seed: int = 0) -> Glyphs:
    return trace_handwriting(torch.Generator().manual_seed(seed), per_digit=5)


def drawn(seed: int) -> torch.Tensor:
    return draw_glyphs(handwriting(), torch.arange(50), torch.Generator().manual_seed(seed))[0]


@cache
def clip() -> open_clip.CLIP:
    return open_clip.create_model(f"local-dir:{CLIP}").eval()


@torch.no_grad()
def zero_shot(prompts: str) -> float:
    """Return the share of scikit-learn's digits that a prompt list names rightly."""
    table = tomllib.loads((FOLDER / "prompts" / prompts).read_text(encoding="utf-8"))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{CLIP}")
    texts = []
    for _, words in sorted(table["words"].items()):
        prompts_of_class = [template.format(word) for word in words for template in table["templates"]]
        texts.append(clip().encode_text(tokenizer(prompts_of_class), normalize=True).mean(0))
    texts = torch.nn.functional.normalize(torch.stack(texts), dim=-1)
    digits = load_digits()
    pixels = upsample(torch.tensor(digits.images, dtype=torch.float32), 32)
    guess = (clip().encode_image((pixels - 0.5) / 0.5, normalize=True) @ texts.T).argmax(1)
    return float(np.mean(guess.numpy() == digits.target))


def test_glyphs_are_the_same_for_the_same_seed():
    again = trace_handwriting(torch.Generator().manual_seed(0), per_digit=5)
    assert torch.equal(again.fields, handwriting().fields)
    assert torch.equal(drawn(3), drawn(3))


def test_glyphs_differ_for_another_seed():
    assert not torch.equal(handwriting(1).fields, handwriting().fields)
    assert not torch.equal(drawn(3), drawn(4))


def test_drawn_glyphs_are_whole_counts_of_ink_on_a_dark_ground():
    images = drawn(0)
    assert images.shape == (50, 8, 8)
    assert torch.equal(images, images.round())
    assert images.min() == 0
    assert images.max() <= LEVELS
    assert images.amax((1, 2)).min() > 0
    assert images.mean() < LEVELS / 2


def test_fonts_render_every_symbol_and_bold_has_the_wider_stroke(monkeypatch):
    monkeypatch.setattr(glyphs, "FONTS", ("DejaVuSans", "DejaVuSans-BoldOblique"))
    printed = glyphs.render_fonts()
    regular, bold = printed.half_widths.view(2, len(SYMBOLS))
    assert printed.symbols.tolist() == 2 * list(range(len(SYMBOLS)))
    assert {KINDS[kind] for kind in printed.kinds.tolist()} == {"printed", "italic"}
    assert (bold > regular).float().mean() > 0.9


def test_every_digit_has_several_skeletons_inside_the_box():
    assert set(SKELETONS) == set("0123456789")
    for skeletons in SKELETONS.values():
        assert len(skeletons) > 1
        points = [point.split(",") for skeleton in skeletons for point in skeleton.replace("/", "").split()]
        assert all(0 <= float(percent) <= 100 for point in points for percent in point)


def test_upsampling_agrees_with_open_clips_own_preprocessing():
    from PIL import Image

    counts = drawn(0)[0]
    png = Image.fromarray((counts.numpy() * 255 / LEVELS).round().astype(np.uint8))
    preprocess = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")[2]
    expected = preprocess(png)
    ours = (upsample(counts.unsqueeze(0), 32)[0] - 0.5) / 0.5
    assert (ours - expected).abs().max() <= 2 / 255 + 1e-6  # one gray level


def test_a_caption_is_true_of_its_symbol_kind_and_weight_alone():
    texts, truth = pretrain.match_captions(pretrain.compose_captions())
    three = truth[..., texts.index("a thin italic digit three")]
    assert three.nonzero().tolist() == [[SYMBOLS.index("3"), KINDS.index("italic"), WEIGHTS.index("thin")]]
    anything = truth[..., texts.index("the digit seven")]
    assert anything.sum() == len(KINDS) * len(WEIGHTS)
    assert anything[SYMBOLS.index("7")].all()


def test_a_bare_letter_is_said_of_both_its_cases():
    texts, truth = pretrain.match_captions(pretrain.compose_captions())
    assert truth[..., texts.index("k")].any(-1).any(-1).nonzero().flatten().tolist() == [
        SYMBOLS.index("K"),
        SYMBOLS.index("k"),
    ]


def test_captions_fit_the_context():
    texts, _ = pretrain.match_captions(pretrain.compose_captions())
    context = pretrain.CLIP_CONFIG["model_cfg"]["text_cfg"]["context_length"]
    longest = open_clip.SimpleTokenizer(context_length=4 * context)(texts)
    assert (longest != 0).sum(1).max() <= context


def test_the_committed_configuration_is_the_one_that_is_trained():
    assert json.loads((CLIP / "open_clip_config.json").read_text()) == pretrain.CLIP_CONFIG
    with safe_open(EFFICIENTNET, "pt") as file:
        assert json.loads(file.metadata()["args"]) == pretrain.EFFICIENTNET_ARGS


def test_the_files_stay_small():
    assert (CLIP_WEIGHTS).stat().st_size <= 8_000_000
    assert EFFICIENTNET.stat().st_size <= 2_000_000
    assert pretrain.CLIP_CONFIG["model_cfg"]["text_cfg"]["width"] <= 64


@pytest.mark.parametrize("path", [CLIP_WEIGHTS, EFFICIENTNET], ids=["clip", "efficientnet"])
def test_weights_are_stored_finite_in_half_precision(path):
    for tensor in load_file(path).values():
        assert not tensor.is_floating_point() or (tensor.dtype == torch.float16 and tensor.isfinite().all())


def test_tokens_in_no_caption_have_zero_rows():
    rows = load_file(CLIP_WEIGHTS)["token_embedding.weight"]
    texts, _ = pretrain.match_captions(pretrain.compose_captions())
    used = open_clip.get_tokenizer(f"local-dir:{CLIP}")(texts).unique()
    assert rows.shape[0] == 49408
    assert torch.equal(rows.any(1).nonzero().flatten(), used)


def test_the_tiny_efficientnet_loads_strictly_and_knows_its_input_size():
    network = timm.create_model(
        pretrain.EFFICIENTNET_NAME, num_classes=len(SYMBOLS), **pretrain.EFFICIENTNET_ARGS
    ).eval()
    network.load_state_dict(load_file(EFFICIENTNET))
    assert tuple(timm.data.resolve_model_data_config(network)["input_size"]) == (3, 32, 32)
    pixels = upsample(drawn(0), 32)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        guess = network((pixels - mean) / std).argmax(1)
    assert (guess == handwriting().symbols).float().mean() > 0.7


def test_crafted_words_name_real_digits_without_a_label():
    assert zero_shot("crafted.toml") >= 0.70


def test_plain_words_name_real_digits_without_a_label():
    assert zero_shot("plain.toml") >= 0.60
