"""Calls on datasets, notebooks and their sessions, for the child process: it executes this file, the kit never does.

Kaggle's client downloads the output of a session into memory, unchecked; here it is written as it comes, and goes on
where an earlier call stopped.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

PAGE_SIZE = 200
MAX_PAGES = 100
BLOCK = 2**15
ABSENT = (403, 404)  # of what is one's own and is not there, Kaggle answers either
TIMEOUT_SECONDS = 60.0  # of a connection that says nothing


def quota() -> dict[str, Any] | None:
    """Return the hours of GPU and TPU that are used and allowed this week; None where this client cannot ask."""
    from kaggle import api

    ask = getattr(api, "quota_view", None)
    if ask is None:
        return None
    told = ask()
    hours = {"gpu": _hours(told.gpu_quota), "tpu": _hours(told.tpu_quota)}
    return hours | {"renewed": told.quota_refresh_time.isoformat() if told.quota_refresh_time else ""}


def _hours(quota: Any) -> dict[str, float] | None:
    """Return the hours of one kind of accelerator."""
    if quota is None:
        return None
    used, allowed = (
        each.total_seconds() / 3600 if each else 0.0 for each in (quota.time_used, quota.total_time_allowed)
    )
    return {"used": round(used, 2), "allowed": round(allowed, 2), "left": round(max(0.0, allowed - used), 2)}


def find_dataset(dataset: str) -> dict[str, Any] | None:
    """Return the status, the newest version and the files' bytes of a dataset; None where there is none."""
    from kaggle import api
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest
    from requests import HTTPError

    owner, slug = dataset.split("/")
    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    try:
        status = api.dataset_status(dataset)
        with api.build_kaggle_client() as client:
            facts = client.datasets.dataset_api_client.get_dataset(request)
    except HTTPError as error:
        if _is_absent(error):
            return None
        raise
    files: dict[str, int] = {}
    if status == "ready":
        token = None
        for _ in range(MAX_PAGES):
            listed = api.dataset_list_files(dataset, page_token=token, page_size=PAGE_SIZE)
            files |= {each.name: each.total_bytes for each in listed.dataset_files or [] if each is not None}
            if not (token := listed.next_page_token):
                break
    return {"status": status, "version": facts.current_version_number, "is_private": facts.is_private, "files": files}


def _is_absent(error: Any) -> bool:
    """Return whether Kaggle answered that there is no such thing."""
    return error.response is not None and error.response.status_code in ABSENT


def upload_dataset(folder: str, is_new: bool, notes: str) -> dict[str, Any]:
    """Upload a folder as a new private dataset, or as a new version of one, whose older versions go."""
    from kaggle import api

    if is_new:
        told = api.dataset_create_new(folder, public=False, quiet=True)
    else:
        told = api.dataset_create_version(folder, notes, quiet=True, delete_old_versions=True)
    is_error = (told.status or "").lower() == "error"
    return {"error": (told.error or "it did not say why") if is_error else "", "url": told.url or ""}


def find_notebook(notebook: str) -> dict[str, Any] | None:
    """Return the newest version of a notebook, its source, and how its session is; None where there is none."""
    from kaggle import api
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest, ApiGetKernelSessionStatusRequest
    from requests import HTTPError

    asked, status = ApiGetKernelRequest(), ApiGetKernelSessionStatusRequest()
    for request in (asked, status):
        request.user_name, request.kernel_slug = notebook.split("/")
    try:
        with api.build_kaggle_client() as client:
            found = client.kernels.kernels_api_client.get_kernel(asked)
            session = client.kernels.kernels_api_client.get_kernel_session_status(status)
    except HTTPError as error:
        if _is_absent(error):
            return None
        raise
    return {
        "version": found.metadata.current_version_number if found.metadata else None,
        "source": found.blob.source if found.blob else "",
        "status": session.status.name.lower(),
        "message": session.failure_message or "",
    }


def push_notebook(folder: str) -> dict[str, Any]:
    """Push a notebook's new version, which starts a session; what is refused of it comes in a reply like any other."""
    from kaggle import api

    told = api.kernels_push(folder)
    refused = {kind: list(getattr(told, f"invalid_{kind}_sources", None) or ()) for kind in ("dataset", "competition")}
    return {"version": told.version_number, "url": told.url or "", "error": told.error or "", "refused": refused}


def stop_session(notebook: str) -> dict[str, Any]:
    """Ask Kaggle to cancel the session of a notebook of one's own; say whether the session's number could be had.

    Of all that this client calls only the search of one's own work tells the number. An older client has no search.
    """
    from kaggle import api
    from kagglesdk.kernels.types.kernels_api_service import ApiCancelKernelSessionRequest

    with api.build_kaggle_client() as client:
        number = _find_session(client, *notebook.split("/")) if hasattr(client, "search") else 0
        if not number:
            return {"is_found": False, "error": ""}
        request = ApiCancelKernelSessionRequest()
        request.kernel_session_id = number
        told = client.kernels.kernels_api_client.cancel_kernel_session(request)
    return {"is_found": True, "error": told.error_message or ""}


def _find_session(client: Any, owner: str, slug: str) -> int:
    """Return the number of the newest session of a notebook, by the search of one's own work; 0 where it has none."""
    from kagglesdk.search.types.search_api_service import ApiListType, ListEntitiesFilters, ListEntitiesRequest
    from kagglesdk.search.types.search_enums import DocumentType

    filters, request = ListEntitiesFilters(), ListEntitiesRequest()
    filters.query, filters.list_type = slug.replace("-", " "), ApiListType.API_LIST_TYPE_YOUR_WORK
    filters.document_types = [DocumentType.KERNEL]
    request.filters, request.page_size = filters, PAGE_SIZE
    for found in client.search.search_api_client.list_entities(request).documents or []:
        is_owners = found.owner_user is None or found.owner_user.user_name in ("", owner)
        if is_owners and (found.slug or "").rpartition("/")[2] == slug and found.kernel_document is not None:
            return found.kernel_document.session_id
    return 0


def read_log(notebook: str, seconds: float) -> list[str]:
    """Return the pieces of text that a session has printed so far; of one that runs, what arrives within `seconds`."""
    from kaggle import api

    pieces: list[str] = []
    failures: list[BaseException] = []

    def collect() -> None:
        try:
            pieces.extend(str(event.get("data", "")) for event in api.kernels_logs_stream(notebook))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(seconds)
    if failures and not pieces:
        raise failures[0]
    return list(pieces)


def fetch_output(notebook: str, folder: str, names: list[str]) -> dict[str, Any]:
    """Download files that a session has left, those that are there already excepted; return all names, and the log."""
    from kaggle import api
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = ApiListKernelSessionOutputRequest()
    request.user_name, request.kernel_slug = notebook.split("/")
    request.page_size = PAGE_SIZE
    links: dict[str, str] = {}
    log = ""
    with api.build_kaggle_client() as client:
        for _ in range(MAX_PAGES):
            listed = client.kernels.kernels_api_client.list_kernel_session_output(request)
            links |= {each.file_name: each.url for each in listed.files or [] if each is not None}
            log = log or listed.log or ""
            if not listed.next_page_token:
                break
            request.page_token = listed.next_page_token
    for name in names:
        if name in links and not (Path(folder) / name).exists():
            _download(links[name], Path(folder) / name)
    return {"names": sorted(links), "log": log}


def _download(url: str, target: Path) -> None:
    """Write a file, going on after what an earlier call has written; it gets its name when it is whole."""
    import requests

    part = target.with_name(f"{target.name}.part")
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, stream=True, headers=headers, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == 416:  # all was there, or the file is another one: the hash will tell
            os.replace(part, target)
            return
        response.raise_for_status()
        goes_on = response.status_code == 206
        expected = int(response.headers.get("Content-Length", -1))
        with open(part, "ab" if goes_on else "wb") as file:
            before = file.tell()
            for block in response.iter_content(BLOCK):
                file.write(block)
            written = file.tell() - before
    if expected not in (-1, written):
        raise requests.exceptions.ChunkedEncodingError(f"{written} of {expected} bytes")
    os.replace(part, target)


CALLS = {
    "quota": quota,
    "find_dataset": find_dataset,
    "upload_dataset": upload_dataset,
    "find_notebook": find_notebook,
    "push_notebook": push_notebook,
    "stop_session": stop_session,
    "read_log": read_log,
    "fetch_output": fetch_output,
}
