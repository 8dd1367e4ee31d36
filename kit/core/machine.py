"""What this machine has: cores, memory, disk, GPUs, Ray.

Reads what the system, torch and installed packages tell of themselves, and asks the head of a
Ray cluster that this machine belongs to whether it answers; writes nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kit.core.installed import is_lacking
from kit.core.precision import half_on_gpu, has_amx
from kit.core.process import count_threads

GIB = 2**30
CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers, versions 2 and 1
CLUSTER = "ray/ray_current_cluster"  # below the folder of temporary files: the address that `ray start` leaves
REACH_SECONDS = 1.0
UNKNOWN_GIB = 8.0  # taken where the system does not tell


@dataclass(frozen=True)
class Gpu:
    """Hold a GPU: its memory, what of it is free, and the half precision that it computes fast."""

    name: str
    gibibytes: float
    free_gibibytes: float
    half: str


@dataclass(frozen=True)
class Machine:
    """Hold what a machine has.

    Parameters
    ----------
    cores
        Of the CPU that this process may use, two threads of one counted once.
    threads
        With which a task computes.
    has_amx
        Whether the CPU multiplies matrices of bfloat16 fast.
    gibibytes
        Memory; of a container what it is allowed.
    disk_free_gibibytes
        Where the workspace lies.
    has_mps
        Whether it has a GPU of Apple.
    ray
        Version of Ray; None where it is not installed.
    cluster
        Address of the Ray cluster that this machine is a node of; None where none answers.
    """

    host: str
    cpu: str
    cores: int
    threads: int
    has_amx: bool
    gibibytes: float
    disk_free_gibibytes: float | None
    gpus: tuple[Gpu, ...]
    has_mps: bool
    ray: str | None
    cluster: str | None


def inspect_machine(workspace: Path) -> Machine:
    """Return what this machine has; the disk is that of the workspace, or of the folder where it will be made."""
    import torch

    return Machine(
        host=socket.gethostname(),
        cpu=_name_cpu(),
        cores=count_cores(),
        threads=count_threads(),
        has_amx=has_amx(),
        gibibytes=memory_gibibytes(),
        disk_free_gibibytes=_free_on_disk(workspace),
        gpus=tuple(_describe_gpu(number) for number in range(torch.cuda.device_count())),
        has_mps=torch.backends.mps.is_available(),
        ray=None if is_lacking("ray") else importlib.metadata.version("ray"),
        cluster=find_cluster(),
    )


def count_cores() -> int:
    """Return the cores that this process may use, two threads of one counted once; a container's limit counts."""
    from joblib import cpu_count

    return cpu_count(only_physical_cores=True)


def find_cluster() -> str | None:
    """Return the address of the cluster that `ray start` made or joined here, where it answers; Ray is not imported."""
    with suppress(OSError, ValueError):
        address = (_find_ray_folder() / CLUSTER).read_text(encoding="ascii").strip()
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
        return address
    return None


def _find_ray_folder() -> Path:
    """Return the folder of Ray's temporary files: macOS' own has too long a name for the paths of sockets."""
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    said = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return Path(said or (tempfile.gettempdir() if os.name == "nt" else "/tmp"))


def memory_gibibytes() -> float:
    """Return the machine's memory, or what its container is allowed of it."""
    sizes = []
    with suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in CGROUP:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            sizes.append(int(Path(file).read_text(encoding="ascii")))
    return min(sizes) / GIB if sizes else UNKNOWN_GIB


def _free_on_disk(folder: Path) -> float | None:
    """Return the free space of the disk that a folder lies on, or will."""
    with suppress(OSError):
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        return shutil.disk_usage(there).free / GIB
    return None


def _name_cpu() -> str:
    """Return what the CPU calls itself."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _describe_gpu(number: int) -> Gpu:
    """Return what one GPU of NVIDIA, or of AMD, is."""
    import torch

    with torch.cuda.device(number):
        free, total = torch.cuda.mem_get_info(number)
        return Gpu(torch.cuda.get_device_name(number), total / GIB, free / GIB, half_on_gpu())
