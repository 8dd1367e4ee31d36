"""Kaggle's datasets and notebooks, as the stand-in has them: what is pushed really runs, in a process of its own.

A session sees its sources read-only below a folder that stands for /kaggle (the script is told by KIT_KAGGLE), has no
network, and leaves what it wrote in working/. Where the system lets nobody make such a namespace, its proxies refuse.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.kaggle_server import KaggleServer

READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
HOURS = 3600
SIGNATURE = "X-Goog-Signature=5167ed5ec2e7"  # of every link; must be seen nowhere
OF_NOTEBOOKS = (
    "GetDatasetStatus", "GetDataset", "ListDatasetFiles", "StartBlobUpload", "CreateDataset", "CreateDatasetVersion",
    "SaveKernel", "GetKernel", "GetKernelSessionStatus", "ListKernelSessionOutput", "GetAcceleratorQuotaStatistics",
    "ListEntities", "CancelKernelSession",
)  # fmt: skip


@functools.cache
def can_unshare() -> bool:
    """Tell whether this system lets a process have mounts and a network of its own."""
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "-rmn", "true"]).returncode == 0


@dataclass
class Version:
    """Hold one version of a notebook, and its session."""

    request: dict
    folder: Path | None = None
    process: subprocess.Popen | None = None
    status: str = "QUEUED"
    message: str = ""
    began: float = field(default_factory=time.time)
    cancelled_in: int | None = None  # looks at it, until it says so

    @property
    def state(self) -> str:
        """Return the session's status, as Kaggle names it."""
        if self.cancelled_in is not None and self.status != "CANCEL_ACKNOWLEDGED":
            self.cancelled_in -= 1
            self.status = self.status if self.cancelled_in >= 0 else "CANCEL_ACKNOWLEDGED"
            return self.status
        if self.process is not None and self.status == "RUNNING" and (code := self.process.poll()) is not None:
            self.status = "ERROR" if code else "COMPLETE"
        return self.status

    @property
    def log(self) -> list[dict]:
        """Return what the session printed."""
        file = self.folder / "log" if self.folder else None
        lines = file.read_text().splitlines(keepends=True) if file and file.exists() else []
        return [{"stream_name": "stdout", "time": number, "data": line} for number, line in enumerate(lines)]


class Notebooks:
    """Keep datasets and notebooks of one user, and run what is pushed below `place`; without it nothing runs."""

    def __init__(self, server: KaggleServer) -> None:
        self.server = server
        self.place: Path | None = None
        self.datasets: dict[str, list[dict]] = {}
        self.notebooks: dict[str, list[Version]] = {}
        self.unready_looks = 1  # at a new version of a dataset, until it is ready
        self.hours_used, self.hours_allowed = 2.5, 30
        self.refused: set[str] = set()  # sources that are left out
        self.error = ""  # of the next push, in a reply like any other
        self.is_waiting = False  # sessions stay queued
        self.more: dict[str, str] = {}  # of the environment of a session
        self.looks_until_cancelled = 0  # at a session that was cancelled, until it says so
        self.is_searched = True  # the search knows the sessions

    def end(self) -> None:
        """End what runs."""
        for version in (version for versions in self.notebooks.values() for version in versions):
            if version.process is not None and version.process.poll() is None:
                version.process.kill()
                version.process.wait()

    def wait(self, notebook: str) -> Version:
        """Wait until the newest session has ended, and return it."""
        version = self.notebooks[notebook][-1]
        version.process.wait(300)
        return version

    def keep(self, owner: str, slug: str, body: dict, is_private: bool) -> None:
        """Keep a new version of a dataset; one replaces the older ones where that is asked for."""
        files = {}
        for token in (file["token"] for file in body.get("files", ())):
            upload = self.server.uploads[token]
            files[upload["file"]] = upload["data"]
        versions = self.datasets.setdefault(f"{owner}/{slug}", [])
        number = versions[-1]["number"] + 1 if versions else 1
        if body.get("deleteOldVersions"):
            versions.clear()
        versions.append({"number": number, "files": files, "is_private": is_private, "looks": 0})

    def dataset_of(self, request: dict) -> dict | None:
        """Return the newest version of a dataset."""
        versions = self.datasets.get(f"{request.get('ownerSlug')}/{request.get('datasetSlug')}")
        return versions[-1] if versions else None

    def notebook_of(self, request: dict) -> Version | None:
        """Return the newest version of a notebook."""
        versions = self.notebooks.get(f"{request.get('userName')}/{request.get('kernelSlug')}")
        return versions[-1] if versions else None

    def save(self, request: dict) -> dict:
        """Take a notebook's new version, and start its session; sources that are refused are left out."""
        refused = {
            f"invalid{kind}Sources": [each for each in request.get(name, []) if each in self.refused or not there(each)]
            for kind, name, there in (
                ("Dataset", "datasetDataSources", self.datasets.__contains__),
                ("Competition", "competitionDataSources", lambda slug: slug == self.server.slug),
            )
        }
        versions = self.notebooks.setdefault(request["slug"], [])
        versions.append(Version(request))
        if self.place is not None and not self.is_waiting:
            self.start(request["slug"])
        url = f"https://www.kaggle.com/code/{request['slug']}"
        return {"versionNumber": len(versions), "url": url} | {name: each for name, each in refused.items() if each}

    def start(self, notebook: str) -> None:
        """Run the newest version of a notebook in a process of its own."""
        version = self.notebooks[notebook][-1]
        version.folder = folder = self.place / f"session_{len(self.notebooks[notebook])}"
        for name in ("input", "working", "tmp", "home"):
            (folder / name).mkdir(parents=True)
        self._attach(version.request, folder / "input")
        (folder / "script.py").write_text(version.request["text"])
        given = {"PATH": os.environ["PATH"], "KIT_KAGGLE": str(folder), "KAGGLE_KERNEL_RUN_TYPE": "Batch"}
        given |= {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", **self.more}
        given |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
        call = [sys.executable, "-P", str(folder / "script.py")]
        if can_unshare():
            call = ["unshare", "-rmn", "sh", "-c", READ_ONLY, "sh", str(folder / "input"), *call]
        with open(folder / "log", "wb") as log:
            version.process = subprocess.Popen(
                call, env=given, cwd=folder / "working", stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        version.status = "RUNNING"

    def search(self, filters: dict) -> list[dict]:
        """Return the notebooks whose titles have all words of a query, with the number of the newest session."""
        words = filters["query"].split()
        found = [name for name in self.notebooks if all(word in name for word in words)] if self.is_searched else []
        return [
            {
                "documentType": "KERNEL",
                "title": name.partition("/")[2],
                "slug": name.partition("/")[2],
                "ownerUser": {"userName": name.partition("/")[0]},
                "kernelDocument": {"sessionId": self._number(self.notebooks[name][-1])},
            }
            for name in sorted(found)
        ]

    def cancel(self, number: int) -> str:
        """End a session by its number; return why that could not be."""
        versions = [version for versions in self.notebooks.values() for version in versions]
        version = next((each for each in versions if self._number(each) == number), None)
        if version is None or version.state not in ("QUEUED", "RUNNING"):
            return f"there is no active session {number}"
        if version.process is not None:
            version.process.kill()
            version.process.wait()
        version.cancelled_in = self.looks_until_cancelled
        return ""

    def _number(self, version: Version) -> int:
        """Return the number of a session, which no other has."""
        return 1 + [each for versions in self.notebooks.values() for each in versions].index(version)

    def _attach(self, request: dict, folder: Path) -> None:
        """Lay out a session's sources; a zip becomes a folder, other files stay as they are."""
        for source in request.get("datasetDataSources", []):
            if source in self.datasets and source not in self.refused:
                for name, data in self.datasets[source][-1]["files"].items():
                    target = folder / "datasets" / source / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if name.endswith(".zip"):
                        zipfile.ZipFile(io.BytesIO(data)).extractall(target.with_suffix(""))
                    else:
                        target.write_bytes(data)
        for slug in request.get("competitionDataSources", []):
            if slug == self.server.slug and slug not in self.refused:
                zipfile.ZipFile(io.BytesIO(self.server.archive)).extractall(folder / "competitions" / slug)

    def quota(self) -> dict:
        """Return the hours of this week."""
        used, allowed = f"{int(self.hours_used * HOURS)}s", f"{self.hours_allowed * HOURS}s"
        return {"quotaRefreshTime": "2030-01-05T00:00:00Z", "gpuQuota": {"timeUsed": used, "totalTimeAllowed": allowed}}

    def listed(self, version: Version, request: dict) -> dict:
        """Return one page of what a session left, and its log."""
        working = version.folder / "working" if version.folder else None
        files = sorted(path for path in working.rglob("*") if path.is_file()) if working else []
        start, size = int(request.get("pageToken") or 0), request.get("pageSize", 20)
        slug = version.request["slug"]
        shown = [
            {"fileName": name, "url": f"http://localhost/output/{slug}/{name}?{SIGNATURE}"}
            for name in (path.relative_to(working).as_posix() for path in files[start : start + size])
        ]
        more = {"nextPageToken": str(start + size)} if start + size < len(files) else {}
        return {"files": shown, "log": json.dumps(version.log), **more}

    def output(self, path: str) -> bytes:
        """Return one file that a session left."""
        owner, slug, name = path.removeprefix("/output/").split("/", 2)
        return (self.notebooks[f"{owner}/{slug}"][-1].folder / "working" / name).read_bytes()


class NotebookCalls:
    """Answer the calls on datasets, notebooks and sessions; a part of the server's handler."""

    kaggle: KaggleServer

    def give_output(self, path: str) -> tuple[int, bytes, dict]:
        """Return a file that a session left, or the end of it that is asked for."""
        data = self.kaggle.notebooks.output(path)
        if (asked := self.headers.get("Range")) is None:
            return 200, data, {"Content-Type": "application/octet-stream"}
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.kaggle.ranges.append(asked)
        return (206, data[start:], {}) if start < len(data) else (416, b"", {})

    def stream(self, owner: str, slug: str) -> tuple[int, bytes, dict]:
        """Return the log of a notebook's session: events while it runs, a list of them once it has ended."""
        version = self.kaggle.notebooks.notebook_of({"userName": owner, "kernelSlug": slug})
        if version is None or self.user() is None:
            return refusal(403, "Permission 'kernels.get' was denied")
        if version.state != "RUNNING":
            return 200, json.dumps(version.log).encode(), {}
        events = "".join(f"data: {json.dumps(event)}\n\n" for event in version.log)
        return 200, f"{events}data: END_OF_LOG\n\n".encode(), {"Content-Type": "text/event-stream"}

    def on_GetDatasetStatus(self, request: dict) -> tuple[int, bytes, dict]:
        dataset = self.kaggle.notebooks.dataset_of(request)
        if dataset is None:
            return refusal(404, "no such dataset")
        dataset["looks"] += 1
        return reply_json(
            {"status": "READY" if dataset["looks"] > self.kaggle.notebooks.unready_looks else "BLOBS_RECEIVED"}
        )

    def on_GetDataset(self, request: dict) -> tuple[int, bytes, dict]:
        dataset = self.kaggle.notebooks.dataset_of(request)
        return reply_json({"currentVersionNumber": dataset["number"], "isPrivate": dataset["is_private"]})

    def on_ListDatasetFiles(self, request: dict) -> tuple[int, bytes, dict]:
        files = self.kaggle.notebooks.dataset_of(request)["files"]
        return reply_json({"datasetFiles": [{"name": name, "totalBytes": len(data)} for name, data in files.items()]})

    def on_StartBlobUpload(self, request: dict) -> tuple[int, bytes, dict]:
        token = f"blob{len(self.kaggle.uploads)}"
        self.kaggle.uploads[token] = {"file": request["name"]}
        return reply_json({"token": token, "createUrl": f"http://localhost/upload/{token}?{SIGNATURE}"})

    def on_CreateDataset(self, request: dict) -> tuple[int, bytes, dict]:
        self.kaggle.datasets.append(request)
        self.kaggle.notebooks.keep(request["ownerSlug"], request["slug"], request, request.get("isPrivate", False))
        return reply_json({"status": "ok", "url": "http://localhost/dataset"})

    def on_CreateDatasetVersion(self, request: dict) -> tuple[int, bytes, dict]:
        owner, slug = request["ownerSlug"], request["datasetSlug"]
        self.kaggle.notebooks.keep(
            owner, slug, request["body"], self.kaggle.notebooks.dataset_of(request)["is_private"]
        )
        return reply_json({"status": "ok", "url": "http://localhost/dataset"})

    def on_SaveKernel(self, request: dict) -> tuple[int, bytes, dict]:
        notebooks = self.kaggle.notebooks
        if notebooks.error:
            error, notebooks.error = notebooks.error, ""
            return reply_json({"error": error})
        self.kaggle.kernels.append(request)
        return reply_json(notebooks.save(request))

    def on_GetKernel(self, request: dict) -> tuple[int, bytes, dict]:
        version = self.kaggle.notebooks.notebook_of(request)
        if version is None:
            return refusal(403, "Permission 'kernels.get' was denied")
        number = len(self.kaggle.notebooks.notebooks[version.request["slug"]])
        return reply_json({"metadata": {"currentVersionNumber": number}, "blob": {"source": version.request["text"]}})

    def on_GetKernelSessionStatus(self, request: dict) -> tuple[int, bytes, dict]:
        version = self.kaggle.notebooks.notebook_of(request)
        return reply_json({"status": version.state} | ({"failureMessage": version.message} if version.message else {}))

    def on_ListKernelSessionOutput(self, request: dict) -> tuple[int, bytes, dict]:
        version = self.kaggle.notebooks.notebook_of(request)
        return reply_json(self.kaggle.notebooks.listed(version, request))

    def on_ListEntities(self, request: dict) -> tuple[int, bytes, dict]:
        return reply_json({"documents": self.kaggle.notebooks.search(request["filters"])})

    def on_CancelKernelSession(self, request: dict) -> tuple[int, bytes, dict]:
        error = self.kaggle.notebooks.cancel(request["kernelSessionId"])
        return reply_json({"errorMessage": error} if error else {})

    def on_GetAcceleratorQuotaStatistics(self, _: dict) -> tuple[int, bytes, dict]:
        return reply_json(self.kaggle.notebooks.quota())


def reply_json(value: dict) -> tuple[int, bytes, dict]:
    """Return an answer that goes well."""
    return 200, json.dumps(value).encode(), {}


def refusal(code: int, message: str) -> tuple[int, bytes, dict]:
    """Return a refusal in Kaggle's form."""
    return code, json.dumps({"code": code, "message": message}).encode(), {}
