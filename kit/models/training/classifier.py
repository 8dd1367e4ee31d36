"""The classifier of a timm network: where it is, and a dense layer in front of it as classic recipes have it."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from kit.core.errors import InputError


class _TimmNetwork(Protocol):
    """What timm's networks have beside torch's."""

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        """Return the last layer."""
        ...

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return features before pooling."""
        ...

    def forward_head(self, features: Tensor, pre_logits: bool) -> Tensor:
        """Return what the classifier reads of them."""
        ...


def classifiers(network: nn.Module) -> list[nn.Module]:
    """Return the last layers: a distilled network has two."""
    last = cast(_TimmNetwork, network).get_classifier()
    return list(last) if isinstance(last, tuple) else [last]


def pooled_features(network: nn.Module, pixels: Tensor) -> Tensor:
    """Return what the classifier of a timm network reads, (n_images, n_dims)."""
    timm_network = cast(_TimmNetwork, network)
    return timm_network.forward_head(timm_network.forward_features(pixels), pre_logits=True)


def start_classifier(network: nn.Module, head: str, units: int, drop_rate: float, name: str) -> None:
    """Give a network its new classifier, the output layer at zero.

    Draws the dense layer from torch's generator.

    Parameters
    ----------
    head
        ``"linear"``: pooling - output; ``"dense"``: pooling - dense - ReLU - dropout - output; ``"dense_norm"``:
        pooling - dense - ReLU - batch norm - dropout - output.
    drop_rate
        Of the dropout in front of the output, 0..1; that of a linear head is the network's.

    Raises
    ------
    InputError
        When a dense layer is asked for and the network's classifier is no linear layer.
    """
    if head != "linear":
        for last in classifiers(network):
            if not isinstance(last, nn.Linear):
                raise InputError(f'head = "{head}": the classifier of {name} is no linear layer; use head = "linear"')
            place = next(path for path, module in network.named_modules() if module is last)
            norm = [nn.BatchNorm1d(units)] if head == "dense_norm" else []
            layers = [nn.Linear(last.in_features, units), nn.ReLU(), *norm, nn.Dropout(drop_rate)]
            network.set_submodule(place, nn.Sequential(*layers, nn.Linear(units, last.out_features)))
    for last in classifiers(network):
        output = last[-1] if head != "linear" and isinstance(last, nn.Sequential) else last
        for parameter in output.parameters():
            nn.init.zeros_(parameter)
