"""Predict a code competition's test images from a bundle, without internet, and write submission.csv.

The bundle is found below /kaggle/input by its bundle.json (another folder: KIT_INPUT; one of several bundles:
KIT_BUNDLE), and the competition's files by their names. Its wheels are installed without a network, and the kit does
the rest. The exit code is not 0 where the file is not what the sample submission asks for.
"""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

INPUT = Path(os.environ.get("KIT_INPUT", "/kaggle/input"))
OUTPUT = Path(os.environ.get("KIT_OUTPUT", "submission.csv"))
DEPTH = 4  # folders below INPUT in which a bundle is looked for


def find_bundle():
    """Return the folder of the bundle."""
    if "KIT_BUNDLE" in os.environ:
        return Path(os.environ["KIT_BUNDLE"])
    bundles = [file.parent for depth in range(DEPTH + 1) for file in sorted(INPUT.glob("*/" * depth + "bundle.json"))]
    if len(bundles) != 1:
        content = sorted(path.name for path in INPUT.iterdir()) if INPUT.is_dir() else "nothing"
        sys.exit(
            f"error: {len(bundles)} bundles below {INPUT} (it holds {content}): attach the bundle's dataset to the "
            "notebook, or name one of several folders in KIT_BUNDLE"
        )
    return bundles[0]


def installed_version(name):
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(bundle):
    """Install the bundle's wheels where the installed version is another; the kit always."""
    wheels = []
    for wheel in sorted((bundle / "wheels").glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        if name == "kit" or installed_version(name) != version:
            wheels.append(str(wheel))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"]
    subprocess.run([*pip, "--disable-pip-version-check", *wheels], check=True)
    importlib.invalidate_caches()


def check_requirements(bundle):
    """Refuse missing packages; tell which have another version than those that made the runs."""
    wanted = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["requirements"]
    here = {name: installed_version(name) for name in wanted}
    missing = [f"{name}=={wanted[name]}" for name in wanted if here[name] is None]
    if missing:
        lines = (bundle / "requirements.txt").read_text(encoding="utf-8").splitlines()
        named = {line.partition("==")[0] for line in [*missing, *lines] if not line.startswith("#")}
        lacks = " ".join(f"--lacks {name}" for name in sorted(named))
        sys.exit(f"error: not installed: {', '.join(missing)}; add their wheels: ./run.sh bundle --wheels {lacks}")
    apart = [f"{name} {here[name]} (runs: {wanted[name]})" for name in wanted if here[name] != wanted[name]]
    if apart:
        print("other versions than those that made the runs:", ", ".join(apart), flush=True)


def main():
    """Install, predict, check."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    bundle = find_bundle()
    install(bundle)
    check_requirements(bundle)
    from kit.core.errors import InputError
    from kit.kaggle.bundle import predict_bundle

    try:
        print(f"wrote {predict_bundle(bundle, INPUT, OUTPUT)}", flush=True)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
