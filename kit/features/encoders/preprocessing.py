"""How an encoder wants its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kit.core.errors import InputError, nearest
from kit.core.files import key_of
from kit.data.store import Geometry
from kit.features.weights import EncoderSpec

if TYPE_CHECKING:
    import torch

N_CHANNELS = 3


@dataclass(frozen=True)
class Preprocessing:
    """Hold how an encoder wants its images; mean and std are per channel, of pixels scaled to 0..1."""

    geometry: Geometry
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def key(self) -> str:
        """Return the hash that is saved with the features and compared on load."""
        return key_of(asdict(self))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (n_images, 3, h, w) uint8 into standardised float32."""
        import torch

        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.to(torch.float32) / 255 - mean) / std


def refuse_unknown(spec: EncoderSpec, place: str, given: Any, known: Iterable[str]) -> None:
    """Refuse what is no table, and a table's first key that is not among the known ones; `place` names the table."""
    if not isinstance(given, dict):
        raise InputError(f"encoder {spec.text!r}: {place} must be a table such as {{ key = value }}, not {given!r}")
    for key in given:
        if key not in known:
            raise InputError(f"encoder {spec.text!r}: {place} has no {key!r}; {nearest(key, known)}")


def read_word(spec: EncoderSpec, key: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return a word of the preprocessing; refuse one that is not among the choices."""
    if value not in choices:
        raise InputError(f"encoder {spec.text!r}: preprocessing {key} = {value!r}; {nearest(str(value), choices)}")
    return value


def read_channels(spec: EncoderSpec, key: str, value: Any) -> tuple[float, ...]:
    """Return a mean or standard deviation for each channel; one number stands for all."""
    numbers = [value] * N_CHANNELS if isinstance(value, int | float) else list(value)
    lowest = 0 if key == "mean" else 1e-6
    if len(numbers) != N_CHANNELS or not all(isinstance(n, int | float) and lowest <= n <= 1 for n in numbers):
        raise InputError(f"encoder {spec.text!r}: preprocessing {key} = {value!r}; write three numbers, 0..1")
    return tuple(float(number) for number in numbers)


def read_size(spec: EncoderSpec, value: Any) -> tuple[int, int]:
    """Return height and width of one number, of both, or of channels, height and width."""
    numbers = [value] * 2 if isinstance(value, int) else list(value)[-2:]
    if len(numbers) != 2 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise InputError(f"encoder {spec.text!r}: preprocessing size = {value!r}; write pixels, or [height, width]")
    return numbers[0], numbers[1]
