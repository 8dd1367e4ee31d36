"""What the heads on cached features share: words as a prior, neighbours, and how much of each, chosen nested.

A head learns from features; then the zero-shot log-probabilities of a prompt list are added with some weight, and an
image's probabilities are mixed with those of its neighbours. All three are settings of one sweep: a bad list or a
misleading neighbourhood is switched off by the oof rows of the other folds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field
from scipy.special import expit, log_softmax, softmax

from kit.core.errors import InputError
from kit.core.shapes import Logits, Proba, Tensors, Vectors
from kit.data.images import Images
from kit.features.cache import encode_images
from kit.features.joint import Joined, encode_jointly, encoders_of
from kit.features.neighbours import Graph
from kit.features.prompts import read_text_weights
from kit.features.transclip import fit_mixture
from kit.features.whitening import Whitening, fit_whitening
from kit.models.balance import NESTED, SHARES, TAU, Balance, adjust, balance_images, class_shares
from kit.models.heads.relearning import learn_flowed
from kit.models.model import Model
from kit.models.search import Between
from kit.models.trust import TRUSTED
from kit.scoring.task import Task

SHARED = ("prompts", "prior", "smooth", "tau")  # settings that every head has
OPEN_CLIP = "open_clip:"  # what the notation of an encoder with a text tower begins with
WHITENING = "whitening."  # prefix of the kept tensors that change the features, before the encoder's number
NODES = "nodes."  # prefix of the kept tensors that name the graph's nodes
PRIORS = [0.0, 0.1, 0.25, 0.5, 1.0]  # 0 first: in a tie the words are left out
SMOOTHS: list[float] = list(TRUSTED["smooth"])  # the trusted first
PRIOR_UNCHOSEN = 0.1  # with a single hold-out, which may not choose

Prior = Annotated[float, Field(ge=0), Between(0.01, 2, log=True, needs="prompts")] | Literal["nested"]
Smooth = Annotated[float, Field(ge=0, lt=1), Between(0, 0.95, needs="smooth")] | Literal["nested"]
Prompts = (
    Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
)
Setting = dict[str, Any]
Spread = Callable[[Images, Callable[[], Proba]], Proba]
"""Of images and what gives their probabilities alone: these mixed with what has spread over a graph."""
LOGIT_ROWS = 16_384  # images whose logits are computed at a time: what lies between is larger than they are


@dataclass
class Head(Balance, Model):
    """Fit on cached features; a subclass says how in `learn` and `logits`.

    Parameters
    ----------
    encoder
        Encoder whose features are used; with several, that which reads the words.
    encoder_args
        Constructor arguments of the encoder.
    encoders
        Further encoders, as notations or as tables of `encoder` and `encoder_args`. The features of all stand side by
        side, each of unit length; an image's neighbours are those that any of them names, weighed together. Where
        `encoder` is not given, the first open_clip encoder of them reads the words.
    prompts
        Prompt list of the prior, or several of which one is chosen for each fold on the other folds' oof rows; None
        for no prior.
    prior
        Weight of the zero-shot log-probabilities, 0 or more, or ``"nested"`` to choose it likewise.
    smooth
        Share of its opinion that an image takes from its nearest neighbours, 0 or more and below 1, or ``"nested"``.
        Neighbours are labelled and unlabelled images; with `use_test_images` test images too.
    transduction
        How neighbours speak: ``"diffusion"`` along the graph (Zhou et al. 2004), or ``"transclip"``, a mixture of
        Gaussians with neighbours of weight smooth / (1 - smooth) (Zanella et al. 2024).
    n_neighbors
        Neighbours of each image.
    self_training
        Weight of an unlabelled image, 0..1, in a second regression: it learns what diffusion has made of all nodes, and
        what it predicts flows again. 0 for none; it needs neighbours, and one label per image.
    power
        Power of the size of each number in the features, above 0; 0.5 evens out skewed ones, 1 leaves them. For the
        head and for the neighbours, not for the words.
    whiten
        How far the features' principal axes are brought to the same spread, 0..1; 0 leaves them. Mean and axes are
        those of all images that the fit may use, labelled or not, with `use_test_images` test images too; no label
        counts.
    seed
        Seed of what is drawn.
    balance, tau, ...
        How classes of unequal size are treated: see `kit.models.balance.Balance`. What neighbours know is not weighed.
    """

    encoder: str | None = None
    encoder_args: dict[str, Any] = field(default_factory=dict)
    encoders: list[str | dict[str, Any]] = field(default_factory=list)
    prompts: Prompts | None = None
    prior: Prior = NESTED
    smooth: Smooth = 0.0
    transduction: Literal["diffusion", "transclip"] = "diffusion"
    n_neighbors: Annotated[int, Field(ge=1, le=100)] = 5
    self_training: Annotated[float, Field(ge=0, le=1)] = 0.0
    power: Annotated[float, Field(gt=0, le=1), Between(0.3, 1, needs="whiten")] = 1.0
    whiten: Annotated[float, Field(ge=0, le=1), Between(0, 1, needs="whiten")] = 0.0
    seed: int = 0

    def learn(self, features: Vectors, labeled: Images) -> Tensors:
        """Return what is learned from (n_images, n_dims) features, for each of the head's settings."""
        raise NotImplementedError

    def logits(self, features: Vectors, learned: Tensors, setting: Setting) -> Logits:
        """Return (n_images, n_classes) logits at one of the head's settings."""
        raise NotImplementedError

    def head_settings(self) -> list[Setting]:
        """Return the settings to try of the head alone, without words and neighbours; the preferred first."""
        return [{}]

    def head_default(self) -> Setting:
        """Return the setting of the head alone where nothing may choose."""
        return self.head_settings()[0]

    def check_task(self, task: Task) -> None:
        """Refuse, as InputError, options that pit the classes against each other where an image may have several."""
        super().check_task(task)
        if not self.encoders_used:
            raise InputError("needs 'encoder', or several: encoders = [...]")
        if not task.is_multilabel:
            return
        if self.prompts is not None:
            raise InputError("prompts: words choose one class per image; leave them out with several labels")
        if self.transduction != "diffusion":
            raise InputError('transduction: with several labels per image neighbours speak by "diffusion" alone')

    @property
    def encoders_used(self) -> list[Joined]:
        """Return every encoder whose features stand side by side."""
        return encoders_of({"encoder": self.encoder, "encoder_args": self.encoder_args, "encoders": self.encoders})

    @property
    def encoder_used(self) -> tuple[str | None, dict[str, Any]]:
        """Return the encoder that reads the words: `encoder`, else the first open_clip one, else the first."""
        encoders = self.encoders_used
        reading = [each for each in encoders if each[0].startswith(OPEN_CLIP)]
        first: tuple[str | None, dict[str, Any]] = (None, {})
        return first if not encoders else encoders[0] if self.encoder or not reading else reading[0]

    def fit(self, labeled: Images, unlabeled: Images) -> Self:
        """Learn from the labelled images; remember who the neighbours may be."""
        self._whitenings = self._fit_whitenings(labeled.join(unlabeled))
        balanced = balance_images(labeled, self, self.seed)
        self._learned = self.learn(self._features(balanced), balanced)
        self._shares = class_shares(labeled.labels, labeled.n_classes, labeled.weights)
        unlabeled = unlabeled.take(np.flatnonzero(~np.isin(unlabeled.rows, labeled.rows)))  # pseudo-labelled ones
        nodes = labeled.join(unlabeled) if self.smooth != 0 else labeled
        self._nodes = {"rows": nodes.rows, "labels": nodes.labels, "weights": nodes.weights}
        self._forget()
        return self

    def predict_proba(self, images: Images) -> Proba:
        """Return probabilities at the settled setting, (n_images, n_classes)."""
        return self._predict(images, [self._settled or self.sweep_default])[0]

    @property
    def sweep_default(self) -> Setting:
        """Return the setting where nothing may choose: a little of everything that is on."""
        lists = self._lists()
        prior = PRIOR_UNCHOSEN if self.prior == NESTED and lists != [None] else self._priors()[0]
        smooth = SMOOTHS[0] if self.smooth == NESTED else self.smooth
        shared = {"prompts": lists[0] if prior else None, "prior": prior, "smooth": smooth}
        adjustment = {"tau": TAU} if self.balance == NESTED else self._adjustments()[0]
        return {**self.head_default(), **shared, **adjustment}

    def sweep_values(self) -> list[Setting]:
        """Return the settings to try; a single one when all is fixed. The first is preferred in a tie."""
        words = dict.fromkeys((name if prior else None, prior) for prior in self._priors() for name in self._lists())
        smooths = SMOOTHS if self.smooth == NESTED else [self.smooth]
        return [
            {**alone, "prompts": name, "prior": prior, "smooth": smooth, **adjustment}
            for smooth, (name, prior), alone, adjustment in product(
                smooths, words, self.head_settings(), self._adjustments()
            )
        ]

    def predict_sweep(self, images: Images) -> Proba:
        """Return probabilities at every setting, (n_values, n_images, n_classes)."""
        return self._predict(images, self.sweep_values())

    def settle(self, value: Setting) -> None:
        """Predict with this setting from now on."""
        self._settled = value

    def predict_logits(self, images: Images) -> Logits:
        """Return the logits of the head alone at the settled setting, (n_images, n_classes)."""
        alone = setting_alone(self._settled or self.sweep_default)
        return self.logits(self._features(images), self._learned, alone)

    def tensors(self) -> Tensors:
        """Return what was learned, and which images may be neighbours."""
        nodes = {f"{NODES}{name}": value for name, value in self._nodes.items()}
        whitenings = {f"{WHITENING}{i}": each.basis for i, each in enumerate(self._whitenings)}
        return {**self._learned, SHARES: self._shares, **nodes, **whitenings}

    def restore(self, tensors: Tensors, classes: tuple[str, ...]) -> Self:
        """Become the fitted model that gave `tensors`; return self."""
        self._nodes = {name.removeprefix(NODES): value for name, value in tensors.items() if name.startswith(NODES)}
        self._learned = {name: value for name, value in tensors.items() if not name.startswith((NODES, WHITENING))}
        n_whitenings = sum(name.startswith(WHITENING) for name in tensors)
        self._whitenings = [Whitening(self.power, tensors[f"{WHITENING}{i}"]) for i in range(n_whitenings)]
        self._shares = self._learned.pop(SHARES)
        self._forget()
        return self

    def _forget(self) -> None:
        """Forget what follows from the fit: the settled setting, the graph, what has spread over it."""
        self._settled: Setting | None = None
        self._graph: Graph | None = None
        self._spread: dict[str, Spread] = {}

    def _without_graph(self) -> Self:
        """Return a copy that knows no graph: what it lends does not keep the graph in memory when this one is gone."""
        twin = copy.copy(self)
        twin._forget()
        return twin

    def _lists(self) -> list[str | None]:
        """Return the prompt lists to try."""
        return list(self.prompts) if isinstance(self.prompts, list) else [self.prompts]

    def _priors(self) -> list[float]:
        """Return the prior's weights to try."""
        if self.prompts is None:
            return [0.0]
        return PRIORS if self.prior == NESTED else [float(self.prior)]

    def _adjustments(self) -> list[Setting]:
        """Return the settings of the logit adjustment; nothing to set where nothing is adjusted."""
        return [{}] if self.taus() == [0.0] else [{"tau": tau} for tau in self.taus()]

    def _features(self, images: Images) -> Vectors:
        """Return the encoders' features side by side, (n_images, n_dims)."""
        return encode_jointly(images, self.encoders_used, self._whitenings)

    def _fit_whitenings(self, images: Images) -> list[Whitening]:
        """Return what changes each encoder's features; none where all stay as they are."""
        if self.power == 1 and self.whiten == 0:
            return []
        return [fit_whitening(images, *each, self.power, self.whiten) for each in self.encoders_used]

    def word_logits(self, images: Images, name: str) -> Logits:
        """Return the zero-shot logits of a prompt list, (n_images, n_classes)."""
        encoder, args = self.encoder_used
        text = read_text_weights(images.pool, str(encoder), args, name)
        return text.logit_scale * encode_images(images, str(encoder), args).values @ text.values.T

    def _predict(self, images: Images, settings: list[Setting]) -> Proba:
        """Return probabilities at several settings, (n_settings, n_images, n_classes)."""
        proba_at = self._proba_by_setting(images)

        def at(setting: Setting) -> Proba:
            proba = self._with_neighbours(images, lambda: proba_at(setting), setting)
            return adjust(proba, self._shares, setting.get("tau", 0.0))

        return np.stack([at(setting) for setting in settings])

    def _hold_features(self, images: Images) -> Callable[[], list[Vectors]]:
        """Return what gives the features of a few images, made when first asked for; of many none: they fill memory.

        That is a list of one array, (n_images, n_dims), or an empty one.
        """
        return cache(lambda: [self._features(images)] if len(images) <= LOGIT_ROWS else [])

    def _proba_by_setting(
        self, images: Images, held: Callable[[], list[Vectors]] | None = None
    ) -> Callable[[Setting], Proba]:
        """Return a function of the setting that gives the head's and the words' probabilities; each is asked once.

        `held` are the images' features where those are at hand.
        """
        parts = [images.take(np.arange(*span)) for span in _spans(len(images))]
        held = held or self._hold_features(images)

        @cache
        def of_head(alone: tuple[tuple[str, Any], ...]) -> Logits:
            features = held() or map(self._features, parts)
            return np.concatenate([self.logits(each, self._learned, dict(alone)) for each in features])

        @cache
        def of_words(name: str) -> Logits:
            return np.concatenate([log_softmax(self.word_logits(part, name), axis=1) for part in parts])

        def proba_at(setting: Setting) -> Proba:
            logits = of_head(tuple(setting_alone(setting).items()))
            prior = setting["prior"] and setting["prior"] * of_words(setting["prompts"])
            if images.is_multilabel:
                return expit(logits).astype(np.float32)
            return softmax(logits + prior, axis=1).astype(np.float32)

        return proba_at

    def _with_neighbours(self, images: Images, alone: Callable[[], Proba], setting: Setting) -> Proba:
        """Mix the probabilities of images alone, where those are asked for, with those of their neighbours."""
        if setting["smooth"] == 0:
            return alone()
        if self._graph is None:
            nodes = images.pool.select(self._nodes["rows"], self._nodes["labels"])
            nodes = replace(nodes, weights=self._nodes["weights"])
            self._graph = Graph(nodes, self.encoders_used, self.n_neighbors, self._whitenings)
            twin = self._without_graph()
            self._features_of_nodes = twin._hold_features(nodes)
            self._proba_of_nodes = twin._proba_by_setting(nodes, self._features_of_nodes)
        key = json.dumps({name: value for name, value in setting.items() if name != "tau"})  # it comes after
        if key not in self._spread:
            self._spread = {key: self._spread_over(self._graph, setting)}  # the last one only: they are large
        return self._spread[key](images, alone)

    def _spread_over(self, graph: Graph, setting: Setting) -> Spread:
        """Let probabilities spread over the graph; return a function that mixes images' probabilities with those."""
        smooth, proba_of_nodes = setting["smooth"], self._proba_of_nodes(setting)
        if self.transduction == "diffusion":
            flowed = _diffuse(graph, _know(proba_of_nodes, graph.nodes), smooth)
            if self.self_training == 0 or graph.nodes.is_multilabel or graph.nodes.is_known.all():
                return lambda images, alone: graph.extend(images, alone, flowed, smooth)
            return self._relearn(graph, flowed, smooth)
        strength, trust = smooth / (1 - smooth), np.minimum(graph.nodes.weights, 1)
        features_of = self._without_graph()._features
        labels, near = graph.nodes.labels, graph.attach(graph.nodes)
        mixture, assigned = fit_mixture(features_of(graph.nodes), labels, trust, proba_of_nodes, near, strength)
        return lambda images, alone: mixture.assign(
            features_of(images), alone(), strength * (graph.attach(images) @ assigned)
        )

    def _relearn(self, graph: Graph, flowed: Proba, smooth: float) -> Spread:
        """Let a second regression learn from what has flowed, and what it predicts flow in turn."""
        nodes, features_of = graph.nodes, self._without_graph()._features
        [features] = self._features_of_nodes() or [features_of(nodes)]
        trust = np.minimum(nodes.weights, 1)
        fitted = learn_flowed(features, nodes.labels, trust, flowed, self.self_training, self.seed)

        def predict(features: Vectors) -> Proba:
            return softmax(features @ fitted[0].T + fitted[1], axis=1).astype(np.float32)

        again = _diffuse(graph, _know(predict(features), nodes), smooth)
        return lambda images, _: graph.extend(images, lambda: predict(features_of(images)), again, smooth)


def _spans(n_images: int) -> list[tuple[int, int]]:
    """Return the first and the last place of each part of images; one part of few."""
    starts = range(0, max(n_images, 1), LOGIT_ROWS)
    return [(start, min(start + LOGIT_ROWS, n_images)) for start in starts]


def setting_alone(setting: Setting) -> Setting:
    """Return the part of a setting that is the head's alone, without words, neighbours and adjustment."""
    return {name: value for name, value in setting.items() if name not in SHARED}


def _diffuse(graph: Graph, proba: Proba, smooth: float) -> Proba:
    """Let probabilities flow; with several labels per image each class beside its absence: rows are distributions."""
    if not graph.nodes.is_multilabel:
        return graph.diffuse(proba, smooth)
    n_classes = proba.shape[1]
    flowed = graph.diffuse(np.hstack([proba, 1 - proba]) / n_classes, smooth)
    return np.clip(flowed[:, :n_classes] * n_classes, 0, 1)


def _know(proba: Proba, nodes: Images) -> Proba:
    """Return the probabilities with what is known: the label, for a pseudo label as much as its weight says."""
    known = np.flatnonzero(nodes.is_known)
    trust = np.minimum(nodes.weights[known], 1)[:, None]
    proba = np.array(proba, dtype=np.float32)
    labels = nodes.labels[known]
    truth = labels if nodes.is_multilabel else np.eye(proba.shape[1])[labels]
    proba[known] = trust * truth + (1 - trust) * proba[known]
    return proba
