"""Which networks a plan trains: at which resolution, how often over, and how long that takes by their own steps."""

from __future__ import annotations

from dataclasses import replace

from kit.curate.plan.catalog import BEST, CARD
from kit.curate.plan.facts import PlanFacts, Wishes
from kit.curate.plan.planned import FLOAT_BYTES, MEGABYTE, PlannedRun, Work, encoder_keys, words_of
from kit.curate.plan.portfolio import Hub, Member, Portfolio
from kit.features.measure import STEP_FACTOR, Cost, measure_encoder
from kit.features.weights import EncoderSpec
from kit.runs.pace import Length, length_of_plain

LARGER = 1.28  # of its own side, at which a network is trained on a GPU where the images are as large: 384 for 300
SMALLER = 0.72  # the same where time is short: 160 for 224
GRID = 32  # pixels: sides are multiples of it
TIME_SHARE = 0.5  # of the time that is left, for one network at the larger side
SEEDS = 3  # copies of a network where time is left: few labels make one training a matter of luck
TRAINING_COPIES = 4  # of a network's weights: gradients and two moments beside them
ONE_FOLD = 0.8  # share of the labelled images that train with a single hold-out


def plan_networks(
    facts: PlanFacts, wishes: Wishes, portfolio: Portfolio, seconds: float
) -> tuple[list[PlannedRun], list[PlannedRun], list[str]]:
    """Return the networks to train, those left out for want of time, and what is to be said of those that are absent.

    The likeliest to help come first; none for "quick", and none where training is slow, but for "best".
    """
    if wishes.preset == "quick" or not (facts.is_fast or wishes.preset == BEST):
        return [], [], []
    members, notes = _members(facts, portfolio)
    taken, left_out = [], []
    for name, member in members:
        run = _network(name, member, facts, seconds)
        (taken if run.seconds <= seconds else left_out).append(run)
        seconds -= run.seconds if run.seconds <= seconds else 0.0
    return (_repeat(taken, seconds) if wishes.preset == BEST else taken), left_out, notes


def _members(facts: PlanFacts, portfolio: Portfolio) -> tuple[list[tuple[str, Member]], list[str]]:
    """Return the encoders to fine-tune by the names of their runs, and a sentence for each that cannot be had."""
    members, notes = [], []
    hub = Hub(portfolio.hub_is_reached)
    for name, (encoder, reason) in CARD.items():
        member = Member(name, encoder, "", "hub", reason)
        if member.reads_words and facts.is_multilabel:
            continue
        if hub.has(encoder):
            members.append((name, member))
        else:
            notes.append(
                f"{name} is left out: the weights of {encoder} are not on this machine, and the hub does not give them"
            )
    for member in portfolio.members:
        if member.source == "hub":
            continue
        if member.reads_words and words_of(member, facts):
            members.append((f"wise_ft_{member.name}", member))
        elif not member.reads_words:
            members.append((f"tuned_{member.name}", member))
    return members, notes


def _network(name: str, member: Member, facts: PlanFacts, seconds: float) -> PlannedRun:
    """Return a fine-tune of an encoder at the side that suits images, device and the `seconds` that are left."""
    from kit.features.weights.hub import is_on_this_machine

    spec = member.spec(facts)
    cost = member.cost if member.cost.n_dims else measure_encoder(spec, facts.samples, is_on_this_machine(spec))
    side, why = (None, "") if member.reads_words else _choose_side(spec, cost, facts, seconds)
    scale = 1.0 if side is None else (side / _own_side(spec)) ** 2
    model = "clip_finetune" if member.reads_words else "fine_tune"
    sized = {} if side is None else {"image_size": side}
    table = {"model": model, **encoder_keys(member), **sized, **words_of(member, facts)}
    megabytes = cost.megabytes * scale * STEP_FACTOR + TRAINING_COPIES * cost.n_weights * FLOAT_BYTES / MEGABYTE
    length = _length(model, facts)
    learns = "the last layers alone" if length.is_partial else "all of it"
    reason = f"{member.reason}; trained for {length.n_steps} steps, {learns}{why}"
    seconds = scale * training_seconds(model, cost, facts)
    n_passes = scale * _count_passes(model, facts)
    work = Work(
        seconds, scale * cost.decoding * facts.n_images, n_passes * cost.flops, n_passes * cost.traffic, megabytes,
        facts.n_folds,
    )  # fmt: skip
    return PlannedRun(name, table, reason, seconds, megabytes, work)


def _choose_side(spec: EncoderSpec, cost: Cost, facts: PlanFacts, seconds: float) -> tuple[int | None, str]:
    """Return the side of the images in pixels, None for the network's own, and why it is another."""
    import timm

    config = timm.get_pretrained_cfg(spec.name)
    if config is None or config.fixed_input_size:
        return None, ""
    own, at_own = _own_side(spec), training_seconds("fine_tune", cost, facts)
    larger, smaller = (GRID * round(factor * own / GRID) for factor in (LARGER, SMALLER))
    if facts.is_fast and facts.side >= larger and at_own * (larger / own) ** 2 <= TIME_SHARE * seconds:
        return larger, f"; at {larger} pixels, for the images have {facts.side} and the GPU has the time"
    if at_own > seconds:
        return smaller, f"; at {smaller} pixels, for at its own {own} it takes {at_own / 60:,.0f} minutes"
    return None, ""


def _own_side(spec: EncoderSpec) -> int:
    """Return the side of a network's images, in pixels."""
    from kit.features.encoders import preprocessing_of

    return preprocessing_of(spec).geometry.height


def training_seconds(model: str, cost: Cost, facts: PlanFacts) -> float:
    """Return what a network takes by its own steps, all folds together, predictions included."""
    return cost.seconds * _count_passes(model, facts) / facts.n_devices


def _count_passes(model: str, facts: PlanFacts) -> float:
    """Return how many images pass forwards through a network's folds, a step of training counted as several."""
    return (STEP_FACTOR * _length(model, facts).n_whole + facts.n_images) * facts.n_folds


def _length(model: str, facts: PlanFacts) -> Length:
    """Return how long a fold's network trains."""
    share = (facts.n_folds - 1) / facts.n_folds if facts.n_folds > 1 else ONE_FOLD
    return length_of_plain(model, max(1, round(share * facts.n_labeled)))


def _repeat(runs: list[PlannedRun], seconds: float) -> list[PlannedRun]:
    """Return networks with several copies, each of another seed, as far as the time that is left allows it."""
    repeated = []
    for run in runs:
        more = (SEEDS - 1) * run.seconds
        if more <= seconds:
            seconds -= more
            reason = f"{run.reason}; {SEEDS} copies of other seeds are averaged, for the time allows it"
            work = replace(
                run.work,
                **{name: SEEDS * getattr(run.work, name) for name in ("seconds", "flops", "traffic", "n_parts")},
            )
            table = {**run.table, "seeds": SEEDS}
            run = replace(run, table=table, seconds=SEEDS * run.seconds, reason=reason, work=work)
        repeated.append(run)
    return repeated
