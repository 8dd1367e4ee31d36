"""The hub: whether weights lie on this machine or in reach, and what to fetch where they do not."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from kit.core.errors import InputError, MissingWeights, nearest
from kit.features.weights.spec import HF_HUB, LOCAL_CONFIGURATION, LOCAL_WEIGHTS, EncoderSpec, local_weights

HUB_TIMEOUT_SECONDS = 5
NO_WEIGHTS = "the weights are not on this machine and"
UNREACHED = f"{NO_WEIGHTS} the hub cannot be reached. Connect once, or"
LOG_IN = "log in with: hf auth login"
OTHER_NAMES = ("pytorch_model.bin", "open_clip_pytorch_model.bin", *LOCAL_WEIGHTS)  # the libraries take these too


def find_weights(spec: EncoderSpec) -> None:
    """Make sure the weights can be had, before any work.

    Raises
    ------
    InputError
        When the architecture or tag is unknown.
    MissingWeights
        When they are neither on this machine nor in reach, the hub refuses them, or their library is not installed;
        names the file, its cache and the remedy.
    """
    spec.check_library()
    if local_weights(spec) is not None:
        return
    place, file = hub_file(spec)
    obstacle = "" if _on_this_machine(spec, place, file) else _ask_hub(place)
    if obstacle:
        remedy = _remedy(spec, place, file)
        raise MissingWeights(f"{spec.text}: {obstacle} {remedy}", obstacle if obstacle == UNREACHED else "", remedy)


def is_on_this_machine(spec: EncoderSpec) -> bool:
    """Return whether the weights are at hand without the hub; InputError where the architecture or tag is unknown."""
    return local_weights(spec) is not None or _on_this_machine(spec, *hub_file(spec))


def locate_weights(spec: EncoderSpec) -> Path:
    """Return the safetensors file on this machine that holds an encoder's weights.

    MissingWeights, with the remedy, where they are not here, or as a pickle alone, or their library is not installed.
    """
    spec.check_library()
    if (local := local_weights(spec)) is not None:
        return local
    from huggingface_hub import try_to_load_from_cache

    place, file = hub_file(spec)
    names = [] if place.startswith("http") else dict.fromkeys((file, *LOCAL_WEIGHTS))
    for name in names:
        cached = try_to_load_from_cache(place, name)
        if isinstance(cached, str) and name.endswith(".safetensors"):
            return Path(cached)
    raise MissingWeights(
        f"{spec.text}: its weights are not on this machine as safetensors; {_remedy(spec, place, file)}"
    )


def _remedy(spec: EncoderSpec, place: str, file: str) -> str:
    """Return what to fetch elsewhere and where to put it."""
    if place.startswith("http"):
        return f"fetch {place} elsewhere and put it at {_url_cache(spec, place)}"
    from huggingface_hub import constants

    if spec.name.startswith(HF_HUB):
        fetch = f"fetch {LOCAL_CONFIGURATION} and {file} of {place} elsewhere into one folder"
        return f'{fetch} and write encoder = "open_clip:local-dir:FOLDER" (the hub\'s cache: {constants.HF_HUB_CACHE})'
    return (
        f'fetch {file} of {place} elsewhere and write encoder = "{spec.text}@PATH/{file}", or fill the hub\'s cache '
        f"{constants.HF_HUB_CACHE} with: hf download {place} {file}"
    )


def hub_file(spec: EncoderSpec) -> tuple[str, str]:
    """Return the hub's repository and file of an encoder's weights; the URL where it has no repository.

    InputError where the architecture or tag is unknown.
    """
    if spec.library == "timm":
        import timm

        config = timm.get_pretrained_cfg(spec.name, allow_unregistered=False) if timm.is_model(spec.name) else None
        if config is None:
            raise InputError(f"encoder {spec.text!r}: timm knows no such network; {_nearest_timm(spec.name)}")
        place = config.hf_hub_id or config.url
        if not place or not isinstance(place, str):
            raise InputError(f"encoder {spec.text!r}: timm has no weights for it; {_nearest_timm(spec.name)}")
        return place, config.hf_hub_filename or "model.safetensors"
    if spec.name.startswith(HF_HUB):
        return spec.name.removeprefix(HF_HUB), LOCAL_WEIGHTS[0]
    import open_clip

    config = open_clip.get_pretrained_cfg(spec.name, spec.tag)
    if not config:
        tags = [f"{name}/{tag}" for name, tag in open_clip.list_pretrained()]
        raise InputError(f"encoder {spec.text!r}: {nearest(f'{spec.name}/{spec.tag}', tags)}")
    if config.get("hf_hub"):
        repository, file = os.path.split(config["hf_hub"])
        return repository, (file or LOCAL_WEIGHTS[0]).replace(".bin", ".safetensors")
    return config["url"], Path(config["url"]).name


def _nearest_timm(name: str) -> str:
    """Return a hint naming timm's networks near `name`."""
    import timm

    return nearest(name, timm.list_models(pretrained=True))


def _url_cache(spec: EncoderSpec, url: str) -> Path:
    """Return where the library keeps the file of a URL."""
    if spec.library == "open_clip":
        return Path.home() / ".cache" / "clip" / Path(url).name
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def _on_this_machine(spec: EncoderSpec, place: str, file: str) -> bool:
    """Return whether the weights lie in the cache of the hub or of the library."""
    if place.startswith("http"):
        return _url_cache(spec, place).is_file()
    from huggingface_hub import try_to_load_from_cache

    cached = [isinstance(try_to_load_from_cache(place, name), str) for name in (file, *OTHER_NAMES)]
    if spec.name.startswith(HF_HUB):
        return any(cached) and isinstance(try_to_load_from_cache(place, LOCAL_CONFIGURATION), str)
    return any(cached)


@functools.cache
def _ask_hub(place: str) -> str:
    """Ask the hub once for a repository or an address; return what keeps its weights away, "" where nothing does."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return UNREACHED
    try:
        return _ask_address(place) if place.startswith("http") else _ask_repository(place)
    except OSError:
        return UNREACHED
    except Exception as error:  # a dead network has the hub's HTTP library's own family of errors
        if "http" in type(error).__module__:
            return UNREACHED
        raise


def _ask_address(url: str) -> str:
    """Return why the server of an address does not give the file, "" where it does."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=HUB_TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"{NO_WEIGHTS} {url} answers {error.code} ({error.reason}). Try again later, or"


def _ask_repository(place: str) -> str:
    """Return why the hub does not give a repository, "" where it does; all see the name of a gated one."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    hub = HfApi()
    try:
        if hub.model_info(place, timeout=HUB_TIMEOUT_SECONDS).gated:
            hub.auth_check(place)
    except GatedRepoError:
        page = f"{hub.endpoint}/{place}"
        return f"{NO_WEIGHTS} the hub gates {place}. Accept its terms at {page} and {LOG_IN}; or"
    except RepositoryNotFoundError:
        return f"{NO_WEIGHTS} the hub has no {place}, or a private one. Mend its name, or {LOG_IN}; or"
    except HfHubHTTPError as error:
        answer = error.response
        attempt = "Log in again (hf auth login)" if answer.status_code in (401, 403) else "Try again later"
        return f"{NO_WEIGHTS} the hub answers {answer.status_code} ({answer.reason_phrase}) for {place}. {attempt}, or"
    return ""
