"""A probe that learns from unlabelled images online: FixMatch, FreeMatch and Mean Teacher on cached features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field

from kit.core.errors import InputError
from kit.core.shapes import Logits, Tensors, Vectors
from kit.data.images import Images
from kit.models.balance import Balance
from kit.models.heads.head import Head, Setting
from kit.models.search import Between
from kit.models.training.recipe import Semi

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from kit.models.training.semi import Method

BLOCK = 16_384  # unlabelled images whose features are in memory together
TEACHER_DECAY = 0.99  # of the moving average of a Mean Teacher, per step, at most; it grows with the steps
WEIGHT, BIAS = "weight_{}", "bias_{}"  # names of the kept layers


@dataclass(kw_only=True)
class SemiProbe(Head, Semi):
    """Start at a logistic regression on the labels and go on with the unlabelled images, step by step.

    An unlabelled image's weak view is its features as they are; the strong view lacks some of them and is noisy, of
    unit length again. With ``unlabeled_weight = 0`` the probe stays at the regression, whose penalty it keeps.

    FreeMatch with ``align = true`` is what helped most reliably (features of a small CLIP, 4 labels per class, against
    the regression: CIFAR-10 .362 to .397, trashnet .470 to .478). A regression on few labels is seldom sure of
    anything: FixMatch's published threshold lets nothing pass, .6 does. A Mean Teacher's weight of 50 is too much here.

    Parameters
    ----------
    semi, unlabeled_ratio, unlabeled_weight, ...
        See `kit.models.training.recipe.Semi`; not ``"self_training"``, which is a model of its own.
    C
        Inverse strength of the regularisation on features of unit length.
    hidden
        Units of a hidden layer, which starts at random; 0 for none.
    steps
        Of the optimiser.
    batch_size
        Labelled images per step, at most.
    lr
        Highest learning rate per step, of Adam; it falls to zero along a cosine.
    dropout
        Share of the features that the strong view lacks.
    noise
        Length of the noise in the strong view, in lengths of the features.
    """

    semi: Literal["mean_teacher", "fixmatch", "freematch"] = "freematch"  # pyright: ignore[reportIncompatibleVariableOverride]  fewer
    C: Annotated[float, Field(gt=0), Between(1, 3e3, log=True)] = 300.0
    hidden: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=1)] = 64
    lr: Annotated[float, Field(gt=0), Between(1e-3, 1e-1, log=True)] = 1e-2
    dropout: Annotated[float, Field(ge=0, lt=1), Between(0, 0.5)] = 0.2
    noise: Annotated[float, Field(ge=0), Between(0, 0.5)] = 0.1

    def __post_init__(self) -> None:
        Balance.__post_init__(self)
        Semi.__post_init__(self)

    def fit(self, labeled: Images, unlabeled: Images) -> Self:
        """Learn from the labelled images, then from both; `record_` holds what the unlabelled ones taught.

        Raises
        ------
        InputError
            When there is no unlabelled image.
        """
        self._unlabeled = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))
        if not len(self._unlabeled):
            raise InputError("semi_probe learns from unlabelled images and there is none: linear_probe needs none")
        return super().fit(labeled, unlabeled)

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Train the layers; return their weights."""
        import torch

        from kit.models.training.batches import reproducible
        from kit.models.training.finessl import make_method

        shares = np.bincount(labeled.labels, labeled.weights, labeled.n_classes)
        method = make_method(self, torch.from_numpy(shares / shares.sum()))
        with reproducible(self.seed, "cpu"):
            layers = self._start(features, labeled)
            layers = self._train(layers, method, torch.from_numpy(features), labeled)
        self.record_ = method.report()
        linear = _linear(layers)
        kept = {WEIGHT.format(i): layer.weight.detach().numpy() for i, layer in enumerate(linear)}
        return kept | {BIAS.format(i): layer.bias.detach().numpy() for i, layer in enumerate(linear)}

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return (n_images, n_classes) logits."""
        for i in range(len(learned) // 2):
            if i:
                features = np.maximum(features, 0)
            features = features @ learned[WEIGHT.format(i)].T + learned[BIAS.format(i)]
        return features

    def _start(self, features: Vectors, labeled: Images) -> nn.Sequential:
        """Build the layers; the last is the regression on what it reads."""
        import torch
        from torch import nn

        from kit.models.training.probe import fit_probe, set_head

        n_dims = features.shape[1]
        layers = nn.Sequential()
        if self.hidden:
            layers.extend([hidden := nn.Linear(n_dims, self.hidden), nn.ReLU()])
            nn.init.normal_(hidden.weight, std=math.sqrt(2 / self.hidden))  # keeps the length of what comes in
        with torch.no_grad():
            read = layers(torch.from_numpy(features)).numpy()
        layers.append(output := nn.Linear(read.shape[1], labeled.n_classes))
        set_head(output, *fit_probe(read, labeled, self.C))
        return layers

    def _train(self, layers: nn.Sequential, method: Method, features: Tensor, labeled: Images) -> nn.Sequential:
        """Take the steps; return what shall predict."""
        import torch
        from timm.utils.model_ema import ModelEmaV3

        from kit.models.training.batches import draw_steps, weighted_targets

        generator = torch.Generator().manual_seed(self.seed)
        batches = draw_steps(labeled.rows, self.batch_size, self.steps, generator)
        optimizer = torch.optim.Adam(layers.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        average = ModelEmaV3(layers, TEACHER_DECAY, use_warmup=True) if method.by_average else None
        n_unlabeled = self.of_semi("unlabeled_ratio") * min(self.batch_size, len(labeled))
        stream = self._stream(n_unlabeled * self.steps, n_unlabeled, generator)
        for step, (positions, weak) in enumerate(zip(batches, stream, strict=True)):
            targets = weighted_targets(labeled, positions, 0.0)
            loss = torch.nn.functional.cross_entropy(layers(features[positions]), targets) + self._penalty(
                layers, labeled
            )
            with torch.no_grad():
                logits = (average.module if average else layers)(weak)
            wanted = method.teach(logits, step / self.steps)
            if wanted is not None:
                loss = loss + method.loss(layers(self._vary(weak, generator)), wanted) / len(weak)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if average:
                average.update(layers, step=step + 1)
        return average.module if average else layers

    def _penalty(self, layers: nn.Sequential, labeled: Images) -> Tensor:
        """Return the regression's penalty on the weights, as large beside a mean loss as it is beside a sum."""
        import torch

        squares = sum((layer.weight.square().sum() for layer in _linear(layers)), torch.zeros(()))
        return squares / (2 * self.C * float(labeled.weights.sum()))

    def _stream(self, n_images: int, n_batch: int, generator: Generator) -> Iterator[Tensor]:
        """Give batches of unlabelled features; memory does not grow with the pool."""
        import torch

        from kit.models.training.batches import draw_passes

        order = draw_passes(self._unlabeled.rows, n_images, generator)
        for part in np.split(order, range(block := max(1, BLOCK // n_batch) * n_batch, len(order), block)):
            yield from torch.from_numpy(self._features(self._unlabeled.take(part))).split(n_batch)

    def _vary(self, features: Tensor, generator: Generator) -> Tensor:
        """Return strong views, of unit length."""
        import torch
        from torch.nn import functional

        kept = torch.rand(features.shape, generator=generator) >= self.dropout
        noise = torch.randn(features.shape, generator=generator) * (self.noise / math.sqrt(features.shape[1]))
        return functional.normalize(features * kept + noise, dim=1)


def _linear(layers: nn.Sequential) -> list[nn.Linear]:
    """Return the layers that have weights."""
    from torch import nn

    return [layer for layer in layers if isinstance(layer, nn.Linear)]
