"""The loop itself: epochs of batches, scored on a hold-out, checkpointed, resumed.

Reads the decoded images of `kit.data.store`; writes a checkpoint where it is asked to.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Generator, Tensor, nn

from kit.core.activity import tell
from kit.core.deadline import check_deadline, time_is_up
from kit.core.errors import InputError
from kit.core.files import write_atomic
from kit.core.shapes import Rows
from kit.core.terminal import Progress
from kit.data.ahead import read_ahead
from kit.data.images import Images
from kit.data.store import read_rows, read_store
from kit.features.encoders import Preprocessing
from kit.features.forward import pin
from kit.models.balance import WEIGHTED, balance_images, class_shares
from kit.models.training.augment import augment, augment_rarely
from kit.models.training.batches import (
    Forward,
    ask,
    draw_steps,
    mark_copies,
    mix,
    predict_network,
    seed_of,
    split_off,
    weighted_targets,
)
from kit.models.training.checkpoint import find_checkpoint, load
from kit.models.training.curve import Stretches
from kit.models.training.finessl import make_method
from kit.models.training.hold_out import HoldOut
from kit.models.training.kept import Cut, KeptViews
from kit.models.training.loss import make_loss
from kit.models.training.optimizer import add_parameters, make_optimizer, make_schedule, set_mode
from kit.models.training.recipe import Recipe
from kit.models.training.semi import STEPWISE, Method, fixed_threshold
from kit.models.training.split import make_split
from kit.models.training.steps import Batch, Steps
from kit.models.training.unlabeled import Stream, take_confident

BALANCE_STREAM = 2  # tells the draws of resampling from those of the order
VIEW_STREAM = 3  # tells the draws of kept views from all others
CHECKPOINT_SECONDS = 2.0  # of training between checkpoints, at least: epochs of tiny networks are shorter than a flush

TELL_SECONDS = 2.0  # between two points of a curve that `status` is shown

LIVE = {  # what `status` shows -> its name in the record
    "step": "step",
    "loss": "loss",
    "hold-out": "inner_accuracy",
    "mask rate": "mask_rate",
    "learning rate": "lr",
}

TrainingRecord = list[dict[str, Any]]


class Loop:
    """Hold everything that changes during training: what a checkpoint saves.

    Parameters are those of `kit.models.training.fit.fit_network`.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        labeled: Images,
        unlabeled: Images,
        preprocessing: Preprocessing,
        head: nn.Module | None,
        forward: Forward,
        seed: int,
        device: str,
        precision: str,
    ) -> None:
        self.network, self.recipe, self.preprocessing, self.forward = network, recipe, preprocessing, forward
        self.seed, self.device, self.precision = seed, device, precision
        self.train, hold_out = split_off(labeled, recipe, seed)
        self.hold_out = HoldOut(hold_out, preprocessing, device, precision, forward)
        self.unlabeled = unlabeled
        self.store = read_store(labeled.pool, preprocessing.geometry)
        self.head = head
        self.optimizer = make_optimizer(network, head, recipe)
        self.ema = ModelEmaV3(network, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.cut = self._cut(unlabeled) if recipe.keeps_views and len(labeled) > 1 else None
        self.kept = self._keep_views() if self.cut else None
        self.forward = self.cut.split.upper if self.cut else forward
        self.steps = Steps(network, self.forward, self.optimizer, device, precision, recipe.accumulate)
        self.epoch, self.told, self.rate = 0, time.monotonic(), 0.0  # images per second
        self.record: TrainingRecord = []
        self.loss = make_loss(recipe, self.train)
        self.method: Method | None = None
        if recipe.semi in STEPWISE:
            shares = class_shares(self.train.labels, self.train.n_classes, self.train.weights)
            scale = float(getattr(network, "logit_scale", 1.0))  # CLIP multiplies what its head gives
            self.method = make_method(recipe, torch.from_numpy(shares), recipe.label_smoothing, head, scale)
            self.method.to(device)
            self.loss = self.method.label_loss(self.loss)
            add_parameters(self.optimizer, self.method, recipe)
            pool = self.train.join(unlabeled) if self.method.on_labeled else unlabeled
            second = "strong" if self.method.is_strong else recipe.augment
            self.stream = Stream(pool, preprocessing, recipe, second, seed, device, self.cut)

    @property
    def averaged(self) -> nn.Module:
        """Return the network that predicts: the moving average where there is one."""
        return self.ema.module if self.ema else self.network

    def run(self, checkpoint: Path | None, key: str) -> None:
        """Train to the end from the start or the checkpoint, and load the weights that shall predict."""
        if checkpoint is not None:
            self._resume(checkpoint, key)
        saved = time.monotonic()
        with Progress("epochs", self.recipe.n_epochs - self.epoch) as progress:
            while self.epoch < self.recipe.n_epochs and not self._is_stale():
                self._run_epoch()
                self._tell(self.record[-1])
                progress.advance(detail=f"loss {self.record[-1]['loss']:.3f}")
                is_late = time_is_up()
                if checkpoint is not None and (is_late or time.monotonic() - saved >= CHECKPOINT_SECONDS):
                    self._save(checkpoint, key)
                    saved = time.monotonic()
                if is_late:
                    check_deadline()
        tell(**dict.fromkeys([*LIVE, "images per second", "epoch"]))
        set_mode(self.network, self.head, self.optimizer, self.recipe, frozen=False)
        best = self.hold_out.best
        if best or self.ema:
            self.network.load_state_dict(best["weights"] if best else self.averaged.state_dict())
        self.network.eval()

    def _run_epoch(self) -> None:
        """Train one epoch, score it on the hold-out and add it to the record."""
        started = time.monotonic()
        train, joined = self._join()
        train = self._balance(train)
        with self.method.watch() if self.method else contextlib.nullcontext():
            losses, curve = self._train_epoch(train.join(train) if self.recipe.augment_copy else train)
        self.epoch += 1
        if not np.isfinite([*losses.values()]).all():
            raise InputError(f"training diverged in epoch {self.epoch}: the loss is {losses['loss']}; lower lr")
        accuracy, inner_loss = self.hold_out.score(self.averaged)
        self.record.append(
            {
                "epoch": self.epoch,
                "step": curve["step"][-1],
                "lr": self._lr,
                **losses,
                "inner_accuracy": accuracy,
                "inner_loss": inner_loss,
                **joined,
                **(self.method.report() if self.method is not None and "unlabeled_loss" in losses else {}),
                "seconds": round(time.monotonic() - started, 3),
                "curve": curve,
            }
        )

    @property
    def _lr(self) -> float:
        """Return the highest learning rate of all groups."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def _tell(self, point: dict[str, Any]) -> None:
        """Let `status` see the newest point of the learning curves."""
        values = {shown: point.get(name) for shown, name in LIVE.items()} | {"images per second": round(self.rate, 1)}
        known = {shown: float(f"{value:.4g}") for shown, value in values.items() if value is not None}
        finite = {shown: value for shown, value in known.items() if np.isfinite(value)} | {"step": point["step"]}
        tell(epoch=f"{point.get('epoch', self.epoch + 1)} of {self.recipe.n_epochs}", **finite)
        self.told = time.monotonic()

    def _balance(self, train: Images) -> Images:
        """Return the epoch's training images as they shall count; resampling draws anew in every epoch."""
        if train.is_multilabel and self.recipe.balance in WEIGHTED:  # each class has its weight in the loss
            return train
        train = balance_images(train, self.recipe, seed_of(self.seed, self.epoch, BALANCE_STREAM), repeat=True)
        self.is_copy = torch.from_numpy(mark_copies(train.rows))
        return train

    def _join(self) -> tuple[Images, dict[str, Any]]:
        """Return the epoch's training images: in self-training, from its epoch on, with those named confidently."""
        recipe = self.recipe
        if recipe.semi != "self_training" or self.epoch + 1 < recipe.of_semi("join_epoch"):
            return self.train, {}
        proba = predict_network(
            self.averaged, self.unlabeled, self.preprocessing, self.device, self.precision, self.forward
        )
        threshold = fixed_threshold(recipe, proba.shape[1], recipe.label_smoothing)
        taken, facts = take_confident(self.unlabeled, proba, threshold, recipe.of_semi("unlabeled_weight"))
        return (self.train.join(taken) if recipe.of_semi("unlabeled_weight") else self.train), facts

    def _train_epoch(self, train: Images) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Step through all batches; return the mean loss, that of unlabelled images where they took part, the curve."""
        frozen = self.epoch < self.recipe.n_frozen
        set_mode(self.network, self.head, self.optimizer, self.recipe, frozen)
        torch.manual_seed(seed_of(self.seed, self.epoch))  # dropout, stochastic depth, mixup
        generator = Generator().manual_seed(seed_of(self.seed, self.epoch))
        n_steps = self.recipe.steps_in(self.epoch)
        batches = draw_steps(train.rows, self.recipe.batch_size, n_steps, generator)
        before, n_phase = self._count_steps(0 if frozen else self.recipe.n_frozen, len(batches))
        schedule = make_schedule(self.optimizer, self.recipe.warmup_share, n_phase)
        n_images, method = sum(map(len, batches)), None if frozen else self.method
        if method is not None:
            self.stream.restart(self.epoch, n_images * self.recipe.of_semi("unlabeled_ratio"))
        total, total_unlabeled = sums = torch.zeros((2,), device=self.device)
        steps_before = self.record[-1].get("step", 0) if self.record else 0
        stretches, n_done = Stretches(len(batches), self.recipe.n_epochs, steps_before, method), 0
        started = time.monotonic()
        for i, (positions, pixels) in enumerate(zip(batches, self._read_ahead(train, batches), strict=True)):
            schedule.step_update(before + i + 1)
            taught = [] if method is None else self._teach(method, len(positions), (before + i) / n_phase)
            loss, *others = self.steps.take([self._vary(train, positions, pixels, generator), *taught])
            total += loss * len(positions)
            total_unlabeled += sum(others) * len(positions)
            if self.ema:
                self.ema.update(self.network, step=self._count_steps(0, len(batches))[0] + i + 1)
            n_done += len(positions)
            stand = i + 1, n_done, self._lr, sums
            stretches.note(*stand)
            self.rate = n_done / max(time.monotonic() - started, 1e-9)
            if time.monotonic() - self.told > TELL_SECONDS:
                self._tell(stretches.stand(*stand))
        losses = {"loss": float(total) / n_images}
        losses |= {} if method is None else {"unlabeled_loss": float(total_unlabeled) / n_images}
        return losses, stretches.read()

    def _count_steps(self, first: int, n_pass: int) -> tuple[int, int]:
        """Return the steps of a phase before this epoch, and in all; the phase of frozen epochs begins at `first` 0."""
        last = self.recipe.n_frozen if first == 0 and self.epoch < self.recipe.n_frozen else None
        sizes = [self.recipe.steps_in(epoch) or n_pass for epoch in range(self.recipe.n_epochs)]
        return sum(sizes[first : self.epoch]), sum(sizes[first:last])

    def _read_ahead(self, train: Images, batches: list[Rows]) -> Iterator[Tensor | None]:
        """Yield each batch's pixels on the device, the next read meanwhile; None where their activations are kept."""
        if self.kept is not None:
            return iter([None] * len(batches))
        return (
            pixels.to(self.device, non_blocking=True)
            for pixels in read_ahead(lambda positions: self._read(train.rows[positions]), batches)
        )

    def _read(self, rows: Rows) -> Tensor:
        """Return decoded images, where a GPU copies them while it computes."""
        return pin(torch.from_numpy(read_rows(self.store, rows)), self.device)

    def _vary(self, train: Images, positions: Rows, pixels: Tensor | None, generator: Generator) -> Batch:
        """Return varied, standardised pixels and weighted targets."""
        recipe = self.recipe
        targets = weighted_targets(train, positions, recipe.label_smoothing).to(self.device)
        if self.kept is not None:
            return Batch(self.kept.draw(train.rows[positions], generator), targets, self.loss)
        assert pixels is not None  # read wherever no activations are kept
        copies = torch.from_numpy(positions >= len(train) // 2) if recipe.augment_copy else None
        if recipe.augment_rare is None:
            pixels = augment(pixels, recipe.augment, generator, recipe.flip, copies)
        else:
            levels = recipe.augment, recipe.augment_rare
            pixels = augment_rarely(pixels, levels, generator, recipe.flip, self.is_copy[positions])
        pixels = self.preprocessing.normalise(pixels)
        pixels, targets = mix(pixels, targets, recipe.mixup, recipe.cutmix)
        return Batch(pixels.contiguous(memory_format=torch.channels_last), targets, self.loss)

    def _teach(self, method: Method, n_labeled: int, progress: float) -> list[Batch]:
        """Return the step's unlabelled batch with what a teacher asks of it; none where it teaches nothing."""
        weak, strong = self.stream.views(n_labeled * self.recipe.of_semi("unlabeled_ratio"))
        teacher = self.averaged if method.by_average else self.network
        targets = method.teach(ask(teacher, weak, self.forward, self.precision), progress)
        return [] if targets is None else [Batch(strong, targets, method.loss)]

    def _cut(self, unlabeled: Images) -> Cut | None:
        """Return what makes the activations that are kept; None where the network or the memory does not allow it."""
        rows = self.train.rows[:2]
        sample = self.preprocessing.normalise(torch.from_numpy(read_rows(self.store, rows)).to(self.device))
        split = make_split(self.network, self.head, self.forward, sample)
        if split is None:
            return None
        cut = Cut(split, self.network, self.preprocessing, self.precision, self.device, sample)
        n_pool = len(unlabeled) if self.recipe.semi != "none" else 0
        return cut if cut.holds(len(self.train), 2) and cut.holds(n_pool, 2) else None

    def _keep_views(self) -> KeptViews:
        """Draw the views of the training images, the first of which are the images themselves."""
        recipe, seed = self.recipe, seed_of(self.seed, 0, VIEW_STREAM)
        assert self.cut is not None
        return KeptViews(self.train, self.cut, recipe.augment, recipe.flip, recipe.n_views, True, seed)

    def _is_stale(self) -> bool:
        """Return whether the inner accuracy has not risen for `patience` epochs of the whole network."""
        patience = self.recipe.patience
        return patience is not None and min(self.hold_out.stale, self.epoch - self.recipe.n_frozen) >= patience

    def _save(self, checkpoint: Path, key: str) -> None:
        """Write everything that the next epoch depends on."""
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        state |= {"key": key, "epoch": self.epoch, "record": self.record}
        with write_atomic(checkpoint) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # of a full disk torch says "unexpected pos"
                    raise error.__context__ from error
                raise

    def _resume(self, checkpoint: Path, key: str) -> None:
        """Go on from the checkpoint of the same settings, images and kind of device, where there is one."""
        found = find_checkpoint(checkpoint, key)
        if found is None:
            return
        state = load(found)
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])
        self.epoch, self.record = state["epoch"], state["record"]

    def _stateful(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scaler": self.steps.scaler}
        parts["hold_out"] = self.hold_out
        parts |= {"ema": self.ema.module} if self.ema else {}
        return parts | ({"method": self.method} if self.method else {})
