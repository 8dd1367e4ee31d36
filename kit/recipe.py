"""The recipe by which a network is trained: the keys that every trained model of competition.toml shares."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import Field

from kit.errors import InputError


@dataclass(kw_only=True)
class Recipe:
    """Hold how a network is trained.

    Parameters
    ----------
    epochs
        Passes over the training images, the frozen ones among them.
    frozen_epochs
        First epochs in which only the head learns, so that its random start does not spoil the pretrained body
        (Kumar et al. 2022, section 3).
    batch_size
        Images per step, at most; batches of an epoch are equally large, to one image.
    accumulate
        Parts in which a batch goes through the network; their gradients add up to that of the whole batch, for a part
        of the memory. Batch norms see the parts.
    grad_checkpointing
        Compute activations a second time in the backward pass instead of keeping them: less memory, about a third
        more time, the same gradients.
    optimizer
        A name of timm's optimisers.
    lr
        Highest learning rate per step, of the body.
    head_lr
        The same of the head; None for `lr`.
    layer_decay
        Factor on the learning rate from each layer to the one before it (Bao et al. 2022, BEiT); 1 for none.
    weight_decay
        Not applied to norms, biases and what the network itself exempts.
    warmup_share
        Share of the steps over which the learning rates rise; they then fall to zero along a cosine.
    label_smoothing
        Share of the label's probability that is spread over all classes.
    mixup, cutmix
        Alpha of the Beta distribution; 0 for none. With both, each batch draws one.
    ema_decay
        The largest decay per step of the moving average of the weights, which then predicts; 0 for none. The decay
        grows with the steps, so that short runs forget their random start.
    augment
        A level of `kit.training.augment`.
    flip
        Mirror images left to right: not for digits and letters.
    patience
        Epochs without a better inner accuracy after which training stops; None to train to the end on all images.
        With few labels the fifth that is held out is worth more as training images.
    freeze_batch_norm
        Keep the pretrained statistics of batch norms, for batches too small or too odd to estimate them.
    lora_rank
        Rank of the only changes that the body's weight matrices may learn (Hu et al. 2021, LoRA); 0 to train the
        body's weights themselves. It wants a learning rate about ten times that of full fine-tuning.
    lora_alpha
        The change is multiplied by lora_alpha / lora_rank; None for lora_rank.
    lora_targets
        Layers that are adapted, by the end of their names, such as ``["attn", "out_proj"]``; None for all linear ones
        and packed attention, in convolutional networks the convolutions too. See `kit.training.adapters`.
    """

    epochs: Annotated[int, Field(ge=1)] = 30
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=2)] = 32
    accumulate: Annotated[int, Field(ge=1)] = 1
    grad_checkpointing: bool = False
    optimizer: str = "adamw"
    lr: Annotated[float, Field(ge=0)] = 3e-4
    head_lr: Annotated[float, Field(ge=0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Literal["none", "light", "strong"] = "none"
    flip: bool = False
    patience: Annotated[int, Field(ge=1)] | None = None
    freeze_batch_norm: bool = False
    lora_rank: Annotated[int, Field(ge=0)] = 0
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    lora_targets: list[str] | None = None

    def __post_init__(self) -> None:
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_targets is not None):
            raise InputError("lora_alpha and lora_targets say how to adapt layers: they need lora_rank above 0")


def recipe_of(model: Recipe) -> Recipe:
    """Return the recipe alone of a model that is one."""
    return Recipe(**{own.name: getattr(model, own.name) for own in fields(Recipe)})
