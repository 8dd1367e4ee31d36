"""The files of encoders, in the places where another machine without internet looks for them.

Weights that lie in a cache below the user's home (the hub's, open_clip's, torch's, the kit's own of pip's) are sent
with their place below a home; those that a run names by a path are sent by that path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kit.core.errors import MissingWeights
from kit.features.weights import LOCAL_DIR, EncoderSpec, local_weights
from kit.features.weights.hub import hub_file
from kit.features.weights.pip import cache_folder

KEPT = (".safetensors", ".json", ".txt", ".model")  # of a repository of the hub; pickles only where nothing else is
HUB, CLIP, TORCH, OURS = ".cache/huggingface/hub", ".cache/clip", ".cache/torch/hub/checkpoints", ".cache/kit/weights"


def list_weights(spec: EncoderSpec) -> Iterator[tuple[str, str, Path]]:
    """Give an encoder's files: ``"home"`` or ``"path"``, the place below it as the remote looks it up, and the file.

    MissingWeights where the weights are in none of the places that are known.
    """
    if spec.is_pip:
        file = local_weights(spec)
        assert file is not None  # a package's weights are converted where they are asked for
        yield "home", f"{OURS}/{file.relative_to(cache_folder()).as_posix()}", file
    elif spec.file is not None:
        written = spec.text.partition(LOCAL_DIR)[2] or spec.text.partition("@")[2]
        if spec.file.is_dir():
            for file in sorted(spec.file.iterdir()):
                if file.suffix in KEPT:
                    yield "path", f"{written}/{file.name}", file
        else:
            yield "path", written, spec.file
    else:
        yield from _list_cached(spec)


def _list_cached(spec: EncoderSpec) -> Iterator[tuple[str, str, Path]]:
    """Give the cached files of the hub."""
    place, file = hub_file(spec)
    if place.startswith("http"):
        yield from _list_fetched(spec, place)
        return
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{place.replace('/', '--')}"
    main = folder / "refs" / "main"
    snapshot = folder / "snapshots" / main.read_text(encoding="utf-8").strip() if main.is_file() else folder
    files = [path for path in sorted(snapshot.rglob("*")) if path.is_file()] if main.is_file() else []
    kept = [path for path in files if path.suffix in KEPT]
    if not any(path.suffix == ".safetensors" for path in kept):
        kept = [*kept, *(path for path in files if path.name == Path(file).name)]
    if not kept:
        raise _not_here(spec)
    yield "home", f"{HUB}/{folder.name}/refs/main", main
    for path in kept:
        yield "home", f"{HUB}/{folder.name}/{path.relative_to(folder).as_posix()}", path


def _list_fetched(spec: EncoderSpec, url: str) -> Iterator[tuple[str, str, Path]]:
    """Give the file that a library keeps of an address."""
    import torch

    folders = {CLIP: Path.home() / ".cache" / "clip", TORCH: Path(torch.hub.get_dir()) / "checkpoints"}
    place = CLIP if spec.library == "open_clip" else TORCH
    file = folders[place] / Path(url).name
    if not file.is_file():
        raise _not_here(spec)
    yield "home", f"{place}/{file.name}", file


def _not_here(spec: EncoderSpec) -> MissingWeights:
    """Return what to say of an encoder whose weights cannot be sent."""
    return MissingWeights(f"encoder {spec.text!r}: its weights are not on this machine, and a push has to carry them")
