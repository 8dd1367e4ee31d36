"""Pretrain the tiny encoders of the `digits` competition on rendered glyphs, and on nothing else.

Two models, rebuilt by ``./run.sh pretrain`` in under a quarter of an hour on two CPU cores: a CLIP (a
narrow ResNet beside a two-layer text transformer) that learns which caption fits which glyph, and a narrowed
EfficientNetV2 that learns to name 62 letters and digits. No real digit is read: scikit-learn's are held out.

Reads `kit.bench.pretrain.glyphs`. Writes ``competitions/digits/tiny-clip/`` (open_clip's local-dir form) and
``competitions/digits/tiny-efficientnetv2.safetensors``, both in half precision.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors.torch import save
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from kit.bench.pretrain.glyphs import KINDS, SYMBOLS, WEIGHTS, Glyphs, draw_glyphs, glyph_bank, upsample
from kit.config.competition import HOME
from kit.core.files import write_atomic, write_json
from kit.core.terminal import stage, track
from kit.features.encoders import timm_configuration

if TYPE_CHECKING:
    import open_clip

FOLDER = HOME / "digits"
SEED = 0
THREADS = 2
BATCH = 256
CLIP_STEPS = 1000
EFFICIENTNET_STEPS = 1000
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05  # of matrices; norms, biases and the logit scale do not decay
SIZE = 32  # pixels: side of both encoders' input
SHARES = (0.2, 0.2, 0.6)  # of a batch: printed letters, printed digits, handwritten digits

WORDS = {
    "0": "zero", "1": "one", "2": "two", "3": "three", "4": "four",
    "5": "five", "6": "six", "7": "seven", "8": "eight", "9": "nine",
}  # fmt: skip
PLAIN = ("{word}", "the {noun} {word}", "a photo of a {word}.", "a photo of the {noun} {word}.")

CLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 96,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "image_size": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 48, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {
        "size": [32, 32],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
EFFICIENTNET_NAME = "tf_efficientnetv2_b0"
EFFICIENTNET_ARGS: dict[str, Any] = {
    "channel_multiplier": 0.5,
    "depth_multiplier": 0.34,
    "pretrained_cfg_overlay": {"input_size": [3, 32, 32], "crop_pct": 1.0},  # mean and std stay timm's own
}


@dataclass(frozen=True)
class Caption:
    """Hold a text about a glyph, and what it claims.

    Parameters
    ----------
    symbol
        A character of `SYMBOLS`.
    kind, weight
        One of `KINDS`, one of `WEIGHTS`; None where the text leaves them open.
    """

    text: str
    symbol: str
    kind: str | None = None
    weight: str | None = None


def compose_captions() -> list[Caption]:
    """Compose every caption, such as "a thin italic digit three" or "the capital letter k"."""
    return [caption for symbol in SYMBOLS for caption in _captions_of(symbol)]


def _captions_of(symbol: str) -> list[Caption]:
    """Return the captions of one symbol; letters are named with their case, as the tokenizer lower-cases."""
    case = "capital" if symbol.isupper() else "small"
    nouns = ("digit", "number") if symbol.isdigit() else (f"{case} letter",)
    words = (symbol, WORDS[symbol]) if symbol.isdigit() else (symbol.lower(),)
    captions = []
    for word, noun in itertools.product(words, nouns):
        captions += [Caption(plain.format(noun=noun, word=word), symbol) for plain in PLAIN]
        for weight, kind in itertools.product((None, "thin", "bold"), (None, *KINDS)):
            phrase = " ".join(part for part in (weight, kind, noun, word) if part)
            article = "an" if phrase[0] in "aeiou" else "a"
            captions.append(Caption(f"{article} {phrase}", symbol, kind, weight))
    return captions


def match_captions(captions: list[Caption]) -> tuple[list[str], Tensor]:
    """Return which texts are true of which glyphs.

    Returns
    -------
    texts : list of str
        The different texts; "k" is true of two symbols.
    truth : Tensor
        (n_symbols, n_kinds, n_weights, n_texts), bool.
    """
    columns = {text: i for i, text in enumerate(dict.fromkeys(caption.text for caption in captions))}
    truth = torch.zeros(len(SYMBOLS), len(KINDS), len(WEIGHTS), len(columns), dtype=torch.bool)
    for caption in captions:
        kind = KINDS.index(caption.kind) if caption.kind else slice(None)
        weight = WEIGHTS.index(caption.weight) if caption.weight else slice(None)
        truth[SYMBOLS.index(caption.symbol), kind, weight, columns[caption.text]] = True
    return list(columns), truth


@dataclass(frozen=True)
class GlyphBatch:
    """Hold drawn glyphs: `pixels` (n, 3, size, size) in 0..1 and, each (n,), what was drawn."""

    pixels: Tensor
    symbols: Tensor
    kinds: Tensor
    weights: Tensor


def draw_glyph_batches(glyphs: Glyphs, steps: int, seed: int, size: int = SIZE) -> Iterator[GlyphBatch]:
    """Yield `steps` batches of `BATCH` freshly drawn glyphs, `size` pixels a side, the same for the same seed."""
    generator = Generator().manual_seed(seed)
    handwritten, digits = glyphs.kinds == KINDS.index("handwritten"), glyphs.symbols < 10
    groups = handwritten.long() + digits  # as in SHARES
    shares = torch.tensor(SHARES)[groups] / groups.bincount()[groups]
    for _ in range(steps):
        rows = torch.multinomial(shares, BATCH, replacement=True, generator=generator)
        images, weights = draw_glyphs(glyphs, rows, generator)
        pixels = upsample(images, size).contiguous(memory_format=torch.channels_last)
        yield GlyphBatch(pixels, glyphs.symbols[rows], glyphs.kinds[rows], weights)


def fit(model: nn.Module, loss_of: Callable[[GlyphBatch], Tensor], glyphs: Glyphs, steps: int, label: str) -> None:
    """Train `model` for `steps` steps with AdamW and one cycle of the learning rate."""
    matrices = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY}
    others = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([matrices, others])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    model.to(memory_format=torch.channels_last).train()
    for batch in track(draw_glyph_batches(glyphs, steps, SEED), label, steps):
        optimizer.zero_grad()
        loss_of(batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def contrast(model: open_clip.CLIP, tokens: Tensor, truth: Tensor, generator: Generator, batch: GlyphBatch) -> Tensor:
    """Return the symmetric contrastive loss of a batch against the different captions drawn for it.

    Every image draws one of the captions that are true of it. An image's positives are all drawn captions
    that are true of it, and the other way round, with equal shares.

    Parameters
    ----------
    tokens
        (n_texts, context_length), every caption.
    truth
        (n_symbols, n_kinds, n_weights, n_texts), from `match_captions`.
    generator
        Draws the captions.

    References
    ----------
    Yang et al. 2022, Unified Contrastive Learning in Image-Text-Label Space, section 3.2.
    """
    true_of = truth[batch.symbols, batch.kinds, batch.weights].float()  # (n_images, n_texts)
    drawn = torch.multinomial(true_of, 1, generator=generator).flatten().unique()
    mean, std = (torch.tensor(CLIP_CONFIG["preprocess_cfg"][name]).view(3, 1, 1) for name in ("mean", "std"))
    images = model.encode_image((batch.pixels - mean) / std, normalize=True)
    texts = model.encode_text(tokens[drawn], normalize=True)
    logits = model.logit_scale.exp().clamp_max(100) * images @ texts.T  # (n_images, n_drawn)
    positives = true_of[:, drawn]
    by_image = F.cross_entropy(logits, positives / positives.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, positives.T / positives.T.sum(1, keepdim=True))
    return (by_image + by_text) / 2


def pretrain_clip(glyphs: Glyphs, steps: int = CLIP_STEPS) -> dict[str, Tensor]:
    """Train the tiny CLIP and return its weights, the rows of tokens in no caption zero.

    The token embedding is trained on the 64 tokens that occur: ids are replaced by their rank, which keeps
    the end-of-text token the largest, where open_clip looks for it.
    """
    torch.manual_seed(SEED)
    texts, truth = match_captions(compose_captions())
    config = CLIP_CONFIG["model_cfg"]
    text_config = config["text_cfg"]
    import open_clip

    tokenize = open_clip.SimpleTokenizer(context_length=text_config["context_length"])
    used, ranks = tokenize(texts).unique(return_inverse=True)
    model = open_clip.CLIP(**{**config, "text_cfg": {**text_config, "vocab_size": len(used)}})
    loss_of = partial(contrast, model, ranks, truth, Generator().manual_seed(SEED))
    fit(model, loss_of, glyphs, steps, "tiny CLIP")
    weights = model.state_dict()
    rows = torch.zeros(text_config["vocab_size"], text_config["width"])
    rows[used] = weights["token_embedding.weight"]
    return {**weights, "token_embedding.weight": rows}


def pretrain_efficientnet(glyphs: Glyphs, steps: int = EFFICIENTNET_STEPS) -> dict[str, Tensor]:
    """Train the tiny EfficientNetV2 to name the 62 symbols and return its weights."""
    torch.manual_seed(SEED)
    model = timm.create_model(EFFICIENTNET_NAME, num_classes=len(SYMBOLS), **EFFICIENTNET_ARGS)
    mean, std = (torch.tensor(timm_configuration(model)[name]).view(3, 1, 1) for name in ("mean", "std"))

    def loss_of(batch: GlyphBatch) -> Tensor:
        return F.cross_entropy(model((batch.pixels - mean) / std), batch.symbols, label_smoothing=0.1)

    fit(model, loss_of, glyphs, steps, "tiny EfficientNetV2")
    return model.state_dict()


def write_weights(path: Path, weights: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write weights as safetensors, atomically, floating ones in half precision."""
    halves = {name: (w.half() if w.is_floating_point() else w).contiguous() for name, w in weights.items()}
    with write_atomic(path) as file:
        file.write(save(halves, metadata={"format": "pt", **notes}))


def rebuild(folder: Path = FOLDER) -> None:
    """Pretrain both models and write them into `folder`."""
    torch.set_num_threads(THREADS)
    stage("glyphs", "rendering fonts and handwriting")
    glyphs = glyph_bank(SEED)
    stage("tiny CLIP", f"{CLIP_STEPS} steps of {BATCH} images")
    clip = folder / "tiny-clip"
    write_weights(clip / "open_clip_model.safetensors", pretrain_clip(glyphs), {})
    write_json(clip / "open_clip_config.json", CLIP_CONFIG)
    stage("tiny EfficientNetV2", f"{EFFICIENTNET_STEPS} steps of {BATCH} images")
    notes = {"model": EFFICIENTNET_NAME, "args": json.dumps(EFFICIENTNET_ARGS), "classes": SYMBOLS}
    write_weights(folder / "tiny-efficientnetv2.safetensors", pretrain_efficientnet(glyphs), notes)
