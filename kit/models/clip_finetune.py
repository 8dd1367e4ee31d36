"""Fine-tuning of CLIP's image tower against fixed words, as WiSE-FT (Wortsman et al. 2022)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.errors import InputError
from kit.images import Images, Pool
from kit.prompts import prompts_of, read_text_weights
from kit.weights import parse_encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

ALPHAS = [step / 10 for step in range(11)]  # 0 first: in a tie the model that saw no label is preferred


@dataclass
class ClipFinetune:
    """Train CLIP's image tower so that images come close to their class's words; blend it with the zero-shot tower.

    The classifier is the text features of the prompt list, as in zero-shot classification, so `theta_0` is exactly
    that, `theta_1` is the fine-tuned model and every `alpha` between is a model of its own, often better than both.
    The logit scale is CLIP's and stays fixed. So do the statistics of batch norms in a ResNet tower: some hundred
    images estimate them badly, and averaged statistics do not fit averaged weights.

    Parameters
    ----------
    encoder
        An open_clip model.
    encoder_args
        Constructor arguments of the network.
    prompts
        Prompt list.
    alpha
        Weight of the fine-tuned model, 0..1; None to choose it for each fold on the other folds' oof rows.
    train_head
        Let the words' features learn too.
    epochs, batch_size, optimizer, lr, weight_decay, warmup_share, label_smoothing, mixup, cutmix, patience
        See `kit.training.recipe.Recipe`.
    ema_decay
        Largest decay per step of the average of the weights; 0 for none.
    augment
        ``"none"``, ``"light"`` or ``"strong"``.
    flip
        Mirror images in training: not for digits and letters.
    freeze_batch_norm
        Keep the pretrained statistics of batch norms.
    precision
        ``"auto"`` for a fixed rule per device and network, or ``"float32"``, ``"bfloat16"``, ``"float16"``.
    seed
        Of order, augmentation and dropout.

    References
    ----------
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, section 3.
    """

    sweep_name: ClassVar[str] = "alpha"
    sweep_default: ClassVar[float] = 0.5  # the authors' advice where no validation data can choose

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    prompts: str = "names"
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    train_head: bool = False
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 32
    optimizer: str = "adamw"
    lr: Annotated[float, Field(ge=0)] = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Literal["none", "light", "strong"] = "light"
    flip: bool = False
    patience: Annotated[int, Field(ge=1)] | None = None
    freeze_batch_norm: bool = True
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._checkpoint: Path | None = None
        self._network: nn.Module | None = None

    def fit(self, labeled: Images, unlabeled: Images) -> ClipFinetune:
        """Train on the labelled images.

        Raises
        ------
        InputError
            When the encoder is not open_clip's, the prompt list does not fit, or training diverges.
        MissingWeights
            When the weights cannot be had.
        TimeIsUp
            When the time limit is reached; the checkpoint is written before.
        """
        from kit.training import fit_network
        from kit.training.recipe import recipe_of

        self._build(labeled.pool)
        self.diary_ = fit_network(
            self._network,
            recipe_of(self),
            labeled,
            self._preprocessing,
            forward=self._forward,
            seed=self.seed,
            device=self._device,
            precision=self._precision,
            checkpoint=self._checkpoint,
            made_from=self._made_from,
        )
        self._theta_1 = copy_state(self._network)
        return self

    def predict_proba(self, images: Images) -> np.ndarray:
        """Return probabilities at the settled alpha, one half where none was, (n_images, n_classes)."""
        return self._predict(images, self.sweep_default if self.alpha is None else self.alpha)

    def sweep_values(self) -> list[float]:
        """Return the alphas to try."""
        return ALPHAS if self.alpha is None else [self.alpha]

    def predict_sweep(self, images: Images) -> np.ndarray:
        """Return probabilities at every alpha, (n_values, n_images, n_classes)."""
        return np.stack([self._predict(images, alpha) for alpha in self.sweep_values()])

    def settle(self, value: float) -> None:
        """Predict with this alpha from now on."""
        self.alpha = value

    def checkpoint_at(self, path: Path) -> None:
        """Write checkpoints to `path`, and go on from the one that lies there."""
        self._checkpoint = path

    def tensors(self) -> dict[str, np.ndarray]:
        """Return `theta_1`, words' features included; `theta_0` is the encoder's own and not kept twice."""
        return {name: tensor.contiguous().numpy() for name, tensor in self._theta_1.items()}

    def restore(self, tensors: dict[str, np.ndarray], classes: tuple[str, ...]) -> ClipFinetune:
        """Take `theta_1` back; `theta_0` is read from the encoder's weights with the first prediction."""
        import torch

        self._theta_1 = {name: torch.tensor(value) for name, value in tensors.items()}
        self._network = None
        return self

    def _predict(self, images: Images, alpha: float) -> np.ndarray:
        """Return the probabilities of one blend, (n_images, n_classes)."""
        from kit.training.batches import predict_network

        if self._network is None:
            self._build(images.pool)
        self._network.load_state_dict(interpolate(self._theta_0, self._theta_1, alpha))
        return predict_network(self._network, images, self._preprocessing, self._device, self._precision, self._forward)

    def _build(self, pool: Pool) -> None:
        """Build the zero-shot classifier: tower and words; what it is made of is `theta_0`."""
        import torch
        from torch import nn

        from kit.device import choose_training, device_name
        from kit.encoders import load_encoder
        from kit.training.batches import reproducible

        spec = parse_encoder(self.encoder, self.encoder_args, pool.lookup)
        if spec.library != "open_clip":
            raise InputError(f"encoder {spec.text!r}: clip_finetune trains open_clip models; fine_tune trains timm's")
        with reproducible(self.seed, device_name()):  # networks draw random weights before they load their own
            text = read_text_weights(pool, self.encoder, self.encoder_args, self.prompts)
            encoder, words = load_encoder(spec), torch.from_numpy(text.values)  # (n_classes, n_dims)
            head = nn.Linear(*words.T.shape, bias=False)
        head.weight = nn.Parameter(words, requires_grad=self.train_head)
        self._forward = partial(cosine_logits, logit_scale=text.logit_scale)
        self._preprocessing, self._device = encoder.preprocessing, device_name()
        geometry = self._preprocessing.geometry
        rule = choose_training(encoder.image_tower, min(geometry.height, geometry.width), self._device)
        self._precision = rule if self.precision == "auto" else self.precision
        self._network = nn.ModuleDict({"tower": encoder.image_tower, "head": head})
        self._network.to(device=self._device, memory_format=torch.channels_last)
        self._theta_0 = copy_state(self._network)
        self._made_from = [asdict(self), spec.identity, prompts_of(pool, self.prompts).key]


def interpolate(theta_0: dict[str, Tensor], theta_1: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) theta_0 + alpha theta_1.

    Whole-number buffers, such as the batches that a batch norm has counted, are theta_1's: a mean of counts would turn
    them into floats.

    Parameters
    ----------
    theta_0, theta_1
        Weights of the same network by name.
    alpha
        0 gives exactly theta_0, 1 exactly theta_1.
    """
    return {
        name: (1 - alpha) * theta_0[name] + alpha * value if value.is_floating_point() else value
        for name, value in theta_1.items()
    }


def cosine_logits(network: nn.ModuleDict, pixels: Tensor, logit_scale: float) -> Tensor:
    """Return CLIP's logits, (n_images, n_classes): cosines of images and words times the logit scale.

    The cosines are computed in float32: bfloat16 rounds them by up to 0.001, a tenth of a logit at a scale of 100.
    """
    import torch
    from torch.nn import functional

    features = network["tower"](pixels)
    with torch.autocast(pixels.device.type, enabled=False):
        features = functional.normalize(features.float(), dim=1)
        return logit_scale * functional.linear(features, network["head"].weight)


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
