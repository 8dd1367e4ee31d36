"""The classifier of a timm network: where it is, and a dense layer in front of it as classic recipes have it."""

from __future__ import annotations

from torch import nn

from kit.core.errors import InputError


def classifiers(network: nn.Module) -> list[nn.Module]:
    """Return the last layers: a distilled network has two."""
    found = network.get_classifier()
    return list(found) if isinstance(found, tuple) else [found]


def start_classifier(network: nn.Module, head: str, units: int, drop_rate: float, name: str) -> None:
    """Give a network its new classifier, the output layer at zero.

    Draws the dense layer from torch's own generator.

    Parameters
    ----------
    network
        A timm network.
    head
        ``"linear"``: pooling - output; ``"dense"``: pooling - dense - ReLU - dropout - output; ``"dense_norm"``:
        pooling - dense - ReLU - batch norm - dropout - output.
    units
        Of the dense layer.
    drop_rate
        Of the dropout in front of the output, 0..1; that of a linear head is the network's own.
    name
        The encoder, for messages.

    Raises
    ------
    InputError
        When a dense layer is asked for and the network's classifier is no linear layer.
    """
    if head != "linear":
        for own in classifiers(network):
            if not isinstance(own, nn.Linear):
                raise InputError(f'head = "{head}": the classifier of {name} is no linear layer; use head = "linear"')
            place = next(path for path, module in network.named_modules() if module is own)
            norm = [nn.BatchNorm1d(units)] if head == "dense_norm" else []
            layers = [nn.Linear(own.in_features, units), nn.ReLU(), *norm, nn.Dropout(drop_rate)]
            network.set_submodule(place, nn.Sequential(*layers, nn.Linear(units, own.out_features)))
    for own in classifiers(network):
        for parameter in (own if head == "linear" else own[-1]).parameters():
            nn.init.zeros_(parameter)
