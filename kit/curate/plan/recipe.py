"""Which runs a plan has: cheap heads on every encoder, their joint one, fine-tunes where devices and time allow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from kit.curate.plan.catalog import BEST
from kit.curate.plan.facts import PlanFacts, Wishes
from kit.curate.plan.networks import plan_networks
from kit.curate.plan.planned import (
    FLOAT_BYTES,
    MEGABYTE,
    PlannedRun,
    Work,
    count_pairs,
    encoder_keys,
    encoding_work,
    join_work,
    words_of,
)
from kit.curate.plan.portfolio import Member, Portfolio, gather
from kit.features.joint import Joined

SMALL_SIDE = 64  # pixels: of images up to here, forests and support vectors on pixels are worth their second
SHARE = 0.8  # what an image takes from its neighbours: the trusted share of kit.models.trust, as a test holds
WHITENED = {"power": 0.5, "whiten": 0.5, "self_training": 0.3}  # measured: see the models' README
EVENED = (
    "power and whiten even out the encoders' features before probes and neighbours read them, and self_training learns "
    "once more from what has flowed to the unlabelled images: with few labels of photos, together 1 to 7 points."
)
ROUNDS = 2  # of pseudo labels
TAUGHT_SHARE = 0.3  # what an image takes from its neighbours, where its teachers asked theirs already
TAUGHT = {  # the pseudo labels that gained most: see the bench's README, unlabelled images
    "keep_rate": 1.0,
    "agree": False,
    "align": "labeled",
    "align_strength": 0.5,
    "weight": "confidence",
    "total_weight": 3.0,
}
HEAD_PACE, GRAPH_PACE = 1e8, 2e10  # numbers per second that a regression and a search for neighbours get through
FLOW_PACE = 3e7  # numbers of features per second, read for a graph and learned from as labels flow
FOREST_SECONDS = 2.0  # per fold
DECODING_SECONDS = 0.004  # per image
PIXEL_DIMS = 792  # numbers that a model on pixels reads of an image, as a test holds
COMPARED_ANEW = 5_000  # images that label_spreading compares anew for every fold; of more once: FEW of its module


@dataclass(frozen=True)
class Plan:
    """Hold the runs that are planned, what is to be said, what was asked for, and in which encoders labels had a say.

    `chosen` is of `kit.curate.plan.portfolio.Portfolio`.
    """

    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]
    wishes: Wishes
    left_out: tuple[PlannedRun, ...] = field(default=())
    chosen: tuple[tuple[Joined, ...], ...] = ()

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
    trained, left_out, absent = plan_networks(facts, wishes, portfolio, left)
    notes += absent
    if any("whiten" in run.table for run in cheap):
        notes.append(EVENED)
    if facts.uses_test_images(wishes) and portfolio.members:
        notes.append(
            "A guess about the rules: test images serve as unlabelled ones (use_test_images = true), as most "
            "competitions allow. --no-test-images plans without."
        )
    for run in left_out:
        notes.append(f"{run.name} is left out: it takes about {run.seconds / 60:,.0f} minutes; --time gives more")
    return Plan((*cheap, *trained), tuple(notes), wishes, tuple(left_out), portfolio.chosen)


def _forest(facts: PlanFacts) -> PlannedRun:
    """Return the run that every plan has."""
    seconds = DECODING_SECONDS * facts.n_images + FOREST_SECONDS * facts.n_folds
    reason = "reads pixels alone and needs no weights: the mark to beat"
    return PlannedRun("forest", {"model": "forest"}, reason, seconds, 200.0, Work(n_fits=facts.n_folds))


def _on_pixels(facts: PlanFacts, portfolio: Portfolio) -> list[PlannedRun]:
    """Return the other runs on pixels, where images are small or nothing else is to be had."""
    if facts.side > SMALL_SIDE and portfolio.members:
        return []
    reason = "images this small show on their pixels what they are" if portfolio.members else "no encoder is at hand"
    seconds, fits = FOREST_SECONDS * facts.n_folds / 2, Work(n_fits=facts.n_folds)
    runs = [PlannedRun("extra_trees", {"model": "forest", "trees": "extra"}, reason, seconds, 200.0, fits)]
    if not facts.is_multilabel:
        runs.append(PlannedRun("svm", {"model": "svm"}, reason, seconds, 200.0, fits))
        if facts.n_unlabeled:
            spread = "labels flow to the unlabelled images that look alike"
            cost = 2 * seconds + _spreading_seconds(facts), 300.0 + _pixel_megabytes(facts)
            runs.append(PlannedRun("label_spreading", {"model": "label_spreading"}, spread, *cost, fits))
    return runs


def _spreading_seconds(facts: PlanFacts) -> float:
    """Return the seconds of comparing the images' pixels with each other, and of reading them for every fold."""
    search, reading = facts.n_images**2 * PIXEL_DIMS / GRAPH_PACE, facts.n_images * PIXEL_DIMS / FLOW_PACE
    if facts.n_images <= COMPARED_ANEW:
        return facts.n_folds * (search + reading)
    return search + facts.n_folds * reading


def _pixel_megabytes(facts: PlanFacts) -> float:
    """Return the memory of what is read of all images' pixels."""
    return facts.n_images * PIXEL_DIMS * FLOAT_BYTES / MEGABYTE


def _heads(facts: PlanFacts, wishes: Wishes, members: tuple[Member, ...]) -> list[PlannedRun]:
    """Return a probe on every encoder, words alone where an encoder of the hub reads them, and the joint probe."""
    runs: list[PlannedRun] = []
    shared = _neighbours(facts, wishes)
    joint = _joint(facts, members, shared)
    for member in members:
        encoding = Work() if joint and member.is_joined else encoding_work(member, facts)  # else the joint run did it
        table = {"model": "linear_probe", **encoder_keys(member), **words_of(member, facts), **shared}
        seconds = encoding.seconds + _head_seconds(facts, [member], bool(shared))
        work = replace(encoding, n_fits=_count_fits(facts))
        megabytes = _head_megabytes(facts, [member])
        runs.append(PlannedRun(f"probe_{member.name}", table, member.reason, seconds, megabytes, work))
        if words_of(member, facts) and member.source == "hub" and wishes.preset != "quick":
            table = {"model": "zero_shot", **encoder_keys(member), **words_of(member, facts)}
            reason = "words alone: shows what better words are worth"
            runs.append(PlannedRun(f"zero_shot_{member.name}", table, reason, 5.0, megabytes))
    taught = _taught(facts, joint[0], members, shared) if joint and wishes.preset == BEST else []
    return [*joint, *runs, *taught]


def _joint(facts: PlanFacts, members: tuple[Member, ...], shared: dict[str, Any]) -> list[PlannedRun]:
    """Return the probe on the good encoders side by side, where there are several; it comes first, and encodes."""
    members = tuple(member for member in members if member.is_joined)
    if len(members) < 2:
        return []
    words = next((words for member in members if (words := words_of(member, facts))), {})
    encoders = [encoder_keys(member) if member.encoder_args else member.encoder for member in members]
    table = {"model": "linear_probe", "encoders": encoders, **words, **shared}
    flow = ", and labels flow along the neighbours that any of them names" if shared else ""
    reason = f"the good encoders side by side: they err on different images{flow}; the best bet with few labels"
    work = replace(join_work(encoding_work(member, facts) for member in members), n_fits=_count_fits(facts))
    seconds = work.seconds + _head_seconds(facts, list(members), bool(shared))
    return [PlannedRun("joint", table, reason, seconds, _head_megabytes(facts, list(members)), work)]


def _taught(
    facts: PlanFacts, joint: PlannedRun, members: tuple[Member, ...], shared: dict[str, Any]
) -> list[PlannedRun]:
    """Return the joint probe taught by itself and by the best probe beside it, where there are unlabelled images.

    Of several labels per image pseudo labels gained nothing.
    """
    if not shared or facts.is_multilabel:
        return []
    beside = max(members, key=lambda member: member.score)
    teachers = [joint.name, f"probe_{beside.name}"]
    alone = {key: value for key, value in joint.table.items() if key != "self_training"}
    table = {**alone, "smooth": TAUGHT_SHARE, "pseudo": {"teachers": teachers, "rounds": ROUNDS, **TAUGHT}}
    reason = (
        f"learns what {' and '.join(teachers)} say of unlabelled images, {ROUNDS} rounds; one that is no better than "
        "the same run without is left out"
    )
    seconds = (ROUNDS + 1) * (joint.seconds - joint.work.seconds)
    return [PlannedRun("joint_taught", table, reason, seconds, joint.megabytes, Work(n_fits=joint.work.n_fits))]


def _count_fits(facts: PlanFacts) -> int:
    """Return how many times a head is fitted: without every fold, and without every pair of them."""
    return facts.n_folds + count_pairs(facts)


def _neighbours(facts: PlanFacts, wishes: Wishes) -> dict[str, Any]:
    """Return the keys that let an image ask its neighbours, where there are unlabelled images to lead to others."""
    uses_test = facts.uses_test_images(wishes)
    if not facts.n_unlabeled and not uses_test:
        return {}
    evened = {} if facts.is_multilabel else WHITENED  # of several labels per image nothing is known
    return {"smooth": SHARE, **evened, **({"use_test_images": True} if uses_test else {})}


def _head_seconds(facts: PlanFacts, members: list[Member], with_neighbours: bool) -> float:
    """Return the seconds of a head on cached features: all folds, all pairs of them, one search for neighbours."""
    n_dims = sum(member.cost.n_dims for member in members)
    fit = 0.2 + facts.n_labeled * n_dims * facts.n_classes / HEAD_PACE
    flow, search = (facts.n_images * n_dims / FLOW_PACE, facts.n_images**2 * n_dims / GRAPH_PACE)
    if not with_neighbours:
        flow = search = 0.0
    return (facts.n_folds + count_pairs(facts)) * (fit + flow) + search + 1.0


def _head_megabytes(facts: PlanFacts, members: list[Member]) -> float:
    """Return the memory of a head, or of the encoding before it where that takes more."""
    n_dims = sum(member.cost.n_dims for member in members)
    features = 2 * facts.n_images * n_dims * FLOAT_BYTES / MEGABYTE
    return max([features, *(member.cost.megabytes for member in members)])
