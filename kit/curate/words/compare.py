"""Compare prompt lists: every list is scored zero-shot on every labelled image, with every encoder.

Reads features of images and texts; notes in ``runs/NAME/prompts.json`` that the lists were looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.core.errors import InputError, MissingWeights
from kit.core.files import key_of
from kit.core.shapes import Groups, Labels, Proba, Rows, Vectors
from kit.core.terminal import warn
from kit.curate.words.confusions import confused, list_pairs, recalls
from kit.curate.words.scores import Difference, EncoderScores, ListScore, PromptReport
from kit.curate.words.snippet import compose_snippet
from kit.data.prepared import Prepared
from kit.features.cache import encode_images, has_features
from kit.features.joint import encoders_of
from kit.features.prompts import NAMES, PromptList, list_prompts, prompts_of, read_text_weights, warm_text_weights
from kit.runs.seen import are_prompts_spoiled, note_prompts
from kit.scoring.metrics import Metric, distinguishable, negative_log_proba, paired_difference, score_with_error

if TYPE_CHECKING:
    from kit.data.images import Images, Pool

OPEN_CLIP_PREFIX = "open_clip:"


def compare_prompts(prepared: Prepared, encoder: str | None = None, strict: bool = False) -> PromptReport:
    """Score every prompt list of a competition on all labelled images, and note that they were looked at.

    It writes into the runs folder: hold the competition.

    Parameters
    ----------
    encoder
        An open_clip encoder; by default every one that a run names.
    strict
        Raise instead of skipping an encoder whose weights cannot be had.

    Raises
    ------
    InputError
        When the list ``names`` is refused, no run names an open_clip encoder, or the given one has no text tower.
    MissingWeights
        When no encoder's weights can be had.
    """
    prepared.competition.check_single("words are scored by the one class that they name")
    lists = _read_lists(prepared.pool)
    encoders = _find_encoders(prepared, encoder)
    scored, skipped = [], {}
    for text, args in encoders:
        try:
            scored.append(_score_lists(prepared, text, args, lists))
        except MissingWeights as error:
            if strict or len(skipped) == len(encoders) - 1:
                raise
            warn(f"skipped: {error}")  # it names the encoder
            skipped[text] = str(error)
    folder = prepared.competition.workspace.runs(prepared.competition.name)
    for prompts in lists:
        note_prompts(folder, prompts, lists)
    counts = np.bincount(prepared.labels, minlength=len(prepared.classes)).tolist()
    n_images = dict(zip(prepared.classes, counts, strict=True))
    return PromptReport(prepared.competition.name, prepared.competition.facts.metric, n_images, scored, skipped)


def _read_lists(pool: Pool) -> list[PromptList]:
    """Read all lists; one that is refused, perhaps because it is still being written, is left out."""
    lists = []
    for name in list_prompts(pool.prompts):
        try:
            lists.append(prompts_of(pool, name))
        except InputError as error:
            warn(f"{name} is left out: {error}")
    return lists


def _find_encoders(prepared: Prepared, wanted: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the open_clip encoders that runs name, each once, or the wanted one with its run's arguments."""
    options = [run.options for run in prepared.competition.runs.values()]
    named = [each for table in options for each in encoders_of(table)]
    encoders = {key_of(text, args): (text, args) for text, args in named if text.startswith(OPEN_CLIP_PREFIX)}
    if wanted is None and not encoders:
        file = prepared.competition.file
        raise InputError(f"{file}: no run names an open_clip encoder; give one: --encoder open_clip:ViT-B-32/openai")
    if wanted is None:
        return list(encoders.values())
    if wanted.startswith("timm:"):
        raise InputError(f"--encoder {wanted!r} has no text tower; prompts need an open_clip encoder")
    return [(text, args) for text, args in encoders.values() if text == wanted] or [(wanted, {})]


def _score_lists(prepared: Prepared, encoder: str, args: dict[str, Any], lists: list[PromptList]) -> EncoderScores:
    """Score all lists with one encoder."""
    from scipy.special import softmax

    lists = _fitting_lists(prepared.pool, encoder, args, lists)
    features = encode_images(_labeled_images(prepared, encoder, args), encoder, args).values  # (n_labeled, n_dims)
    texts = [read_text_weights(prepared.pool, encoder, args, prompts.name) for prompts in lists]
    probas = [softmax(text.logit_scale * features @ text.values.T, axis=1) for text in texts]
    metric = prepared.metric
    scores = [metric.sign * metric.score(prepared.labels, proba) for proba in probas]
    best = int(np.argmax(scores))  # in a tie `names`: it was not written for these images
    rows = [
        _score_list(prepared, prompts, proba, text.values, names=probas[0], best=probas[best], is_best=number == best)
        for number, (prompts, proba, text) in enumerate(zip(lists, probas, texts, strict=True))
    ]
    rows = [replace(row, snippet=compose_snippet(row, rows)) for row in rows]
    order = sorted(range(len(rows)), key=lambda number: (number != best, -scores[number], rows[number].log_loss))
    return EncoderScores(encoder, args, [rows[number] for number in order])


def _fitting_lists(pool: Pool, encoder: str, args: dict[str, Any], lists: list[PromptList]) -> list[PromptList]:
    """Encode the lists; leave those out whose words are too long for the encoder."""
    try:
        warm_text_weights(pool, encoder, args, lists)
        return lists
    except InputError:
        fitting = []
        for prompts in lists:
            try:
                warm_text_weights(pool, encoder, args, [prompts])
                fitting.append(prompts)
            except InputError as error:
                if prompts.name == NAMES:  # all others are compared with it
                    raise
                warn(f"{prompts.name} is left out: {error}")
        return fitting


def _labeled_images(prepared: Prepared, encoder: str, args: dict[str, Any]) -> Images:
    """Return the labelled images; in a separate pool where the whole one would have to be encoded for them.

    Words are tried long before 300,000 unlabelled images are encoded.
    """
    if 2 * len(prepared.labeled) > len(prepared.pool) or has_features(prepared.pool, encoder, args):
        return prepared.pool.select(prepared.labeled)
    return _cut_pool(prepared.pool, prepared.labeled).select(np.arange(len(prepared.labeled)))


def _cut_pool(pool: Pool, rows: Rows) -> Pool:
    """Return a pool of some rows; it shares the cache, where its features have another key."""
    return replace(
        pool,
        ids=pool.ids[rows],
        splits=pool.splits[rows],
        paths=pool.paths[rows],
        digests=pool.digests[rows],
        groups=pool.groups[rows],
        embeddings=None,
    )


def _score_list(
    prepared: Prepared,
    prompts: PromptList,
    proba: Proba,
    text: Vectors,
    names: Proba,
    best: Proba,
    is_best: bool,
) -> ListScore:
    """Score one list, and compare it with the probabilities of ``names`` and of the best list."""
    labels, classes, metric = prepared.labels, prepared.classes, prepared.metric
    groups = prepared.pool.groups[prepared.labeled]
    folder = prepared.competition.workspace.runs(prepared.competition.name)
    score, error = score_with_error(metric, labels, proba, groups)
    predicted, by_names = proba.argmax(axis=1), names.argmax(axis=1)
    return ListScore(
        name=prompts.name,
        key=prompts.key,
        templates=prompts.templates,
        words=dict(zip(classes, prompts.words, strict=True)),
        score=score,
        se=error,
        log_loss=float(negative_log_proba(labels, proba).mean()),
        against_names=None if prompts.name == NAMES else _compare(metric, labels, proba, names, groups),
        against_best=None if is_best else _compare(metric, labels, proba, best, groups),
        recalls=recalls(labels, predicted, classes),
        confusions=confused(labels, predicted, classes),
        resolves=confused(labels, by_names, classes, predicted == labels),
        causes=confused(labels, predicted, classes, by_names == labels),
        pairs=list_pairs(labels, predicted, text, prompts, classes),
        snippet="",
        optimistic=are_prompts_spoiled(folder, prompts),
    )


def _compare(metric: Metric, labels: Labels, ours: Proba, theirs: Proba, groups: Groups) -> Difference:
    """Return the paired test of two lists."""
    difference, error = paired_difference(metric, labels, ours, theirs, groups)
    return Difference(difference, error, distinguishable(difference, error))
