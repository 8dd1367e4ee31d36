"""Which runs a plan has: cheap heads on every encoder, their joint one, fine-tunes where devices and time allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kit.curate.plan.catalog import BEST, CARD
from kit.curate.plan.facts import PlanFacts, Wishes
from kit.curate.plan.portfolio import Hub, Member, Portfolio, gather
from kit.features.measure import STEP_FACTOR
from kit.features.weights import parse_encoder

SMALL_SIDE = 64  # pixels: of images up to here, forests and support vectors on pixels are worth their second
SHARE = 0.8  # what an image takes from its neighbours: the trusted share of kit.models.trust, as a test holds
WHITENED = {"power": 0.5, "whiten": 0.5, "self_training": 0.3}  # measured: see the models' README
EVENED = (
    "power and whiten even out the encoders' features before probes and neighbours read them, and self_training learns "
    "once more from what has flowed to the unlabelled images: with few labels of photos, together 1 to 7 points."
)
PASSES = 20  # of a fine-tune over the labelled images, to tell its time
HEAD_PACE, GRAPH_PACE = 2e7, 2e10  # numbers per second that a regression and a search for neighbours get through
FOREST_SECONDS = 2.0  # per fold
DECODING_SECONDS = 0.004  # per image
FLOAT_BYTES, MEGABYTE = 4, 2**20
TRAINING_COPIES = 4  # of a network's weights: gradients and two moments beside them
TRAINED_ALONE = 0.5  # share of the time that is left for fine-tunes


@dataclass(frozen=True)
class PlannedRun:
    """Hold one run: its table, why it is there, and what it costs here."""

    name: str
    table: dict[str, Any]
    reason: str
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Plan:
    """Hold the runs that are planned, what is to be said, and what was asked for."""

    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]
    wishes: Wishes
    left_out: tuple[PlannedRun, ...] = field(default=())

    @property
    def seconds(self) -> float:
        """Return what all runs take together."""
        return sum(run.seconds for run in self.runs)


def plan_runs(facts: PlanFacts, wishes: Wishes) -> Plan:
    """Choose runs for a competition on this machine.

    InputError where the folder of weights is none.
    """
    portfolio = gather(facts, wishes)
    notes = list(portfolio.notes)
    cheap = [_forest(facts), *_on_pixels(facts, portfolio), *_heads(facts, wishes, portfolio.members)]
    left = wishes.budget - sum(run.seconds for run in cheap)
    trained, left_out = _take(_networks(facts, wishes, portfolio), left)
    if any("whiten" in run.table for run in cheap):
        notes.append(EVENED)
    if facts.uses_test_images(wishes) and portfolio.members:
        notes.append(
            "A guess about the rules: test images serve as unlabelled ones (use_test_images = true), as most "
            "competitions allow. --no-test-images plans without."
        )
    for run in left_out:
        notes.append(f"{run.name} is left out: it takes about {run.seconds / 60:,.0f} minutes; --time gives more")
    return Plan((*cheap, *trained), tuple(notes), wishes, tuple(left_out))


def _forest(facts: PlanFacts) -> PlannedRun:
    """Return the run that every plan has."""
    seconds = DECODING_SECONDS * facts.n_images + FOREST_SECONDS * facts.n_folds
    return PlannedRun(
        "forest", {"model": "forest"}, "reads pixels alone and needs no weights: the mark to beat", seconds, 200.0
    )


def _on_pixels(facts: PlanFacts, portfolio: Portfolio) -> list[PlannedRun]:
    """Return the other runs on pixels, where images are small or nothing else is to be had."""
    if facts.side > SMALL_SIDE and portfolio.members:
        return []
    reason = "images this small show on their pixels what they are" if portfolio.members else "no encoder is at hand"
    seconds = FOREST_SECONDS * facts.n_folds / 2
    runs = [PlannedRun("extra_trees", {"model": "forest", "trees": "extra"}, reason, seconds, 200.0)]
    if not facts.is_multilabel:
        runs.append(PlannedRun("svm", {"model": "svm"}, reason, seconds, 200.0))
        if facts.n_unlabeled:
            spread = "labels flow to the unlabelled images that look alike"
            runs.append(PlannedRun("label_spreading", {"model": "label_spreading"}, spread, 2 * seconds, 300.0))
    return runs


def _heads(facts: PlanFacts, wishes: Wishes, members: tuple[Member, ...]) -> list[PlannedRun]:
    """Return a probe on every encoder, words alone where an encoder of the hub reads them, and the joint probe."""
    runs = []
    shared = _neighbours(facts, wishes)
    for member in members:
        table = {"model": "linear_probe", **_encoder_keys(member), **_words(member, facts), **shared}
        seconds = member.cost.seconds * facts.n_images + _head_seconds(facts, [member], bool(shared))
        runs.append(PlannedRun(f"probe_{member.name}", table, member.reason, seconds, _head_megabytes(facts, [member])))
        if _words(member, facts) and member.source == "hub" and wishes.preset != "quick":
            table = {"model": "zero_shot", **_encoder_keys(member), **_words(member, facts)}
            reason = "words alone: shows what better words are worth"
            runs.append(PlannedRun(f"zero_shot_{member.name}", table, reason, 5.0, _head_megabytes(facts, [member])))
    return [*_joint(facts, members, shared), *runs]


def _joint(facts: PlanFacts, members: tuple[Member, ...], shared: dict[str, Any]) -> list[PlannedRun]:
    """Return the probe on the good encoders side by side, where there are several; encoding is counted at their own."""
    members = tuple(member for member in members if member.is_joined)
    if len(members) < 2:
        return []
    words = next((words for member in members if (words := _words(member, facts))), {})
    encoders = [_encoder_keys(member) if member.encoder_args else member.encoder for member in members]
    table = {"model": "linear_probe", "encoders": encoders, **words, **shared}
    flow = ", and labels flow along the neighbours that any of them names" if shared else ""
    reason = f"the good encoders side by side: they err on different images{flow}; the best bet with few labels"
    seconds = _head_seconds(facts, list(members), bool(shared))
    return [PlannedRun("joint", table, reason, seconds, _head_megabytes(facts, list(members)))]


def _neighbours(facts: PlanFacts, wishes: Wishes) -> dict[str, Any]:
    """Return the keys that let an image ask its neighbours, where there are unlabelled images to lead to others."""
    uses_test = facts.uses_test_images(wishes)
    if not facts.n_unlabeled and not uses_test:
        return {}
    evened = {} if facts.is_multilabel else WHITENED  # of several labels per image nothing is known
    return {"smooth": SHARE, **evened, **({"use_test_images": True} if uses_test else {})}


def _encoder_keys(member: Member) -> dict[str, Any]:
    """Return an encoder as a run's table writes it."""
    args = {"encoder_args": member.encoder_args} if member.encoder_args else {}
    return {"encoder": member.encoder, **args}


def _words(member: Member, facts: PlanFacts) -> dict[str, Any]:
    """Return the key of the prompt list, where there is one and the encoder reads it."""
    return {"prompts": facts.prompts} if facts.prompts and member.reads_words and _has_tokenizer(member, facts) else {}


def _has_tokenizer(member: Member, facts: PlanFacts) -> bool:
    """Return whether the encoder's words can be read: some tokenizers need the package transformers."""
    import importlib.util

    from kit.features.encoders.clip import read_configuration

    text = read_configuration(member.spec(facts)).model.get("text_cfg", {})
    needs = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    return not needs or importlib.util.find_spec("transformers") is not None


def _head_seconds(facts: PlanFacts, members: list[Member], with_neighbours: bool) -> float:
    """Return the seconds of a head on cached features, all folds together."""
    n_dims = sum(member.cost.n_dims for member in members)
    fit = 0.2 + facts.n_labeled * n_dims * facts.n_classes / HEAD_PACE
    graph = facts.n_images**2 * n_dims / GRAPH_PACE if with_neighbours else 0.0
    return facts.n_folds * (fit + graph) + 1.0


def _head_megabytes(facts: PlanFacts, members: list[Member]) -> float:
    """Return the memory of a head, or of the encoding before it where that takes more."""
    n_dims = sum(member.cost.n_dims for member in members)
    features = 2 * facts.n_images * n_dims * FLOAT_BYTES / MEGABYTE
    return max([features, *(member.cost.megabytes for member in members)])


def _networks(facts: PlanFacts, wishes: Wishes, portfolio: Portfolio) -> list[PlannedRun]:
    """Return the networks that are worth training here, the likeliest to help first; none for "quick"."""
    from kit.features.device import device_name

    is_fast = device_name().startswith("cuda")
    if wishes.preset == "quick" or not (is_fast or wishes.preset == BEST):
        return []
    runs = []
    for name, (encoder, reason) in CARD.items():
        is_clip = encoder.startswith("open_clip:")
        if portfolio.hub_is_reached and not (is_clip and facts.is_multilabel) and Hub().has(encoder):
            runs.append(_network(name, Member(name, encoder, "", "hub", reason), facts))
    for member in portfolio.members:
        if member.source == "hub":
            continue
        if member.reads_words and _words(member, facts):
            runs.append(_network(f"wise_ft_{member.name}", member, facts))
        elif not member.reads_words:
            runs.append(_network(f"tuned_{member.name}", member, facts))
    return runs


def _network(name: str, member: Member, facts: PlanFacts) -> PlannedRun:
    """Return a fine-tune of an encoder, with its time by a pass of a few images through it."""
    from kit.features.device import list_devices
    from kit.features.measure import measure_encoder
    from kit.features.weights.hub import is_on_this_machine

    spec = parse_encoder(member.encoder, member.encoder_args, facts.lookup)
    cost = member.cost if member.cost.n_dims else measure_encoder(spec, facts.samples, is_on_this_machine(spec))
    model = "clip_finetune" if member.reads_words else "fine_tune"
    table = {"model": model, **_encoder_keys(member), **_words(member, facts)}
    n_steps_images = PASSES * facts.n_labeled * (facts.n_folds - 1) / facts.n_folds
    each = cost.seconds * (STEP_FACTOR * n_steps_images + facts.n_images)
    seconds = each * facts.n_folds / len(list_devices())
    megabytes = cost.megabytes * STEP_FACTOR + TRAINING_COPIES * cost.n_weights * FLOAT_BYTES / MEGABYTE
    reason = f"{member.reason}; all of it trained" if member.source != "hub" else member.reason
    return PlannedRun(name, table, reason, seconds, megabytes)


def _take(runs: list[PlannedRun], seconds: float) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """Return the runs that fit into the time one after the other, and the others."""
    taken, left_out = [], []
    for run in runs:
        if run.seconds <= seconds:
            taken.append(run)
            seconds -= run.seconds
        else:
            left_out.append(run)
    return taken, left_out
