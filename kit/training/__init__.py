"""The one training loop of every network: pixels from the store, batches varied on the device, a checkpoint per epoch.

Reads the decoded images of `kit.store`; writes a checkpoint where it is asked to. Every epoch draws from generators
seeded by the seed and the epoch's number, so there is no generator state to save: a run that was killed and goes on
at its last checkpoint ends with the very weights of a run that was not.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Generator, Tensor, nn
from torch.nn import functional

from kit.deadline import check_deadline, time_is_up
from kit.encoders import Preprocessing
from kit.errors import InputError
from kit.files import key_of, write_atomic
from kit.images import Images
from kit.recipe import Recipe
from kit.store import read_rows, read_store
from kit.terminal import Progress, note
from kit.training.adapters import add_adapters, merge_adapters
from kit.training.augment import augment
from kit.training.batches import (
    Forward,
    draw_batches,
    half_precision,
    mix,
    predict_network,
    reproducible,
    seed_of,
    split_off,
    weighted_targets,
)
from kit.training.layers import checkpoint_activations
from kit.training.optimizer import make_optimizer, make_schedule, set_mode

CHECKPOINT_SECONDS = 2.0  # of training between checkpoints, at least: epochs of tiny networks are shorter than a flush

Diary = list[dict[str, float | None]]


def fit_network(
    network: nn.Module,
    recipe: Recipe,
    labeled: Images,
    preprocessing: Preprocessing,
    *,
    head: nn.Module | None = None,
    forward: Forward = nn.Module.__call__,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    checkpoint: Path | None = None,
    made_from: object = None,
) -> Diary:
    """Train a network in place; it ends on `device`, in evaluation mode, with the weights that shall predict.

    Parameters
    ----------
    network
        Parameters that do not require gradients stay as they are.
    recipe
        How to train.
    labeled
        Labelled images; their weights multiply their loss.
    preprocessing
        Of the network.
    head
        The part of `network` that learns in the frozen epochs, at a learning rate of its own; adapters leave it alone.
    forward
        ``forward(network, pixels)`` gives logits (n_images, n_classes).
    seed
        Of order, augmentation, dropout and hold-out.
    device, precision
        From `kit.device`.
    checkpoint
        File to write to and to go on from; the caller removes it.
    made_from
        JSON-like: what the network was made from. A checkpoint of anything else is ignored.

    Returns
    -------
    list of dict
        One per epoch: epoch (from 1), lr (highest of all groups, at the last step), loss, inner_accuracy and inner_loss
        (None without a hold-out), seconds.

    Raises
    ------
    InputError
        When the loss is no longer finite, the optimiser is unknown, or the network lacks what the recipe asks for.
    ValueError
        When `recipe` has frozen epochs and there is no `head`.
    TimeIsUp
        When the time limit is reached; the checkpoint is written before.
    """
    if recipe.frozen_epochs and head is None:
        raise ValueError("frozen epochs need a head that learns in them")
    network.to(device=device, memory_format=torch.channels_last)
    if recipe.grad_checkpointing:
        checkpoint_activations(network)
    with reproducible(seed, device):
        if recipe.lora_rank:
            add_adapters(network, head, recipe)
        loop = _Loop(network, recipe, labeled, preprocessing, head, forward, seed, device, precision)
        facts = (asdict(recipe), seed, preprocessing.key, precision, device, made_from)
        data = (labeled.pool.key, labeled.rows.tolist(), labeled.labels.tolist(), labeled.weights.tolist())
        loop.run(checkpoint, key_of(facts, data))
        merge_adapters(network)
    return loop.diary


class _Loop:
    """Hold everything that changes during training: what a checkpoint saves."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        labeled: Images,
        preprocessing: Preprocessing,
        head: nn.Module | None,
        forward: Forward,
        seed: int,
        device: str,
        precision: str,
    ) -> None:
        self.network, self.recipe, self.preprocessing, self.forward = network, recipe, preprocessing, forward
        self.seed, self.device, self.precision = seed, device, precision
        self.train, self.hold_out = split_off(labeled, recipe, seed)
        self.store = read_store(labeled.pool, preprocessing.geometry)
        self.head = head
        self.optimizer = make_optimizer(network, head, recipe)
        self.ema = ModelEmaV3(network, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.scaler = torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")
        self.epoch, self.stale, self.parts = 0, 0, recipe.accumulate
        self.best: dict[str, Any] = {}
        self.diary: Diary = []

    @property
    def averaged(self) -> nn.Module:
        """Return the network that predicts: the moving average where there is one."""
        return self.ema.module if self.ema else self.network

    def run(self, checkpoint: Path | None, key: str) -> None:
        """Train to the end from the start or the checkpoint, and load the weights that shall predict."""
        if checkpoint is not None:
            self._resume(checkpoint, key)
        saved = time.monotonic()
        with Progress("epochs", self.recipe.epochs - self.epoch) as progress:
            while self.epoch < self.recipe.epochs and not self._is_stale():
                self._run_epoch()
                progress.advance(detail=f"loss {self.diary[-1]['loss']:.3f}")
                is_late = time_is_up()
                if checkpoint is not None and (is_late or time.monotonic() - saved >= CHECKPOINT_SECONDS):
                    self._save(checkpoint, key)
                    saved = time.monotonic()
                if is_late:
                    check_deadline()
        set_mode(self.network, self.head, self.optimizer, self.recipe, frozen=False)
        if self.best or self.ema:
            self.network.load_state_dict(self.best["weights"] if self.best else self.averaged.state_dict())
        self.network.eval()

    def _run_epoch(self) -> None:
        """Train one epoch, score it on the hold-out and write the diary."""
        started = time.monotonic()
        loss = self._train_epoch()
        self.epoch += 1
        if not np.isfinite(loss):
            raise InputError(f"training diverged in epoch {self.epoch}: the loss is {loss}; lower lr")
        accuracy, inner_loss = self._score() if len(self.hold_out) else (None, None)
        self.diary.append(
            {
                "epoch": self.epoch,
                "lr": max(group["lr"] for group in self.optimizer.param_groups),
                "loss": loss,
                "inner_accuracy": accuracy,
                "inner_loss": inner_loss,
                "seconds": round(time.monotonic() - started, 3),
            }
        )

    def _train_epoch(self) -> float:
        """Step through all batches; return the mean loss."""
        frozen = self.epoch < self.recipe.frozen_epochs
        done = self.epoch if frozen else self.epoch - self.recipe.frozen_epochs  # epochs of this phase
        set_mode(self.network, self.head, self.optimizer, self.recipe, frozen)
        torch.manual_seed(seed_of(self.seed, self.epoch))  # dropout, stochastic depth, mixup
        generator = Generator().manual_seed(seed_of(self.seed, self.epoch))
        batches = draw_batches(self.train.rows, self.recipe.batch_size, generator)
        schedule = make_schedule(self.optimizer, self.recipe, len(batches), frozen)
        total = torch.zeros((), device=self.device)
        for i, positions in enumerate(batches):
            schedule.step_update(done * len(batches) + i + 1)
            total += self._step(*self._read(positions, generator)) * len(positions)
            if self.ema:
                self.ema.update(self.network, step=self.epoch * len(batches) + i + 1)
        return float(total) / len(self.train)

    def _read(self, positions: np.ndarray, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return varied, standardised pixels (n_images, 3, h, w) and targets (n_images, n_classes)."""
        recipe = self.recipe
        pixels = torch.from_numpy(read_rows(self.store, self.train.rows[positions])).to(self.device)
        pixels = self.preprocessing.normalise(augment(pixels, recipe.augment, generator, recipe.flip))
        targets = weighted_targets(self.train, positions, recipe.label_smoothing).to(self.device)
        pixels, targets = mix(pixels, targets, recipe.mixup, recipe.cutmix)
        return pixels.contiguous(memory_format=torch.channels_last), targets

    def _step(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Take one step of the optimiser; in more parts, from the first time that the GPU's memory did not suffice."""
        loss = None
        while loss is None:
            try:
                loss = self._backward(pixels, targets)
            except torch.OutOfMemoryError:
                if len(pixels) < 4 * self.parts:  # no smaller parts are left
                    raise
            if loss is None:  # only here, outside the except block, is the failed pass's memory free
                self.parts *= 2
                torch.cuda.empty_cache()
                note(f"out of GPU memory: batches go through the network in {self.parts} parts from now on")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _backward(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Accumulate the gradients of a batch; return its mean loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        n_parts = max(1, min(self.parts, len(pixels) // 2))  # batch norm needs two images
        for part, wanted in zip(pixels.tensor_split(n_parts), targets.tensor_split(n_parts), strict=True):
            with half_precision(pixels.device.type, self.precision):
                logits = self.forward(self.network, part)
            # float32: half-precision logits overflow in CLIP, whose cosines are multiplied by 100
            loss = functional.cross_entropy(logits.float(), wanted, reduction="sum") / len(pixels)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _score(self) -> tuple[float, float]:
        """Return accuracy and mean log-loss on the hold-out; remember the best weights."""
        proba = predict_network(
            self.averaged, self.hold_out, self.preprocessing, self.device, self.precision, self.forward
        )
        accuracy = float((proba.argmax(1) == self.hold_out.labels).mean())
        of_label = proba[np.arange(len(proba)), self.hold_out.labels]
        loss = float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean())
        self.stale += 1
        if not self.best or (accuracy, -loss) > (self.best["accuracy"], -self.best["loss"]):
            weights = {name: value.clone() for name, value in self.averaged.state_dict().items()}
            self.best, self.stale = {"accuracy": accuracy, "loss": loss, "weights": weights}, 0
        return accuracy, loss

    def _is_stale(self) -> bool:
        """Return whether the inner accuracy has not risen for `patience` epochs of the whole network."""
        patience = self.recipe.patience
        return patience is not None and min(self.stale, self.epoch - self.recipe.frozen_epochs) >= patience

    def _save(self, checkpoint: Path, key: str) -> None:
        """Write everything that the next epoch depends on."""
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        state |= {"key": key, "epoch": self.epoch, "stale": self.stale, "best": self.best, "diary": self.diary}
        with write_atomic(checkpoint) as file:
            torch.save(state, file)

    def _resume(self, checkpoint: Path, key: str) -> None:
        """Go on from a checkpoint of the same settings and images; ignore any other."""
        if not checkpoint.exists():
            return
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the unpickler raise anything
            note(f"{checkpoint} cannot be read ({type(error).__name__}): training begins anew")
            return
        if state.get("key") == key:
            for name, part in self._stateful().items():
                part.load_state_dict(state[name])
            self.epoch, self.stale = state["epoch"], state["stale"]
            self.best, self.diary = state["best"], state["diary"]

    def _stateful(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts | ({"ema": self.ema.module} if self.ema else {})
