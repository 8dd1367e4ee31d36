"""Fine-tuning of any timm network, pretrained or from scratch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kit.core.errors import InputError
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Tensors, Vectors
from kit.data.images import Gallery, Images
from kit.features.weights import EncoderSpec, parse_encoder, spec_of
from kit.models.networks.trained import TrainedNetwork
from kit.models.search import Between
from kit.scoring.task import Task

if TYPE_CHECKING:
    from torch import nn

FROZEN_EPOCHS = 3  # where training does not start at a probe

RESIZES: dict[str, dict[str, Any]] = {  # in timm's words
    "crop": {"crop_mode": "center"},
    "pad": {"crop_mode": "border", "crop_pct": 1.0},
    "squash": {"crop_mode": "squash", "crop_pct": 1.0},
}


@dataclass(kw_only=True)
class FineTune(TrainedNetwork):
    """Train a timm network with a new classifier: first the classifier alone, then all of it, or from a probe on.

    Where `epochs` is not written, training suits few labels: the classifier starts as a linear probe, training takes
    100 steps or more, with rates that fall from layer to layer, and with under 500 training images the last 2 layers
    learn alone, on kept activations of 8 views of each image.

    A classifier that is no probe starts at zero. timm draws that of an EfficientNet or MobileNet from
    +-1 / sqrt(n_classes), which gives logits of 10 and more with few classes: with 15 labels each, training only came
    to undo them (trashnet, MobileNetV2, same draw: accuracy .36, from zero .60).

    Parameters
    ----------
    encoder
        ``timm:NAME`` or ``timm:NAME@FILE.safetensors``.
    encoder_args
        Constructor arguments of the network, such as ``drop_path_rate``.
    pretrained
        False to start from random weights; then nothing is frozen.
    image_size
        Side of the square images in pixels; None for the network's own.
    resize
        ``"crop"`` the middle, ``"pad"`` to keep the aspect ratio and all of the image, ``"squash"`` to keep all of it
        at any ratio; None for the network's own.
    head
        What follows the pooled features: ``"linear"``, the output layer; ``"dense"``, a dense layer, ReLU and the
        output; ``"dense_norm"``, a dense layer, ReLU, batch norm and the output.
    head_units
        Of the dense layer.
    probe_first
        Start the classifier at a linear probe on the pretrained network's features, in place of the frozen epochs
        (Kumar et al. 2022, LP-FT). None to do so where neither `epochs` nor `frozen_epochs` is written, the network is
        pretrained, its classifier linear, and an image has one label.
    frozen_epochs
        See `kit.models.training.recipe.Recipe`; None for 3 of a pretrained network that does not start at a probe.
    drop_rate
        Dropout before the output layer; None for the network's own, after a dense layer none.
    tta, precision, seed
        As `kit.models.networks.trained.TrainedNetwork`.
    epochs, steps, batch_size, lr, head_lr, ...
        All other keys are those of `kit.models.training.recipe.Recipe`.
    """

    tasks: ClassVar[tuple[str, ...]] = (MULTICLASS, MULTILABEL)
    least_steps: ClassVar[int] = 100

    encoder: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    image_size: Annotated[int, Field(ge=8)] | None = None
    resize: Literal["crop", "pad", "squash"] | None = None
    head: Literal["linear", "dense", "dense_norm"] = "linear"
    head_units: Annotated[int, Field(ge=1)] = 256
    probe_first: bool | None = None
    head_lr: Annotated[float, Field(ge=0), Between(1e-4, 1e-2, log=True, needs="pretrained")] | None = 1e-3
    label_smoothing: Annotated[float, Field(ge=0, lt=1), Between(0, 0.3)] = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    augment: Literal["none", "light", "strong", "rotate_shift"] = "light"
    drop_rate: Annotated[float, Field(ge=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pretrained and (self.probe_first or self.lora_rank or self.leaves_layers):
            raise InputError(
                "probe_first, lora_rank and train_layers build on a pretrained network: they need pretrained = true"
            )
        if self.probe_first and self.head != "linear":
            raise InputError(f'probe_first: a probe is linear and head = "{self.head}" is not; use one of them')

    @property
    def needs_weights(self) -> bool:
        """Return whether the encoder's weights must be there: not to start from random ones."""
        return self.pretrained

    def check_task(self, task: Task) -> None:
        """Refuse options that name one class per image where an image may have several."""
        super().check_task(task)
        if task.is_multilabel and self.probe_first:
            raise InputError("probe_first: the probe names one class per image; with several use frozen_epochs")

    def fit(self, labeled: Images, unlabeled: Images) -> FineTune:
        """Train on the labelled images, and on unlabelled ones where `semi` asks for them.

        InputError where timm cannot build the network or training diverges; MissingWeights where they cannot be had;
        TimeIsUp at the time limit, after a checkpoint.
        """
        from torch import nn

        from kit.features.weights import find_weights
        from kit.models.training.classifier import classifiers
        from kit.models.training.probe import fit_probe, set_head

        spec = spec_of(labeled.pool, self.encoder, self.encoder_args)
        if self.pretrained:
            find_weights(spec)
        self._build(spec, labeled.n_classes, self.pretrained)
        self.remember_classes(labeled)
        recipe = self._settle_recipe(labeled, self.pretrained)
        heads = self._probe_heads(labeled)
        if heads:
            values = self._features(labeled)
            for head in heads:  # those of a distilled network are averaged, and so are their features
                set_head(head, *fit_probe(values, labeled))
            recipe = self._settle_temperatures(recipe, labeled, unlabeled, values)
        elif recipe.semi == "swift":
            raise InputError('semi = "swift" starts at a probe: a pretrained network, head = "linear", probe_first')
        usual = FROZEN_EPOCHS if self.frozen_epochs is None else self.frozen_epochs
        recipe = replace(recipe, frozen_epochs=usual if self.pretrained and not heads else 0)
        head = nn.ModuleList(classifiers(self._network))
        self._train(recipe, labeled, unlabeled, head, [asdict(self), spec.identity])
        return self

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> FineTune:
        """Take trained weights back; the pretrained ones are not needed."""
        name = self.encoder.partition("@")[0]
        self._build(parse_encoder(name, self.encoder_args), len(classes), pretrained=False)
        self._take_weights(tensors)
        return self

    def _start(self, pool: Gallery) -> FineTune:
        """Return a model with the same network before training."""
        from kit.features.weights import find_weights

        start, spec = replace(self), spec_of(pool, self.encoder, self.encoder_args)
        if self.pretrained:
            find_weights(spec)
        start._build(spec, len(pool.classes), self.pretrained)
        return start

    def _probe_heads(self, labeled: Images) -> list[nn.Linear]:
        """Return the classifiers that shall start as a linear probe on the pooled features; none where none shall.

        InputError where `probe_first` asks for it and the classifiers cannot be one.
        """
        from torch import nn

        from kit.models.training.classifier import classifiers

        is_asked = bool(self.probe_first)
        may = self.pretrained and self.head == "linear" and not labeled.is_multilabel and self.frozen_epochs is None
        if not is_asked and not (self.probe_first is None and self.is_left_to_rule and may):
            return []
        n_dims = self._features(labeled.take(np.arange(1))).shape[1]
        every = classifiers(self._network)
        heads = [head for head in every if isinstance(head, nn.Linear) and head.in_features == n_dims]
        if len(heads) == len(every):
            return heads
        if is_asked:
            raise InputError(
                f"probe_first: the classifier of {self.encoder} is no linear layer on its pooled features; use "
                "frozen_epochs"
            )
        return []

    def _features(self, images: Images) -> Vectors:
        """Return the network's pooled features as they are, (n_images, n_dims)."""
        from kit.models.training.batches import encode_network
        from kit.models.training.classifier import pooled_features

        return encode_network(
            self._network, images, self._preprocessing, self._device, self._precision, pooled_features
        )

    def _build(self, spec: EncoderSpec, n_classes: int, pretrained: bool) -> None:
        """Build the network on its device, with its head, preprocessing and precision."""
        from kit.features.device import device_name
        from kit.features.encoders import load_timm, timm_preprocessing
        from kit.models.training.batches import reproducible
        from kit.models.training.classifier import start_classifier

        if spec.library != "timm":
            raise InputError(f"encoder {spec.text!r}: fine_tune trains timm networks; clip_finetune trains open_clip's")
        with reproducible(self.seed, device_name()):
            network = load_timm(replace(spec, args=self._arguments(spec)), n_classes, pretrained)
            start_classifier(network, self.head, self.head_units, self.drop_rate or 0.0, spec.text)
        self._hold(network, timm_preprocessing(network))

    def _arguments(self, spec: EncoderSpec) -> dict[str, Any]:
        """Return the constructor arguments of the network: those given, and those that the options mean."""
        args, overlay = dict(spec.args), {}
        if self.drop_rate is not None and self.head == "linear":
            args["drop_rate"] = self.drop_rate
        if self.image_size is not None:
            overlay["input_size"] = (3, self.image_size, self.image_size)
        if self.resize is not None:
            overlay |= RESIZES[self.resize]
        if overlay:
            args["pretrained_cfg_overlay"] = {**args.get("pretrained_cfg_overlay", {}), **overlay}
        return args
