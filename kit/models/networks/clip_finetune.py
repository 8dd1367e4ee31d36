"""Fine-tuning of CLIP against words, as WiSE-FT (Wortsman et al. 2022)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.core.errors import InputError
from kit.core.shapes import Proba, Tensors, Vectors
from kit.data.images import Gallery, Images
from kit.features.prompts import prompts_of, read_text_weights
from kit.features.weights import spec_of
from kit.models.networks.trained import TrainedNetwork
from kit.models.search import Between

if TYPE_CHECKING:
    from torch import Tensor

    from kit.models.training.clip import ClipClassifier

HEAD, START = ("head.weight", "head.bias"), "start."  # the probe's tensors, and the prefix under which they are kept
ALPHAS = [step / 10 for step in range(11)]  # 0 first: in a tie the model that saw no label is preferred
FROM_PROBE = [0.8, *(alpha for alpha in ALPHAS if alpha != 0.8)]  # 0.8 first: measured, see the bench's README


@dataclass(kw_only=True)
class ClipFinetune(TrainedNetwork):
    """Train CLIP so that images come close to their class's words; blend it with what it was before.

    `theta_0` is where training starts, `theta_1` where it ends, and every `alpha` between is a model of its own, often
    better than both. Training starts at the text features of the prompt list, so that `theta_0` is the zero-shot
    classifier, or at a linear probe, to which the words are added where they help it (`probe_first`). The logit scale
    is CLIP's and stays fixed. So do the statistics of batch norms in a ResNet tower: some hundred images estimate them
    badly, and averaged statistics do not fit averaged weights.

    Where `epochs` is not written, training suits few labels: it starts at the probe, takes 100 steps or more, with
    rates that fall from layer to layer, and with under 500 training images the last 2 layers learn alone, on kept
    activations of 8 views of each image. Alpha is then 0.8, unless the other folds speak against it: at 0 it is the
    probe itself.

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
    train
        ``"image"`` for the image tower, ``"both"`` for the text tower too: then the words come anew from the prompts
        in every step, with many prompts one drawn for each class, and both towers are blended.
    train_head
        Let the words' features learn too, as the head of the image tower.
    probe_first
        Start the head at a linear probe on the untouched tower's features, then train both (Kumar et al. 2022,
        LP-FT); a share of the words is added that cross-validation on the training images chooses. Blends of heads are
        blends of logits. None to do so where `epochs` is not written and neither the words nor the text tower learn.
    tta, precision, seed
        As `kit.models.networks.trained.TrainedNetwork`.
    lr
        Of the body; None for 3e-4 where the last layers learn alone, else for 1e-5.
    epochs, steps, batch_size, ...
        All other keys are those of `kit.models.training.recipe.Recipe`; the head of frozen_epochs and head_lr is that
        of train_head or probe_first.

    References
    ----------
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, section 3.
    """

    sweep_name: ClassVar[str] = "alpha"
    usual_epochs: ClassVar[int] = 10
    least_steps: ClassVar[int] = 100
    usual_lr: ClassVar[float] = 1e-5
    few_lr: ClassVar[float] = 3e-4

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    prompts: str = "names"
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    train: Literal["image", "both"] = "image"
    train_head: bool = False
    probe_first: bool | None = None
    lr: Annotated[float, Field(ge=0), Between(1e-7, 1e-3, log=True)] | None = None
    weight_decay: Annotated[float, Field(ge=0), Between(1e-3, 0.5, log=True)] = 0.1
    augment: Literal["none", "light", "strong", "rotate_shift"] = "light"
    freeze_batch_norm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.taus() != [0.0]:
            raise InputError(
                f'clip_finetune: balance = "{self.balance}" adjusts predictions, of which alpha makes many; '
                'loss = "balanced_softmax" does the same in training'
            )
        head_learns = self.train_head or self.starts_at_probe
        if head_learns and self.train == "both":
            raise InputError('train = "both" makes the head anew in every step: drop train_head and probe_first')
        if (self.frozen_epochs or self.head_lr is not None) and not head_learns:
            raise InputError("frozen_epochs and head_lr are those of a head that learns: set train_head or probe_first")
        if self.train == "both" and (self.leaves_layers or self.semi == "finessl"):
            raise InputError('train = "both" trains all of both towers: drop train_layers and semi = "finessl"')
        if self.semi == "swift" and not self.starts_at_probe:
            raise InputError(
                'semi = "swift" starts at a probe: drop probe_first = false, train_head and train = "both"'
            )
        self._has_bias = self.starts_at_probe
        self._loaded: float | None = None  # alpha of the network that is built; None before
        self._probe: dict[str, Tensor] = {}  # the head that training started at, of a restored model

    def fit(self, labeled: Images, unlabeled: Images) -> ClipFinetune:
        """Train on the labelled images, and on unlabelled ones where `semi` asks for them.

        InputError where the encoder is not open_clip's, the prompt list does not fit or training diverges;
        MissingWeights where they cannot be had; TimeIsUp at the time limit, after a checkpoint.
        """
        from kit.models.training.blend import copy_state

        self._has_bias = self.starts_at_probe
        self._build(labeled.pool)
        recipe = self._settle_recipe(labeled, is_pretrained=self.train == "image")
        if self.starts_at_probe:
            values = self._features(labeled)
            self._start_at_probe(labeled, values)
            self._probe = {name: value for name, value in copy_state(self._network).items() if name in HEAD}
            self._theta_0 |= self._probe
            recipe = self._settle_temperatures(recipe, labeled, unlabeled, values)
        self._train(recipe, labeled, unlabeled, self._network.head, self._made_from)
        if self.train == "both":
            self._network.keep_words()
        self._theta_1, self._loaded = copy_state(self._network), 1.0
        return self

    def predict_proba(self, images: Images) -> Proba:
        """Return probabilities at the settled alpha, the default where none was, (n_images, n_classes)."""
        return self._predict(images, self.sweep_default if self.alpha is None else self.alpha)

    def encode(self, images: Images, alpha: float) -> Vectors:
        """Return the image tower's features of unit length, (n_images, n_dims) float32, at an alpha in 0..1."""
        from kit.models.training.batches import encode_network

        self._load(images.pool, alpha)
        return encode_network(
            self._network, images, self._preprocessing, self._device, self._precision, type(self._network).encode
        )

    @property
    def sweep_default(self) -> float:
        """Return the authors' advice where no validation data can choose; from a probe on, what was measured."""
        return FROM_PROBE[0] if self.starts_at_probe else 0.5

    def sweep_values(self) -> list[float]:
        """Return the alphas to try, the preferred first."""
        if self.alpha is not None:
            return [self.alpha]
        return FROM_PROBE if self.starts_at_probe else ALPHAS

    def predict_sweep(self, images: Images) -> Proba:
        """Return probabilities at every alpha, (n_values, n_images, n_classes)."""
        return np.stack([self._predict(images, alpha) for alpha in self.sweep_values()])

    def settle(self, value: float) -> None:
        """Predict with this alpha from now on."""
        self.alpha = value

    def tensors(self) -> Tensors:
        """Return `theta_1`, words' features included; `theta_0` is the encoder's and not kept twice."""
        kept = {name: tensor.contiguous().numpy() for name, tensor in self._theta_1.items()}
        return kept | {f"{START}{name}": value.numpy() for name, value in self._probe.items()}

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> ClipFinetune:
        """Take `theta_1` back; `theta_0` is read from the encoder's weights with the first prediction."""
        import torch

        every = {name: torch.tensor(value) for name, value in tensors.items()}
        self._theta_1 = {name: value for name, value in every.items() if not name.startswith(START)}
        self._probe = {name: every[f"{START}{name}"] for name in HEAD if f"{START}{name}" in every}
        self._has_bias, self._loaded = "head.bias" in tensors, None
        return self

    def _predict(self, images: Images, alpha: float) -> Proba:
        """Return the probabilities of one blend, (n_images, n_classes)."""
        from kit.models.training.batches import predict_network
        from kit.models.training.clip import ClipClassifier

        self._load(images.pool, alpha)
        return predict_network(
            self._network,
            images,
            self._preprocessing,
            self._device,
            self._precision,
            ClipClassifier.forward,
            tta=self.tta,
        )

    def _load(self, pool: Gallery, alpha: float) -> None:
        """Let the network be one blend; the words of a blend are those of the blended text tower."""
        from kit.models.training.blend import interpolate

        if self._loaded is None:
            self._build(pool)
            self._theta_0 |= self._probe
            self._network.load_state_dict(self._theta_0)
        if self._loaded == alpha:
            return
        self._network.load_state_dict(interpolate(self._theta_0, self._theta_1, alpha))
        if self.train == "both" and 0 < alpha < 1:  # at the ends the head holds them already
            self._network.keep_words()
        self._loaded = alpha

    @property
    def starts_at_probe(self) -> bool:
        """Return whether training starts at a linear probe: unless it was said not to, or the words learn."""
        if self.probe_first is None:
            return self.is_left_to_rule and self.train == "image" and not self.train_head
        return self.probe_first

    def _features(self, images: Images) -> Vectors:
        """Return the untouched tower's features, (n_images, n_dims)."""
        return self.encode(images, alpha=0.0)

    def _start_at_probe(self, labeled: Images, values: Vectors) -> None:
        """Let the head be a linear probe on the untouched tower's features, and the words where they help it."""
        from kit.models.training.probe import fit_probe, set_head, weigh_words

        coefficients, intercepts = fit_probe(values, labeled)
        scale, words = self._network.logit_scale, self._theta_0["head.weight"].numpy()
        share = weigh_words(values, scale * values @ words.T, labeled)
        set_head(self._network.head, coefficients / scale + share * words, intercepts / scale)

    def _build(self, pool: Gallery) -> None:
        """Build the zero-shot classifier: towers and words; what it is made of is `theta_0`."""
        from kit.features.device import choose_training, device_name, place_network
        from kit.features.encoders import load_encoder
        from kit.models.training.batches import reproducible
        from kit.models.training.blend import copy_state
        from kit.models.training.clip import make_classifier

        spec, words = spec_of(pool, self.encoder, self.encoder_args), prompts_of(pool, self.prompts)
        if spec.library != "open_clip":
            raise InputError(f"encoder {spec.text!r}: clip_finetune trains open_clip models; fine_tune trains timm's")
        with reproducible(self.seed, device_name()):  # networks draw random weights before they load others
            text = read_text_weights(pool, self.encoder, self.encoder_args, self.prompts)
            encoder = load_encoder(spec)
            network = make_classifier(encoder, text, words if self.train == "both" else None, self._has_bias)
        network.head.requires_grad_(self.train_head or self.starts_at_probe)
        self._preprocessing, self._device = encoder.preprocessing, device_name()
        geometry = self._preprocessing.geometry
        rule = choose_training(network.tower, min(geometry.height, geometry.width), self._device)
        self._precision = rule if self.precision == "auto" else self.precision
        place_network(network, self._device, "float32")
        self._network: ClipClassifier = network
        self._theta_0, self._loaded = copy_state(network), 0.0
        self._made_from = [asdict(self), spec.identity, words.key]
