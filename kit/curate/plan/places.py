"""What a plan would take elsewhere: on Kaggle's two T4, on an H200, on eight machines. Guesses, and said to be.

What networks take on a GPU follows from published figures of it and from what this machine counted: the operations of
a forward pass and the numbers that its layers read and write, in half precision of two bytes. The seconds are those of
computing at the peak plus those of moving at the peak (a roofline whose two roofs are added; Williams et al.,
"Roofline", CACM 2009), divided by `REACHED`. That share is set so that a T4 makes the 1,198 images per second that
NVIDIA published for ResNet-50 in mixed precision at a batch of 256 (DeepLearningExamples, PyTorch, resnet50v1.5). By it
a V100 makes 3,036 where that page has 3,382, and trains 1,012 per second where it has 1,156; an A100 trains 2,357 where
it has 2,470. Images are decoded meanwhile, by the place's cores; heads are fitted as fast as here.

The places: T4, 65 TFLOP/s in float16 and 320 GB/s (NVIDIA's data sheet of the T4); Kaggle's "GPU T4 x2" has two cores
of four threads, 31 GiB and twice 15 GiB, as its notebooks say of themselves. H200 SXM: 989 TFLOP/s in bfloat16 without
sparsity, 141 GB at 4.8 TB/s (NVIDIA's data sheet of the H200); 14 cores and 256 GB are an eighth of a DGX H200.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.table import Table

from kit.core.machine import count_cores, memory_gibibytes
from kit.core.terminal import empty_table, escape
from kit.curate.plan.planned import PlannedRun
from kit.curate.plan.portfolio import MEMORY_SHARE
from kit.curate.plan.recipe import Plan
from kit.features.device import list_devices

REACHED = 0.67  # of what a GPU's two peaks allow
HALF_BYTES = 2  # of a number in half precision
MEGABYTES = 1024.0  # of a gibibyte
N_MACHINES = 8
GUESSES = (
    "Minutes elsewhere are guesses: published figures of the GPUs, scaled by what was counted here; start-up, queues "
    "and the sending of files are not in them. On a GPU `plan` chooses stronger encoders and trains networks."
)


@dataclass(frozen=True)
class Place:
    """Describe machines that a plan could run on.

    Parameters
    ----------
    n_gpus
        Of each machine.
    flops
        Floating-point operations per second of a GPU in half precision, at its peak.
    bandwidth
        Bytes per second of a GPU's memory, at its peak.
    gpu_gibibytes, gibibytes
        Memory of a GPU, and of a machine.
    cores
        Of each machine.
    """

    name: str
    n_machines: int
    n_gpus: int
    flops: float
    bandwidth: float
    gpu_gibibytes: float
    cores: int
    gibibytes: float


T4 = Place("Kaggle, 2 x T4", 1, 2, 65e12, 320e9, 15.0, 2, 31.0)
H200 = Place("one H200", 1, 1, 989e12, 4.8e12, 141e9 / 2**30, 14, 256e9 / 2**30)
ELSEWHERE = (T4, H200, replace(H200, name=f"a cluster of {N_MACHINES} such machines", n_machines=N_MACHINES))


@dataclass(frozen=True)
class Estimate:
    """Hold what a plan takes at a place.

    Parameters
    ----------
    seconds
        Of all runs, one after the other.
    lacks
        Runs whose memory the place does not have.
    is_guess
        Whether the seconds are scaled, not measured.
    """

    place: str
    seconds: float
    lacks: tuple[str, ...]
    is_guess: bool


def estimate_places(plan: Plan) -> list[Estimate]:
    """Return what a plan takes here, on a cluster of machines like this one, and at the places of `ELSEWHERE`."""
    here = Place(_name_here(), 1, 0, 0.0, 0.0, 0.0, count_cores(), memory_gibibytes())
    lacks = tuple(run.name for run in plan.runs if not _fits(run, here))
    eight = sum(_seconds_of_many(run, N_MACHINES) for run in plan.runs)
    return [
        Estimate(here.name, plan.seconds, lacks, False),
        Estimate(f"{N_MACHINES} machines like this one", eight, lacks, True),
        *(estimate(plan, place) for place in ELSEWHERE),
    ]


def estimate(plan: Plan, place: Place) -> Estimate:
    """Return what a plan takes at a place with GPUs."""
    seconds = sum(_seconds_at(run, place) for run in plan.runs)
    return Estimate(place.name, seconds, tuple(run.name for run in plan.runs if not _fits(run, place)), True)


def gpu_seconds(flops: float, traffic: float, place: Place) -> float:
    """Return what one GPU of a place takes to compute `flops` operations on `traffic` numbers in half precision."""
    return (flops / place.flops + HALF_BYTES * traffic / place.bandwidth) / REACHED


def _seconds_at(run: PlannedRun, place: Place) -> float:
    """Return what a run takes at a place with GPUs."""
    work = run.work
    n_gpus = min(place.n_machines * place.n_gpus, work.n_parts)
    if work.is_dealt:
        n_gpus = min(place.n_machines, work.n_parts) * place.n_gpus
    computing = gpu_seconds(work.flops, work.traffic, place) / n_gpus
    decoding = work.decoding / place.cores / min(place.n_machines, work.n_parts)
    return max(computing, decoding) + _heads(run) / min(place.n_machines, work.n_fits)


def _seconds_of_many(run: PlannedRun, n_machines: int) -> float:
    """Return what a run takes on machines like this one."""
    networks = run.work.seconds / min(n_machines, run.work.n_parts)
    return networks + _heads(run) / min(n_machines, run.work.n_fits)


def _heads(run: PlannedRun) -> float:
    """Return the seconds that are no network's."""
    return max(run.seconds - run.work.seconds, 0.0)


def _fits(run: PlannedRun, place: Place) -> bool:
    """Return whether a place has the memory for a run: the GPU for its networks, the machine for all."""
    most = MEMORY_SHARE * MEGABYTES * place.gibibytes
    if not place.n_gpus:
        return run.megabytes <= most
    return run.work.megabytes <= MEMORY_SHARE * MEGABYTES * place.gpu_gibibytes and run.megabytes <= most


def _name_here() -> str:
    """Return what this machine is, in a few words."""
    devices = list_devices()
    n_gpus = sum(name.startswith("cuda") for name in devices)
    return f"this machine, {n_gpus} x GPU" if n_gpus else f"this machine, {count_cores()} x CPU core"


def render_places(estimates: list[Estimate]) -> Table:
    """Return the estimates as a table: where, minutes, whether memory is enough."""
    table = empty_table("where it would run")
    for column in ("where", "minutes", "memory"):
        table.add_column(column, justify="right" if column == "minutes" else "left", overflow="fold")
    for each in estimates:
        minutes = f"{each.seconds / 60:,.1f}"
        memory = f"too little for {', '.join(each.lacks)}" if each.lacks else "enough"
        table.add_row(each.place, f"about {minutes}, a guess" if each.is_guess else minutes, escape(memory))
    return table
