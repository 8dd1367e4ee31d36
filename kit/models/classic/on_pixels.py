"""What scikit-learn's models read: an encoder's features, or pixels where there is none."""

from __future__ import annotations

from typing import Any

from kit.core.shapes import Vectors
from kit.data.images import Images
from kit.features.cache import image_features
from kit.models.model import Model


class OnPixels(Model):
    """Read an encoder's features, or pixels without one; a subclass has these fields, with its defaults.

    Parameters
    ----------
    encoder
        Encoder whose features are used; None for pixels and colour histograms.
    encoder_args
        Constructor arguments of the encoder.
    pixels
        Side of the image where there is no encoder, in pixels.
    """

    encoder: str | None
    encoder_args: dict[str, Any]
    pixels: int

    def _features(self, images: Images) -> Vectors:
        """Return what the model reads of images, (n_images, n_dims) float32."""
        return image_features(images, self.encoder, self.encoder_args, self.pixels)
