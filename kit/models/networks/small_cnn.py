"""A small convolutional network from scratch: what the pixels alone give, without anybody's pretrained weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kit.core.errors import InputError
from kit.core.names import MULTICLASS, MULTILABEL
from kit.core.shapes import Tensors, Vectors
from kit.data.images import Gallery, Images
from kit.models.networks.trained import TrainedNetwork
from kit.models.search import Between
from kit.models.training.recipe import recipe_of

if TYPE_CHECKING:
    from torch import nn

RESIZES = {"crop": "shortest", "pad": "longest", "squash": "squash"}  # in the store's words
GREY = 128  # of the padding: 0 for the network, whose pixels lie in -1..1
PIXEL_MEAN, PIXEL_STD = (0.5,) * 3, (0.5,) * 3  # of pixels scaled to 0..1


@dataclass(kw_only=True)
class SmallCNN(TrainedNetwork):
    """Train a stack of convolutions: 3x3 convolution, batch norm, ReLU and max pooling for each entry of `channels`.

    Their mean over the image goes through a dense layer with ReLU, where there is one, and dropout to the output.

    Parameters
    ----------
    image_size
        Side of the square images in pixels.
    resize
        ``"squash"`` the whole image at any ratio, ``"pad"`` it to keep the ratio, ``"crop"`` the middle.
    channels
        Of each convolution; each halves height and width.
    head_units
        Of the dense layer; 0 for none.
    drop_rate
        Dropout before the output layer.
    tta, precision, seed
        As `kit.models.networks.trained.TrainedNetwork`.
    epochs, batch_size, lr, ...
        All other keys are those of `kit.models.training.recipe.Recipe`; there are no pretrained weights to freeze or
        to adapt.
    """

    tasks: ClassVar[tuple[str, ...]] = (MULTICLASS, MULTILABEL)
    usual_epochs: ClassVar[int] = 60
    usual_lr: ClassVar[float] = 2e-3

    image_size: Annotated[int, Field(ge=8, le=512)] = 64
    resize: Literal["crop", "pad", "squash"] = "squash"
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = field(
        default_factory=lambda: [32, 64, 128]
    )
    head_units: Annotated[int, Field(ge=0)] = 0
    drop_rate: Annotated[float, Field(ge=0, lt=1), Between(0, 0.5)] = 0.2
    lr: Annotated[float, Field(ge=0), Between(1e-4, 1e-2, log=True)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1), Between(0, 0.3)] = 0.1
    augment: Literal["none", "light", "strong", "rotate_shift"] = "light"

    def __post_init__(self) -> None:
        super().__post_init__()
        frozen: dict[str, object] = {"frozen_epochs": self.frozen_epochs, "lora_rank": self.lora_rank}
        frozen |= {"freeze_batch_norm": self.freeze_batch_norm, "train_layers": self.leaves_layers}
        for key, value in frozen.items():
            if value:
                raise InputError(f"{key} keeps what was pretrained, and small_cnn starts from random weights: drop it")
        if self.image_size < 2 ** len(self.channels):
            raise InputError(
                f"channels: {len(self.channels)} poolings leave nothing of {self.image_size} pixels; give fewer "
                f"channels, or image_size = {2 ** len(self.channels)} or more"
            )

    def fit(self, labeled: Images, unlabeled: Images) -> SmallCNN:
        """Train on the labelled images, and on unlabelled ones where `semi` asks for them.

        InputError where training diverges or the recipe asks for what the network lacks; TimeIsUp, with a checkpoint.
        """
        self._build(labeled.n_classes)
        self.remember_classes(labeled)
        self._train(recipe_of(self, len(labeled)), labeled, unlabeled, self._layers[-1], asdict(self))
        return self

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> SmallCNN:
        """Take trained weights back."""
        self._build(len(classes))
        self._take_weights(tensors)
        return self

    def _start(self, pool: Gallery) -> SmallCNN:
        """Return a model with the same network before training."""
        start = replace(self)
        start._build(len(pool.classes))
        return start

    def _features(self, images: Images) -> Vectors:
        """Return the network's pooled features, (n_images, n_dims)."""
        from kit.models.training.batches import encode_network

        return encode_network(self._layers[:-1], images, self._preprocessing, self._device, self._precision)

    def _build(self, n_classes: int) -> None:
        """Build the network with random weights, on its device."""
        from kit.data.store import Geometry
        from kit.features.device import device_name
        from kit.features.encoders import Preprocessing
        from kit.models.training.batches import reproducible

        geometry = Geometry(self.image_size, self.image_size, RESIZES[self.resize], fill=GREY)
        with reproducible(self.seed, device_name()):
            self._layers = _stack(self.channels, self.head_units, self.drop_rate, n_classes)
        self._hold(self._layers, Preprocessing(geometry, PIXEL_MEAN, PIXEL_STD))


def _stack(channels: list[int], head_units: int, drop_rate: float, n_classes: int) -> nn.Sequential:
    """Return the network: convolutions, the mean over the image, and as its last module what names the classes."""
    from torch import nn

    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([3, *channels]):
        convolution = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        layers += [nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2))]
    n_dims = channels[-1]
    dense = [nn.Linear(n_dims, head_units), nn.ReLU()] if head_units else []
    output = nn.Linear(head_units or n_dims, n_classes)
    nn.init.zeros_(output.weight)  # random logits would only have to be unlearned
    nn.init.zeros_(output.bias)
    head = nn.Sequential(*dense, nn.Dropout(drop_rate), output)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
