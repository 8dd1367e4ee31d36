"""CLIP as a classifier that can be trained: its image tower, and a head of words or the text tower that makes them."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.features.encoders import TEXT_BATCH, Encoder
from kit.features.encoders.words import tokenize
from kit.features.prompts import PromptList, TextWeights
from kit.models.training.layers import Checkpoints, Towered, checkpoint_activations

PROMPTS_PER_STEP = 128  # encoded in training, at most, or one of each class: as much memory as 30 images of ViT-B/16


class _ReadsWords(Protocol):
    """What open_clip's networks have beside torch's."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return (n_prompts, n_dims)."""
        ...


class ClipClassifier(Towered):
    """Compare images with a head of words.

    Parameters
    ----------
    head
        A row for each class, of unit length where it is words; with a bias where it is a linear probe.
    logit_scale
        CLIP's factor on cosine similarities; it stays fixed.
    """

    def __init__(self, tower: nn.Module, head: nn.Linear, logit_scale: float) -> None:
        super().__init__()
        self.tower, self.head, self.logit_scale = tower, head, logit_scale

    def encode(self, pixels: Tensor) -> Tensor:
        """Return features of unit length, (n_images, n_dims) float32."""
        features = self.tower(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            return functional.normalize(features.float(), dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (n_images, n_classes)."""
        features = self.encode(pixels)
        with torch.autocast(features.device.type, enabled=False):  # see `compare`
            return self.logit_scale * self.head(features)

    def compare(self, features: Tensor, words: Tensor) -> Tensor:
        """Return CLIP's logits of features, computed in float32.

        bfloat16 rounds cosines by up to 0.001, a tenth of a logit at a scale of 100.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.logit_scale * functional.linear(features, words)

    def keep_words(self) -> None:
        """Leave the head as it is: no text tower learns."""

    def towers(self) -> dict[str, nn.Module]:
        """Return the modules that have layers, by the prefix of their parameters' names."""
        trunk = dict(self.tower.named_children()).get("trunk")  # a timm network in open_clip's wrapper
        return {"tower.": self.tower} if trunk is None else {"tower.trunk.": trunk}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Let the towers compute activations twice, with `enable`."""
        if enable:
            checkpoint_activations(self.tower)


class TextTower(nn.Module):
    """Turn a prompt list into words' features, one of unit length for each class.

    Parameters
    ----------
    clip
        A CLIP with both towers; the image tower is taken out of it.
    tokens
        (n_prompts, context) tokens of the prompts, class after class.
    counts
        Prompts of each class.
    """

    tokens: Tensor

    def __init__(self, clip: nn.Module, tokens: Tensor, counts: list[int]) -> None:
        super().__init__()
        clip.visual = nn.Identity()
        for name, parameter in clip.named_parameters():
            if name in ("logit_scale", "logit_bias"):
                parameter.requires_grad_(False)
        self.clip, self.counts = clip, counts
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self) -> Tensor:
        """Return (n_classes, n_dims) float32: in training of one random prompt per class where there are many."""
        if self.training and len(self.tokens) > PROMPTS_PER_STEP:
            return self._encode(self._draw())
        parts = torch.cat([self._encode(part) for part in self.tokens.split(TEXT_BATCH)]).split(self.counts)
        return functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)

    def _draw(self) -> Tensor:
        """Draw the tokens of one prompt of each class; from the CPU's generator, the same on every device."""
        counts = torch.tensor(self.counts)
        chosen = counts.cumsum(0) - counts + (torch.rand(len(counts)) * counts).long()
        return self.tokens[chosen.to(self.tokens.device)]

    def _encode(self, tokens: Tensor) -> Tensor:
        return functional.normalize(cast(_ReadsWords, self.clip).encode_text(tokens).float(), dim=1)


class ClipPair(ClipClassifier):
    """Train both towers: the words of every step come from the text tower, and the head keeps those that predict."""

    def __init__(self, tower: nn.Module, head: nn.Linear, logit_scale: float, text: TextTower) -> None:
        super().__init__(tower, head, logit_scale)
        self.text = text

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (n_images, n_classes)."""
        return self.compare(self.encode(pixels), self.text())

    @torch.no_grad()
    def keep_words(self) -> None:
        """Let the head be the words of the text tower as it is now."""
        self.text.eval()
        self.head.weight.copy_(self.text())

    def towers(self) -> dict[str, nn.Module]:
        """Return the modules that have layers, by the prefix of their parameters' names."""
        return super().towers() | {"text.clip.": self.text.clip}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Let both towers compute activations twice, with `enable`."""
        super().set_grad_checkpointing(enable)
        parts = dict(self.text.clip.named_children())
        if "text" in parts:  # a text tower of another library
            cast(Checkpoints, parts["text"]).set_grad_checkpointing(enable)
        else:
            cast(Checkpoints, parts["transformer"]).grad_checkpointing = enable


def make_classifier(encoder: Encoder, text: TextWeights, prompts: PromptList | None, with_bias: bool) -> ClipClassifier:
    """Make the zero-shot classifier of a CLIP: the start of every training.

    The head is the words' features, with a bias of zero where one is asked for. The text tower comes along where there
    are prompts to train it on.
    """
    tower = encoder.image_tower
    head = nn.Linear(*text.values.T.shape, bias=with_bias)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(text.values))
        if with_bias:
            head.bias.zero_()
    if prompts is None:
        return ClipClassifier(tower, head, text.logit_scale)
    of_class = [prompts.prompts(code) for code in range(len(prompts.words))]
    tokens = tokenize(encoder.spec, [prompt for part in of_class for prompt in part])
    words = TextTower(encoder.network, tokens, [len(part) for part in of_class])
    return ClipPair(tower, head, text.logit_scale, words)
