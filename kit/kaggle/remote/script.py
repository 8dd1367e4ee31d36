"""Train runs in a session of Kaggle: what `remote push` has sent is found, checked, unpacked, installed and started.

The push is found below /kaggle/input by its name; what the session leaves lies in /kaggle/working, where `remote pull`
takes it from. Another folder in place of /kaggle: KIT_KAGGLE. Nothing of the image is changed: wheels are installed
into a folder of their own, torch, numpy and pandas stay. Sums are rounded as where the push was made: by as many
threads and the same kernels of OpenBLAS, where the processor has what they need. A training that outlives its time
limit is ended, and what it has left is packed.
"""

import hashlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PUSH = {}
KAGGLE = Path(os.environ.get("KIT_KAGGLE", "/kaggle"))
DEPTH = 4  # folders below the input in which the push is looked for
BLOCK = 2**20
END_SECONDS = 120.0  # to end in peace
NEEDED = {  # of the processor, by the kernels
    "Nehalem": "sse4_2",
    "Sandybridge": "avx",
    "Haswell": "avx2",
    "Zen": "avx2",
    "SkylakeX": "avx512vl",
    "Cooperlake": "avx512_bf16",
}
DROPPED = ("KAGGLE_KERNEL_RUN_TYPE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "PYTHONPATH")


def find_push():
    """Return the file that was sent."""
    folder = KAGGLE / "input"
    found = next((path for depth in range(DEPTH + 1) for path in folder.glob("*/" * depth + PUSH["pack"])), None)
    if found is None:
        content = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else "nothing"
        sys.exit(f"error: {PUSH['pack']} is not below {folder} (it holds {content}): the dataset was not attached")
    digest = hashlib.sha256()
    with open(found, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != PUSH["sha256"]:
        sys.exit(f"error: {found} is not what was sent (SHA-256); push again")
    return found


def install(wheels, target):
    """Install wheels into a folder of their own: the kit's, and those whose version here is another."""
    wanted = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        try:
            is_here = importlib.metadata.version(name) == version
        except importlib.metadata.PackageNotFoundError:
            is_here = False
        if name == "kit" or not is_here:
            wanted.append(str(wheel))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, "--disable-pip-version-check", "--no-warn-script-location", *wanted], check=True)


def round_as_there():
    """Return the environment in which sums are rounded as where the push was made, as far as this machine can."""
    threads = str(min(PUSH["threads"], os.cpu_count() or 1))
    given = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    try:
        processor = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        processor = []
    return given | ({"OPENBLAS_CORETYPE": PUSH["core"]} if NEEDED.get(PUSH["core"]) in processor else {})


def start(scratch, *words):
    """Start the kit's own part of the session."""
    given = {name: value for name, value in os.environ.items() if name not in DROPPED}
    given |= {"PYTHONPATH": str(scratch / "site"), "HOME": str(scratch / "sent" / "home"), "KIT_PYTHON": "here"}
    given |= {} if PUSH["internet"] else {"HF_HUB_OFFLINE": "1"}
    given |= round_as_there()
    folders = [scratch / "sent", KAGGLE / "input", KAGGLE / "working"]
    call = [sys.executable, "-P", "-u", "-m", "kit.kaggle.remote.session", PUSH["token"], *map(str, folders)]
    return subprocess.Popen([*call, *words], env=given, cwd=scratch)


def train(scratch, seconds):
    """Train; return how it ended and why, where another process has to pack what it has left; else None."""
    training = start(scratch, "train", str(seconds))
    try:
        code = training.wait(seconds + PUSH["grace"])
        why = f"the training was killed by signal {-code}, as where memory runs out"
        return ("failed", why) if code < 0 else None
    except subprocess.TimeoutExpired:
        print("the training did not end at its time limit; it is stopped, and what it has left is packed", flush=True)
        training.send_signal(signal.SIGINT)
    try:
        training.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        training.kill()
        training.wait()
    return "cut", "the training did not end at its time limit"


def main():
    """Unpack, install, train within the time limit; return the exit code.

    It is 0 where something was packed: of a session that fails Kaggle need not keep what it has left.
    """
    began = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="kit-"))
    with zipfile.ZipFile(find_push()) as sent:
        sent.extractall(scratch / "sent")
    (scratch / "sent" / "home").mkdir(exist_ok=True)
    install(scratch / "sent" / "wheels", scratch / "site")
    left = train(scratch, max(1.0, PUSH["seconds"] - (time.monotonic() - began)))
    if left:
        start(scratch, *left).wait()
    return int(not (KAGGLE / "working" / "output.json").exists())


if __name__ == "__main__" and (code := main()):
    sys.exit(code)
