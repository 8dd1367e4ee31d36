"""The recipe by which a network is trained: the keys that every trained model of competition.toml shares."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kit.core.errors import InputError
from kit.models.balance import Balance
from kit.models.search import Between

# What each method reads, with its published value; a threshold of None is `SHARE_OF_SURE` of what label smoothing
# allows.
SEMI_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "mean_teacher": {"unlabeled_ratio": 3, "unlabeled_weight": 50.0, "ramp_share": 0.4},
    "fixmatch": {
        "unlabeled_ratio": 7,
        "unlabeled_weight": 1.0,
        "threshold": None,
        "align": False,
        "momentum": 0.999,
    },
    "freematch": {
        "unlabeled_ratio": 7,
        "unlabeled_weight": 1.0,
        "align": False,
        "momentum": 0.999,
        "fairness": 0.0,
    },
    "swift": {
        "unlabeled_ratio": 5,
        "unlabeled_weight": 1.0,
        "threshold": 0.8,
        "align": True,
        "momentum": 0.999,
        "loss_temperature": None,
        "confidence_temperature": None,
    },
    "finessl": {
        "unlabeled_ratio": 1,
        "unlabeled_weight": 1.0,
        "threshold": 0.7,
        "momentum": 0.999,
        "loss_temperature": None,
        "margin": 8.0,
        "smoothing": 0.1,
    },
    "self_training": {"unlabeled_weight": 1.0, "threshold": None, "join_epoch": 7},
}
VIEWS = 8
KEEP_VIEWS = ("none", "fixmatch", "freematch", "swift", "finessl")  # methods whose images can be kept as activations
SHARE_OF_SURE = {"fixmatch": 0.95, "self_training": 0.9}


@dataclass(kw_only=True)
class Semi:
    """Hold how unlabelled images take part in training; a key that the method does not read is refused.

    Parameters
    ----------
    semi
        ``"none"``; ``"mean_teacher"``: the moving average of the weights says what another view of an image shall give
        (Tarvainen and Valpola 2017); ``"fixmatch"``: what is said with confidence of a weakly varied image is the label
        of the strongly varied one (Sohn et al. 2020); ``"freematch"``: the same with thresholds that follow the
        confidence of all and of each class (Wang et al. 2023); ``"swift"``: FixMatch on a network that starts at a
        probe, with two temperatures, so that a CLIP, whose probabilities are flat, uses the pool (Liu et al. 2026);
        ``"finessl"``: all unlabelled images, by the trust of a second head, with margins for the classes that are
        seldom named (Gan and Wei 2024); ``"self_training"``: from an epoch on, images named with
        confidence join the training images, chosen anew in every epoch.
    unlabeled_ratio
        Unlabelled images per labelled one in a step; None for 7, for SWIFT 5, for FineSSL 1, for Mean Teacher 3, whose
        images are labelled ones too.
    unlabeled_weight
        Factor on the loss of unlabelled images; None for 1, for Mean Teacher 50 on the mean square of probabilities.
    threshold
        Of ``"fixmatch"``, ``"swift"``, ``"finessl"`` and ``"self_training"``: probability above which a pseudo label
        counts, 0..1; None for .8 of SWIFT, .7 of FineSSL, where it counts for the second head, and for .95 and .9 of
        the highest probability that label smoothing asks for: beyond that nothing would pass.
    align
        Of ``"fixmatch"``, ``"freematch"`` and ``"swift"``: scale probabilities so that their running mean is the
        distribution of the labels (Berthelot et al. 2020, ReMixMatch, section 3.1), against classes that grow at the
        cost of others; SWIFT does, unless it is told not to.
    momentum
        Of FreeMatch's thresholds and of the running mean of `align`: the largest; it grows with the steps, so that
        short runs forget their start.
    loss_temperature
        Of ``"swift"`` and ``"finessl"``: what logits are divided by in every loss, of FineSSL where confidence is asked
        too: its margin is meant for logits that say what they know. None for the temperature at which the probe that
        the network starts at is calibrated, by cross-validation on the training images, for 1 where it starts at none.
    confidence_temperature
        Of ``"swift"``: what logits are divided by where they are compared with the threshold. None for the one at which
        a third of the pool passes at the start.
    margin
        Of ``"finessl"``: by how much the logit of a class that is never named with confidence is lowered in the loss;
        that of the class that is named most is not. 0 for none.
    smoothing
        Of ``"finessl"``: share of a pseudo label that the second head sees spread over the other classes; published .1,
        .5 with a handful of labels.
    fairness
        Of ``"freematch"``: weight of its fairness term, 0 for none; published 0.001 to 0.05.
    ramp_share
        Of ``"mean_teacher"``: share of the training over which the weight rises, by exp(-5 (1 - t)^2).
    join_epoch
        Of ``"self_training"``: first epoch, from 1, in which unlabelled images join.
    """

    semi: Literal["none", "mean_teacher", "fixmatch", "freematch", "swift", "finessl", "self_training"] = "none"
    unlabeled_ratio: Annotated[int, Field(ge=1)] | None = None
    unlabeled_weight: Annotated[float, Field(ge=0)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    align: bool | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    loss_temperature: Annotated[float, Field(gt=0)] | None = None
    confidence_temperature: Annotated[float, Field(gt=0)] | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    fairness: Annotated[float, Field(ge=0)] | None = None
    ramp_share: Annotated[float, Field(gt=0, le=1)] | None = None
    join_epoch: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        read = SEMI_DEFAULTS[self.semi]
        for key in [field.name for field in fields(Semi) if field.name not in ("semi", *read)]:
            if getattr(self, key) is not None:
                readers = [method for method, keys in SEMI_DEFAULTS.items() if key in keys]
                raise InputError(f'semi = "{self.semi}" does not read {key}; it is read by {", ".join(readers)}')
        if self.semi == "fixmatch" and self.momentum is not None and not self.align:
            raise InputError('semi = "fixmatch" reads momentum only with align = true: its threshold is fixed')

    def of_semi(self, key: str) -> Any:
        """Return a key's value: the given one, else what the method published."""
        given = getattr(self, key)
        return SEMI_DEFAULTS[self.semi][key] if given is None else given


@dataclass(kw_only=True)
class Recipe(Semi, Balance):
    """Hold how a network is trained.

    Parameters
    ----------
    epochs
        Passes over the training images, the frozen ones among them. None for the model's usual number, and for more
        steps where those would be fewer than it needs: with few labels a pass is two or three steps, and ten passes
        teach nothing.
    steps
        Steps of the optimiser in all: the same training for 40 labels and for 4,000. An epoch is then one of `epochs`
        equal parts of them. 0 to stay at the start, such as a probe. None for one pass, or `steps_per_epoch`, in each
        epoch.
    steps_per_epoch
        Steps in place of one pass: with few labels a pass is two steps, and methods that learn from unlabelled images
        need hundreds. None for one pass.
    frozen_epochs
        First epochs in which only the head learns, so that its random start does not spoil the pretrained body
        (Kumar et al. 2022, section 3). None for none, or for the model's usual number.
    train_layers
        Last layers of the body that learn, by the layers that `layer_decay` counts; the others stay as they are, batch
        norms among them. ``"all"`` for all. None for the last 2 of a pretrained network where `epochs` is not written
        and there are under 500 training images, else for all.
    views
        Varied views of each image that are drawn once and whose activations below the learning layers are kept, so
        that a step computes the learning layers alone: many times faster on a CPU. The first is the image as it is. 0
        to vary every image anew in every step; None for 8 where `train_layers` leaves layers out. Mixup, cutmix,
        augment_copy, augment_rare, grad_checkpointing, Mean Teacher and self-training vary images anew in any case.
    batch_size
        Images per step, at most; batches of an epoch are equally large, to one image.
    accumulate
        Parts in which a batch goes through the network; their gradients add up to that of the whole batch, for a part
        of the memory. Batch norms see the parts. Of a labelled and an unlabelled batch the larger is meant, and the
        parts of the other are as large.
    grad_checkpointing
        Compute activations a second time in the backward pass instead of keeping them: less memory, about a third
        more time, the same gradients.
    optimizer
        A name of timm's optimisers.
    lr
        Highest learning rate per step, of the body; None for the model's usual one.
    head_lr
        The same of the head; None for `lr`.
    layer_decay
        Factor on the learning rate from each layer to the one before it (Bao et al. 2022, BEiT); 1 for none. None for
        .7 of a pretrained network where `epochs` is not written and the layers are known, else for 1.
    weight_decay
        Not applied to norms, biases and what the network itself exempts. With ``"adamw"`` it is decoupled: weights
        shrink by lr * weight_decay per step. With ``"adam"``, ``"sgd"`` and ``"momentum"`` it is coupled, that is L2 in
        the loss; Keras' ``l2(x)`` is then weight_decay = 2 x.
    head_weight_decay
        The same of the head, as Keras' ``kernel_regularizer`` of the new layers; None for `weight_decay`.
    warmup_share
        Share of the steps over which the learning rates rise; they then fall to zero along a cosine.
    label_smoothing
        Share of the label's probability that is spread over all classes.
    mixup, cutmix
        Alpha of the Beta distribution; 0 for none. With both, each batch draws one.
    ema_decay
        The largest decay per step of the moving average of the weights, which then predicts; 0 for none. The decay
        grows with the steps, so that short runs forget their random start.
    augment
        A level of `kit.models.training.augment`; of unlabelled images too, where the strong view of a method is
        ``"strong"``.
    augment_copy
        Learn every training image as it is, and beside it a copy that `augment` and `flip` vary, drawn anew in every
        epoch, in place of the varied image alone: an epoch is then twice as long. Held-out images get no copy.
    flip
        Mirror images left to right: not for digits and letters.
    patience
        Epochs without a better inner accuracy after which training stops; None to train to the end on all images.
        With few labels the fifth that is held out is worth more as training images.
    freeze_batch_norm
        Keep the pretrained statistics of batch norms, for batches too small or too odd to estimate them.
    lora_rank
        Rank of the only changes that the body's weight matrices may learn (Hu et al. 2021, LoRA); 0 to train the
        body's weights themselves. It wants a learning rate about ten times that of full fine-tuning.
    lora_alpha
        The change is multiplied by lora_alpha / lora_rank; None for lora_rank.
    lora_targets
        Layers that are adapted, by the end of their names, such as ``["attn", "out_proj"]``; None for all linear ones
        and packed attention, in convolutional networks the convolutions too. See `kit.models.training.adapters`.
    augment_rare
        Level at which the copies are varied that resampling draws beyond an image's first, in place of `augment`: rare
        classes are varied more than frequent ones. None for `augment`.
    loss
        ``"cross_entropy"``; ``"balanced_softmax"``, the cross entropy of logits to which the log shares of the classes
        are added, so that the network itself says what it would of classes of one size (Ren et al. 2020);
        ``"focal"``, which hears images less the surer they are (Lin et al. 2017). With several labels per image the
        binary forms, of which ``"balanced_softmax"`` has none.
    focal_gamma
        Of ``"focal"``: 0 is the cross entropy; None for 2, as published.
    semi, unlabeled_ratio, ...
        How unlabelled images take part: the keys of `Semi`.
    balance, tau, ...
        How classes of unequal size are treated: the keys of `kit.models.balance.Balance`.
    """

    usual_epochs: ClassVar[int] = 30
    least_steps: ClassVar[int] = 0  # where neither epochs nor steps are given
    usual_lr: ClassVar[float] = 3e-4

    epochs: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=0)] | None = None
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    frozen_epochs: Annotated[int, Field(ge=0)] | None = None
    train_layers: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    views: Annotated[int, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=2)] = 32
    accumulate: Annotated[int, Field(ge=1)] = 1
    grad_checkpointing: bool = False
    optimizer: str = "adamw"
    lr: Annotated[float, Field(ge=0), Between(1e-5, 3e-3, log=True)] | None = None
    head_lr: Annotated[float, Field(ge=0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0), Between(1e-3, 0.5, log=True)] = 0.05
    head_weight_decay: Annotated[float, Field(ge=0)] | None = None
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1), Between(0, 0.3)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Literal["none", "light", "strong", "rotate_shift"] = "none"
    augment_copy: bool = False
    flip: bool = False
    patience: Annotated[int, Field(ge=1)] | None = None
    freeze_batch_norm: bool = False
    lora_rank: Annotated[int, Field(ge=0)] = 0
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    lora_targets: list[str] | None = None
    augment_rare: Literal["none", "light", "strong", "rotate_shift"] | None = None
    loss: Literal["cross_entropy", "balanced_softmax", "focal"] = "cross_entropy"
    focal_gamma: Annotated[float, Field(ge=0)] | None = None

    def __post_init__(self) -> None:
        Semi.__post_init__(self)
        Balance.__post_init__(self)
        self._check_loss()
        if self.semi == "mean_teacher" and not self.ema_decay:
            raise InputError('semi = "mean_teacher": the teacher is the moving average; it needs ema_decay above 0')
        if self.steps is not None and self.steps_per_epoch is not None:
            raise InputError("steps are those of the whole training, steps_per_epoch of a part of it: use one of them")
        if self.semi == "self_training" and self.of_semi("join_epoch") > self.n_epochs:
            raise InputError(
                f"join_epoch = {self.of_semi('join_epoch')} lies after the last of {self.n_epochs} epochs: no "
                "unlabelled image would join"
            )
        if self.augment_copy and self.augment == "none" and not self.flip:
            raise InputError('augment_copy adds a varied copy of each image: it needs an augment other than "none"')
        if self.lora_rank and self.leaves_layers:
            raise InputError("lora_rank adapts layers of the whole body; lora_targets names some: drop train_layers")
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_targets is not None):
            raise InputError("lora_alpha and lora_targets say how to adapt layers: they need lora_rank above 0")

    @property
    def n_epochs(self) -> int:
        """Return the number of epochs: the given one or the model's usual one, and no more than there are steps."""
        epochs = self.usual_epochs if self.epochs is None else self.epochs
        return epochs if self.steps is None else min(epochs, self.steps)

    @property
    def n_frozen(self) -> int:
        """Return the number of frozen epochs."""
        return self.frozen_epochs or 0

    @property
    def body_lr(self) -> float:
        """Return the learning rate of the body."""
        return self.usual_lr if self.lr is None else self.lr

    @property
    def leaves_layers(self) -> bool:
        """Return whether some layers of the body do not learn."""
        return isinstance(self.train_layers, int)

    @property
    def n_views(self) -> int:
        """Return how many views of an image are kept, at most."""
        return VIEWS if self.views is None else self.views

    @property
    def keeps_views(self) -> bool:
        """Return whether activations of a few views can take the place of images that are varied in every step."""
        varied_anew = self.mixup or self.cutmix or self.augment_copy or self.augment_rare or self.grad_checkpointing
        return bool(self.n_views) and self.leaves_layers and not varied_anew and self.semi in KEEP_VIEWS

    def steps_in(self, epoch: int) -> int | None:
        """Return the steps of an epoch, from 0; None for those of one pass."""
        if self.steps is None:
            return self.steps_per_epoch
        return self.steps * (epoch + 1) // self.n_epochs - self.steps * epoch // self.n_epochs

    def _check_loss(self) -> None:
        """Refuse what nothing reads, and classes that would be balanced twice."""
        if self.focal_gamma is not None and self.loss != "focal":
            raise InputError(f'focal_gamma is read with loss = "focal" alone, not "{self.loss}"')
        if self.loss == "balanced_softmax" and self.balance != "none":
            raise InputError(
                f'loss = "balanced_softmax" balances the classes already; with balance = "{self.balance}" it would be '
                "done twice"
            )
        if self.augment_rare is not None and self.balance not in ("over", "repeat_factor"):
            raise InputError(
                'augment_rare varies the copies that resampling adds: it needs balance = "over" or "repeat_factor"'
            )
        if self.augment_rare is not None and self.augment_copy:
            raise InputError("augment_copy varies a copy of every image, augment_rare of rare ones: use one of them")


def recipe_of(model: Recipe, n_images: int) -> Recipe:
    """Return the recipe alone of a model that is one, with its length for `n_images` training images."""
    recipe = Recipe(
        **{field.name: getattr(model, field.name) for field in fields(Recipe)}
        | {"epochs": model.n_epochs, "lr": model.body_lr}
    )
    n_pass = math.ceil(n_images * (2 if recipe.augment_copy else 1) / recipe.batch_size)
    n_steps = recipe.n_epochs * (recipe.steps_per_epoch or n_pass)
    if model.epochs is None and model.steps is None and n_steps < model.least_steps:
        return replace(recipe, steps=model.least_steps, steps_per_epoch=None)
    return recipe
