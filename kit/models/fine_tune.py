"""Fine-tuning of any timm network, pretrained or from scratch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from kit.errors import InputError
from kit.images import Images
from kit.weights import EncoderSpec, parse_encoder

if TYPE_CHECKING:
    from torch import nn


@dataclass
class FineTune:
    """Train a timm network with a new classifier: first the classifier alone, then all of it.

    The classifier starts at zero. timm draws that of an EfficientNet or MobileNet from +-1 / sqrt(n_classes), which
    gives logits of 10 and more with few classes: with 15 labels each, training only came to undo them (trashnet,
    MobileNetV2, same draw: accuracy .36, from zero .60).

    Parameters
    ----------
    encoder
        ``timm:NAME`` or ``timm:NAME@FILE.safetensors``.
    encoder_args
        Constructor arguments of the network, such as ``drop_path_rate``.
    pretrained
        False to start from random weights.
    image_size
        Side of the square images in pixels; None for the network's own.
    epochs, frozen_epochs, batch_size, optimizer, lr, head_lr, weight_decay, warmup_share, label_smoothing
        See `kit.training.recipe.Recipe`. From scratch nothing is frozen.
    mixup, cutmix
        Alpha of the Beta distribution; 0 for none.
    ema_decay
        Largest decay per step of the average of the weights; 0 for none.
    augment
        ``"none"``, ``"light"`` or ``"strong"``.
    flip
        Mirror images in training: not for digits and letters.
    patience
        Epochs without progress on an inner hold-out after which training stops; None to train to the end. With few
        labels the fifth that is held out is worth more as training images.
    freeze_batch_norm
        Keep the pretrained statistics of batch norms, for batches too small or too odd to estimate them.
    drop_rate
        Dropout before the classifier; None for the network's own.
    tta
        Predict the mean over the image and its mirror image.
    precision
        ``"auto"`` for a fixed rule per device and network, or ``"float32"``, ``"bfloat16"``, ``"float16"``.
    seed
        Of the classifier's start, order, augmentation and dropout.
    """

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    image_size: Annotated[int, Field(ge=8)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 30
    frozen_epochs: Annotated[int, Field(ge=0)] = 3
    batch_size: Annotated[int, Field(ge=2)] = 32
    optimizer: str = "adamw"
    lr: Annotated[float, Field(ge=0)] = 3e-4
    head_lr: Annotated[float, Field(ge=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    augment: Literal["none", "light", "strong"] = "light"
    flip: bool = False
    patience: Annotated[int, Field(ge=1)] | None = None
    freeze_batch_norm: bool = False
    drop_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    tta: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._checkpoint: Path | None = None

    def fit(self, labeled: Images, unlabeled: Images) -> FineTune:
        """Train on the labelled images.

        Raises
        ------
        InputError
            When timm cannot build the network, or training diverges.
        MissingWeights
            When pretrained weights cannot be had.
        TimeIsUp
            When the time limit is reached; the checkpoint is written before.
        """
        from kit.training import fit_network
        from kit.training.recipe import recipe_of
        from kit.weights import find_weights

        spec = parse_encoder(self.encoder, self.encoder_args, labeled.pool.lookup)
        if self.pretrained:
            find_weights(spec)
        self._build(spec, labeled.n_classes, self.pretrained)
        self.diary_ = fit_network(
            self._network,
            replace(recipe_of(self), frozen_epochs=self.frozen_epochs if self.pretrained else 0),
            labeled,
            self._preprocessing,
            head=_classifier(self._network),
            seed=self.seed,
            device=self._device,
            precision=self._precision,
            checkpoint=self._checkpoint,
            made_from=[asdict(self), spec.identity],
        )
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return probabilities, (n_images, n_classes)."""
        from kit.training.batches import predict_network

        return predict_network(self._network, images, self._preprocessing, self._device, self._precision, tta=self.tta)

    def checkpoint_at(self, path: Path) -> None:
        """Write checkpoints to `path`, and go on from the one that lies there."""
        self._checkpoint = path

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the trained weights."""
        return {name: tensor.cpu().contiguous().numpy() for name, tensor in self._network.state_dict().items()}

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> FineTune:
        """Take trained weights back; the pretrained ones are not needed."""
        import torch

        name = self.encoder.partition("@")[0]
        self._build(parse_encoder(name, self.encoder_args), len(classes), pretrained=False)
        self._network.load_state_dict({key: torch.tensor(value) for key, value in tensors.items()})
        return self

    def _build(self, spec: EncoderSpec, n_classes: int, pretrained: bool) -> None:
        """Build the network on its device, with its preprocessing and precision."""
        import torch

        from kit.device import choose_training, device_name
        from kit.encoders import load_timm, timm_preprocessing
        from kit.training.batches import reproducible

        if spec.library != "timm":
            raise InputError(f"encoder {spec.text!r}: fine_tune trains timm networks; clip_finetune trains open_clip's")
        args = dict(spec.args)
        if self.drop_rate is not None:
            args["drop_rate"] = self.drop_rate
        if self.image_size is not None:
            own = {"input_size": (3, self.image_size, self.image_size)}
            args["pretrained_cfg_overlay"] = {**args.get("pretrained_cfg_overlay", {}), **own}
        with reproducible(self.seed, device_name()):
            network = load_timm(replace(spec, args=args), n_classes, pretrained)
        for parameter in _classifier(network).parameters():
            torch.nn.init.zeros_(parameter)
        self._preprocessing, self._device = timm_preprocessing(network), device_name()
        geometry = self._preprocessing.geometry
        rule = choose_training(network, min(geometry.height, geometry.width), self._device)
        self._precision = rule if self.precision == "auto" else self.precision
        self._network = network.to(device=self._device, memory_format=torch.channels_last)


def _classifier(network: nn.Module) -> nn.Module:
    """Return the last layer; a distilled network has two."""
    from torch import nn

    found = network.get_classifier()
    return nn.ModuleList(found) if isinstance(found, tuple) else found
