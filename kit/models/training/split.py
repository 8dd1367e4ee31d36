"""A network cut in two: the lower part stays as it is, so that its activations are computed once and kept.

What the lower part gives for varied views of the training images is computed before the first step; a step then costs
the upper part alone. Where a network cannot be cut, its images go all the way through it in every step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kit.core.terminal import note
from kit.models.training.batches import Forward

TOLERANCE = 1e-3  # of logits, relative to the largest: both ways through the network agree so far


class _Reached(Exception):
    """Carry the activations at the cut out of a forward pass that need not go on."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values


class Split:
    """Cut a network in front of the first module that learns.

    The modules are known by their names, so that copies of the network, such as a moving average, are cut alike.

    Parameters
    ----------
    network
        Its parameters that do not require gradients are the lower part, but for those behind the cut.
    head
        What names the classes, which always learns.
    forward
        ``forward(network, pixels)`` gives logits.
    pixels
        (2 or more, 3, h, w), standardised: what the cut is tried with.

    Raises
    ------
    ValueError
        When the network cannot be cut: nothing learns or all of it, or its modules are no chain at the cut.
    """

    def __init__(self, network: nn.Module, head: nn.Module | None, forward: Forward, pixels: Tensor) -> None:
        self.forward = forward
        order, shapes = _trace(network, forward, pixels)
        of_head = {id(parameter) for parameter in head.parameters()} if head is not None else set()
        learning = set(_parts(network, order, lambda part: _is_all(part, of_head)))
        first = next((i for i, name in enumerate(order) if name in learning), 0)
        if not first:
            raise ValueError("no frozen module comes before one that learns")
        self.cut = order[first]
        later = set(order[first:])
        still = set(_parts(network, order, lambda part: not any(each.requires_grad for each in part.parameters())))
        self.skipped = {
            name: shapes[name][1:]
            for name in order[:first]
            if name in still - later and name in shapes and shapes[name][0] == len(pixels)
        }
        self._try(network, pixels)

    def lower(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """Return what arrives at the cut, (n_images, ...)."""

        def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
            raise _Reached(args[0])

        with network.get_submodule(self.cut).register_forward_pre_hook(stop):
            try:
                self.forward(network, pixels)
            except _Reached as reached:
                return reached.values
        raise ValueError(f"{self.cut} was not reached")

    def upper(self, network: nn.Module, values: Tensor) -> Tensor:
        """Return the logits of activations at the cut, (n_images, n_classes)."""
        blank = values.new_zeros(1).expand(len(values), 3, 1, 1)
        with (
            _skipping(network, self.skipped, values),
            network.get_submodule(self.cut).register_forward_pre_hook(lambda module, args: (values, *args[1:])),
        ):
            return self.forward(network, blank)

    @torch.no_grad()
    def _try(self, network: nn.Module, pixels: Tensor) -> None:
        """Compare both ways through the network."""
        whole = self.forward(network, pixels).float()
        values = self.lower(network, pixels)
        if len(values) != len(pixels):
            raise ValueError("activations at the cut are not image by image")
        try:
            parts = self.upper(network, values).float()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # what lies before the cut wants pixels
            raise ValueError(f"the upper part does not stand alone ({error})") from error
        if (whole - parts).abs().max() > TOLERANCE * whole.abs().max():
            raise ValueError("something passes by the cut")


def make_split(network: nn.Module, head: nn.Module | None, forward: Forward, pixels: Tensor) -> Split | None:
    """Return a network's cut, or None where it cannot be cut; the network is left in the mode that it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        return Split(network, head, forward, pixels)
    except ValueError as error:
        note(f"every step goes through the whole network: {error}")
        return None
    finally:
        for module in training:
            module.training = True


def _trace(network: nn.Module, forward: Forward, pixels: Tensor) -> tuple[list[str], dict[str, torch.Size]]:
    """Return the modules in the order in which they begin, and the shapes of what those that give one tensor give."""
    order: list[str] = []
    shapes: dict[str, torch.Size] = {}
    with contextlib.ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(lambda m, a, name=name: order.append(name)))
            hooks.enter_context(
                module.register_forward_hook(
                    lambda m, a, value, name=name: (
                        shapes.update({name: value.shape}) if isinstance(value, Tensor) and value.ndim else None
                    )
                )
            )
        forward(network, pixels)
    return order, shapes


def _parts(network: nn.Module, order: list[str], wanted: Callable[[nn.Module], bool], name: str = "") -> Iterator[str]:
    """Give the largest modules that run and are wanted."""
    module = network.get_submodule(name)
    if name and name in order and wanted(module):
        yield name
        return
    for child, _ in module.named_children():
        yield from _parts(network, order, wanted, f"{name}.{child}" if name else child)


def _is_all(module: nn.Module, of_head: set[int]) -> bool:
    """Return whether a module has parameters and all of them learn, none of them the head's."""
    parameters = list(module.parameters())
    return bool(parameters) and all(each.requires_grad and id(each) not in of_head for each in parameters)


@contextlib.contextmanager
def _skipping(network: nn.Module, skipped: dict[str, torch.Size], values: Tensor) -> Iterator[None]:
    """Let modules give zeros of the shape that they would give, and compute nothing."""
    modules = {name: network.get_submodule(name) for name in skipped}
    for name, module in modules.items():
        zeros = values.new_zeros(1).expand(len(values), *skipped[name])
        module.__dict__["forward"] = lambda *args, zeros=zeros, **options: zeros
    try:
        yield
    finally:
        for module in modules.values():
            del module.__dict__["forward"]
