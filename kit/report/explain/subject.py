"""Subjects: what is explained - the model that a fold was fitted with, as a function of pixels.

Reads the folds' kept weights; a model that keeps none is fitted anew. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.config.competition import Competition
from kit.core.errors import InputError, some
from kit.core.names import ENSEMBLE
from kit.core.shapes import Pixels, Proba, Vectors
from kit.core.terminal import note
from kit.data.images import Images
from kit.data.prepared import Prepared
from kit.data.store import Geometry
from kit.features.cache import GIVEN, squashed
from kit.features.encoders import preprocessing_of
from kit.features.prompts import read_text_weights
from kit.features.weights import spec_of
from kit.models import LinearProbe, ZeroShot
from kit.models.heads.head import Head, setting_alone
from kit.models.model import Model
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.inside import look_inside
from kit.models.networks.trained import TrainedNetwork
from kit.report.explain.scratch import Scratch
from kit.runs.fit.fold import fit_model
from kit.runs.fit.restore import read_settled, restore_fold
from kit.runs.store import Result, fold_folder, settings_of
from kit.runs.store.build import build_model

if TYPE_CHECKING:
    from torch import nn

LIME, GRAD_CAM, GRADIENTS = "lime", "gradcam", "gradients"
METHODS = (LIME, GRAD_CAM, GRADIENTS)
LINEAR = (LinearProbe, ZeroShot)  # heads whose logits are linear in the features, so that gradients go through


@dataclass(frozen=True)
class Subject:
    """Hold one fitted model as functions of pixels.

    Parameters
    ----------
    geometry
        What becomes of an image before the model sees it.
    say
        Pictures (n_images, 3, h, w) uint8 in; probabilities, or cosines to the words, (n_images, n_targets) out.
    network
        The same before the softmax, for gradients: pixels 0..255 in; None where the model has none.
    device
        Of the network.
    """

    geometry: Geometry
    say: Callable[[Pixels], Proba]
    network: nn.Module | None
    device: str

    @property
    def with_gradients(self) -> nn.Module:
        """Return the network; InputError where the model has none, so that no gradients can be taken."""
        if self.network is None:
            raise InputError(f"the model gives no gradients to take; --method {LIME} works")
        return self.network


def check_explainable(competition: Competition, name: str, methods: Sequence[str], words: Sequence[str]) -> None:
    """Check that a run can be explained so, before anything is asked of its files.

    Raises
    ------
    InputError
        When the run trains nothing, sees no pixels, has no gradients where they are asked for, or no words.
    """
    if name == ENSEMBLE:
        raise InputError(f"the ensemble sees no image itself; explain one of its runs: {some(competition.runs)}")
    model = build_model(competition, competition.run(name))
    encoder, _ = model.encoder_used
    if encoder == GIVEN:
        raise InputError(
            f'run {name} reads the embeddings that were given (encoder = "given"): nobody knows how they come from '
            "pixels, so there is nothing to point at; explain a run with an encoder of its own"
        )
    if len(model.encoders_used) > 1 and not words:
        raise InputError(
            f"run {name} joins {len(model.encoders_used)} encoders, each of which sees an image its own way; explain a "
            "run that reads one of them"
        )
    if words and not _is_clip(encoder):
        able = [run.name for run in competition.runs.values() if _is_clip(run.options.get("encoder"))]
        hint = f"those that can: {some(able)}" if able else f"{competition.name} has none"
        raise InputError(
            f"--words {words[0]!r}: words need a CLIP run, on an open_clip encoder, and {name} is none; {hint}"
        )
    if not words and not _has_gradients(model) and any(method != LIME for method in methods):
        asked = next(method for method in methods if method != LIME)
        raise InputError(
            f"run {name}: model {competition.run(name).model!r} gives no gradients to take, so --method {asked} cannot "
            f"be had; --method {LIME} works"
        )


def default_methods(subject: Subject, pixels: Pixels) -> list[str]:
    """Return the methods that suit a model: LIME, and Grad-CAM where it has a convolutional map, else gradients."""
    from kit.report.explain.gradients import find_map

    if subject.network is None:
        return [LIME]
    return [LIME, GRADIENTS if find_map(subject.network, pixels, subject.device) is None else GRAD_CAM]


def open_subjects(
    prepared: Prepared, result: Result, fold: int, words: Sequence[str], scratch: Scratch
) -> list[Subject]:
    """Return the model that a fold was fitted with; several where its copies are averaged.

    The model did not learn from the fold. `words` stand in place of the classes, for CLIP; made-up pictures are shown
    in `scratch`.

    Raises
    ------
    InputError
        When the kept weights are not there or damaged.
    MissingWeights
        When the encoder's weights cannot be had.
    """
    kind = build_model(prepared.competition, settings_of(prepared, result))
    if words and not isinstance(kind, TrainedNetwork):
        return [_open_encoder(prepared, kind, words, scratch)]  # it hears nothing of what was fitted
    model, settled = _restore(prepared, result, fold)
    return [
        _open_network(prepared, copy, words, scratch)
        if isinstance(copy, TrainedNetwork)
        else _open(prepared, copy, settled, scratch)
        for copy in model.copies
    ]


def _restore(prepared: Prepared, result: Result, fold: int) -> tuple[Model, Any]:
    """Return a fold's fitted model, its neighbours left out, and the setting that was chosen for it."""
    run, settled = settings_of(prepared, result), None
    kind, model = build_model(prepared.competition, run), restore_fold(prepared, run, result.folder, fold)
    if model is None:
        note(f"{result.name} keeps no weights: the model of fold {fold} is fitted anew")
        model, *_ = fit_model(prepared, run, fold, fold_folder(result.folder, fold))
    if kind.is_swept:
        settled = read_settled(result.folder, fold)
        if isinstance(kind, Head) and settled["smooth"]:
            note(
                f"{result.name}, fold {fold}: an image's neighbours say {settled['smooth']:.0%} of it, and are left out"
            )
            settled = {**settled, "smooth": 0.0}
        model.settle(settled)
    return model, settled


def _open(prepared: Prepared, model: Model, settled: Any, scratch: Scratch) -> Subject:
    """Return a model on pixels or on an encoder's features as functions of pixels."""
    encoder, args = model.encoder_used
    if encoder is None:
        geometry = squashed(model.options()["pixels"])
        return Subject(geometry, lambda pixels: scratch.ask(pixels, geometry, None, model.predict_proba), None, "cpu")
    geometry = preprocessing_of(spec_of(prepared.pool, encoder, args)).geometry

    def say(pixels: Pixels) -> Proba:
        return scratch.ask(pixels, geometry, (encoder, args), model.predict_proba)

    if not isinstance(model, LINEAR):
        return Subject(geometry, say, None, "cpu")
    return Subject(geometry, say, *_put_head(prepared, model, _linear_parts(prepared, model, settled)))


def _open_encoder(prepared: Prepared, model: Model, words: Sequence[str], scratch: Scratch) -> Subject:
    """Return the encoder that a model reads as functions of pixels: how near an image is to words."""
    encoder, args = _encoder_of(model)
    geometry = preprocessing_of(spec_of(prepared.pool, encoder, args)).geometry
    text = _encode_words(prepared, encoder, args, words)

    def say(pixels: Pixels) -> Proba:
        return scratch.encode(pixels, encoder, args) @ text.T

    return Subject(geometry, say, *_put_head(prepared, model, {"coefficients": text}))


def _open_network(prepared: Prepared, model: TrainedNetwork, words: Sequence[str], scratch: Scratch) -> Subject:
    """Return a trained network as functions of pixels."""
    import torch

    from kit.report.explain.networks import LinearOnFeatures, Standardised

    inside = look_inside(model, prepared.pool.gallery)
    network, geometry, say = inside.network, inside.preprocessing.geometry, model.predict_proba
    if words and isinstance(model, ClipFinetune):  # `check_explainable` lets no other pass
        text = _words_of_tuned(prepared, model, words)
        network = LinearOnFeatures(network.get_submodule("tower"), torch.from_numpy(text).to(inside.device))
        alpha = model.sweep_default if model.alpha is None else model.alpha

        def say(images: Images) -> Proba:
            return model.encode(images, alpha) @ text.T

    return Subject(
        geometry,
        lambda pixels: scratch.ask(pixels, geometry, None, say),
        Standardised(network, inside.preprocessing),
        inside.device,
    )


def _put_head(prepared: Prepared, model: Model, parts: dict[str, Any]) -> tuple[nn.Module, str]:
    """Return a model's encoder in float32 with a linear head on it, and its device."""
    import torch

    from kit.features.device import device_name, place_network
    from kit.features.encoders import load_encoder
    from kit.report.explain.networks import LinearOnFeatures, Standardised

    encoder, device = load_encoder(spec_of(prepared.pool, *_encoder_of(model))), device_name()
    tower = place_network(encoder.image_tower, device, "float32")
    tensors = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in parts.items()}
    return Standardised(LinearOnFeatures(tower, **tensors), encoder.preprocessing), device


def _linear_parts(prepared: Prepared, model: Head, settled: dict[str, Any]) -> dict[str, Any]:
    """Return the coefficients and intercepts of a head, and the words of its prior."""
    parts: dict[str, Any] = {}
    if settled["prior"] or isinstance(model, ZeroShot):
        name = settled["prompts"] or model.prompt_lists[0]
        text = read_text_weights(prepared.pool, *_encoder_of(model), name)
        parts = {"words": text.logit_scale * text.values, "prior": settled["prior"]}
        if isinstance(model, ZeroShot):
            return parts | {"coefficients": np.zeros_like(text.values)}
    i, learned = model.head_settings().index(setting_alone(settled)), model.tensors()
    return parts | {name: learned[name][i] for name in ("coefficients", "intercepts")}


def _encode_words(prepared: Prepared, encoder: str, args: dict[str, Any], words: Sequence[str]) -> Vectors:
    """Return the features of the user's words, (n_words, n_dims) float32 of unit length."""
    from kit.features.encoders import load_encoder

    return load_encoder(spec_of(prepared.pool, encoder, args)).encode_text(list(words))


def _words_of_tuned(prepared: Prepared, model: ClipFinetune, words: Sequence[str]) -> Vectors:
    """Return the words' features: by the text tower that was trained along, or by the encoder's own."""
    import torch

    from kit.features.encoders.words import tokenize

    encoder, args = _encoder_of(model)
    if model.train == "image":
        return _encode_words(prepared, encoder, args, words)
    network: Any = look_inside(model, prepared.pool.gallery).network  # torch knows not what its modules hold
    spec = spec_of(prepared.pool, encoder, args)
    with torch.no_grad():
        tokens = tokenize(spec, list(words)).to(next(network.parameters()).device)
        return network.text.clip.encode_text(tokens, normalize=True).float().cpu().numpy()


def _encoder_of(model: Model) -> tuple[str, dict[str, Any]]:
    """Return the name and arguments of the encoder that a model reads."""
    encoder, args = model.encoder_used
    if encoder is None:
        raise InputError("the model reads pixels, not an encoder's features")
    return encoder, args


def _is_clip(encoder: Any) -> bool:
    return isinstance(encoder, str) and encoder.startswith("open_clip:")


def _has_gradients(model: Model) -> bool:
    return isinstance(model, (TrainedNetwork, *LINEAR))
