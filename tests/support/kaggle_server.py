"""A stand-in for Kaggle on loopback: the wire protocol of its official client, a hidden solution, faults on demand.

The client is pointed at it by its own means: KAGGLE_API_ENVIRONMENT=LOCALHOST makes it call ``http://localhost/api``,
and http_proxy sends that here. https_proxy leads to a port where nobody listens, so that a client which looks for the
real site instead finds nothing: it fails closed.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import socket
import threading
import zipfile
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from support.kaggle_notebooks import OF_NOTEBOOKS, SIGNATURE, NotebookCalls, Notebooks, refusal, reply_json

MODIFIED = "Sat, 01 Mar 2025 10:00:00 GMT"
HEADERS = {"Content-Type": "application/json", "X-Kaggle-APIVersion": "99.0.0"}  # the client complains of its age
DEAD_PORT = 9  # discard: nobody listens
STATUSES = (400, 401, 403, 404, 409, 413, 429, 500, 503)


@dataclass
class Fault:
    """Go wrong once: a status, ``"html"``, ``"cut"``, ``"half"``, ``"hang"``; the request is obeyed first or not."""

    kind: int | str
    is_obeyed: bool = False
    said: str = "it went wrong"
    headers: dict[str, str] = field(default_factory=dict)
    is_nested: bool = False


class KaggleServer:
    """Play Kaggle for one competition and one team."""

    def __init__(self, solution: dict[str, str], slug: str = "colours-2025", public_share: float = 0.5) -> None:
        self.slug, self.public_share = slug, public_share
        self.released = threading.Event()
        self.notebooks = Notebooks(self)
        self.begin(solution)

    def begin(self, solution: dict[str, str] | None = None) -> None:
        """Forget all that happened; whoever hangs is let go."""
        self.released.set()
        self.solution = dict(solution or {"3": "cat"})
        ids = sorted(self.solution)
        self.public = set(random.Random(0).sample(ids, min(len(ids), max(1, round(self.public_share * len(ids))))))
        self.keys, self.tokens = {"ada": "f00dkey000000000000000000000cafe"}, {}
        self.rules_accepted, self.facts, self.limit, self.shows_private = True, {}, 5, False
        self.submissions: list[dict] = []
        self.earlier = 0  # submissions of earlier days
        self.uploads: dict[str, dict] = {}
        self.datasets: list[dict] = []
        self.kernels: list[dict] = []
        self.notebooks.end()
        self.notebooks = Notebooks(self)
        self.archive = b""
        self.corrupt_archives = 0  # downloads that come with a wrong byte
        self.pending_looks = 1  # lists that show a submission before it is scored
        self.teams = [("first", "0.99999"), ("second", "0.50000")]
        self.faults: dict[str, deque[Fault | None]] = {}
        self.calls: list[str] = []
        self.ranges: list[str] = []  # that were asked for of the archive
        self.foreign_hosts: list[str] = []
        self.lock, self.released = threading.RLock(), threading.Event()

    def __enter__(self) -> KaggleServer:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"kaggle": self}))
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.notebooks.end()
        self.http.shutdown()
        self.http.server_close()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return an environment made from nothing, in which the client reaches this server and no other."""
        home.mkdir(parents=True, exist_ok=True)
        proxies = {
            "http_proxy": f"http://127.0.0.1:{self.http.server_port}",
            "https_proxy": f"http://127.0.0.1:{DEAD_PORT}",
            "all_proxy": f"http://127.0.0.1:{DEAD_PORT}",
        }
        user, key = next(iter(self.keys.items()))
        login = {"KAGGLE_USERNAME": user, "KAGGLE_KEY": key}
        return proxies | login | {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HOME": str(home)} | more

    def fail(self, method: str, *faults: Fault | int | str | None) -> None:
        """Let the next calls of a method go wrong, one fault each; None is a call that goes well."""
        made = [Fault(fault) if isinstance(fault, (int, str)) else fault for fault in faults]
        self.faults.setdefault(method, deque()).extend(made)

    def pack(self, files: dict[str, bytes]) -> None:
        """Offer files as the competition's data."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in files.items():
                opened.writestr(name, content)
        self.archive = data.getvalue()

    def receive(self, file: str, data: bytes, message: str) -> dict:
        """Take a submission, as made by hand or by the client."""
        with self.lock:
            submission = {"ref": 1000 + len(self.submissions), "fileName": file, "description": message, "data": data}
            submission |= {"date": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"}
            submission |= {"totalBytes": len(data), "teamName": "The Adas", "looks": 0}
            submission |= self.score(data)
            self.submissions.append(submission)
        return submission

    def score(self, data: bytes) -> dict[str, str]:
        """Return the scores of a submission, or why there are none."""
        rows = list(csv.reader(io.StringIO(data.decode())))
        labels = dict(row[:2] for row in rows[1:] if len(row) >= 2)
        if set(labels) != set(self.solution):
            return {"errorDescription": f"Submission must have {len(self.solution)} rows, found {len(labels)}"}
        private = set(self.solution) - self.public or self.public
        shares = [sum(labels[i] == self.solution[i] for i in ids) / len(ids) for ids in (self.public, private)]
        return {"publicScore": f"{shares[0]:.5f}", "privateScore": f"{shares[1]:.5f}"}

    def limits(self) -> dict:
        """Return the submissions made and left; a team that has none yet has zeros."""
        made = len(self.submissions)
        if not made + self.earlier:
            return {}
        return {"numToday": made, "numTotal": made + self.earlier, "numAllowedNow": max(0, self.limit - made)}

    def listed(self, request: dict) -> dict:
        """Return one page of the submissions, newest first; each look brings those that wait nearer to a score."""
        with self.lock:
            page, size = request.get("page", 1), request.get("pageSize", 20)
            ordered = self.submissions[::-1][(page - 1) * size : page * size]
            shown = []
            for submission in ordered:
                submission["looks"] += 1
                hidden = {"data", "looks"} | (set() if self.shows_private else {"privateScore"})
                if submission["looks"] <= self.pending_looks:  # PENDING is the default, and defaults are not sent
                    shown.append(
                        {
                            k: v
                            for k, v in submission.items()
                            if "Score" not in k and "error" not in k and k not in hidden
                        }
                    )
                else:
                    status = "ERROR" if "errorDescription" in submission else "COMPLETE"
                    shown.append({k: v for k, v in submission.items() if k not in hidden} | {"status": status})
            more = {"nextPageToken": str(page + 1)} if page * size < len(self.submissions) else {}
            return {"submissions": shown, **more}

    def leaderboard(self, request: dict) -> dict:
        """Return one page of the public leaderboard."""
        best = max(
            (submission["publicScore"] for submission in self.submissions if "publicScore" in submission), default=None
        )
        teams = sorted([*self.teams, *([("The Adas", best)] if best else [])], key=lambda team: -float(team[1]))
        start, size = int(request.get("pageToken") or 0), request.get("pageSize", 20)
        rows = [{"teamId": i, "teamName": name, "score": score} for i, (name, score) in enumerate(teams)]
        more = {"nextPageToken": str(start + size)} if start + size < len(rows) else {}
        return {"submissions": rows[start : start + size], **more}


class Handler(NotebookCalls, BaseHTTPRequestHandler):
    """Answer the client."""

    kaggle: KaggleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def handle_one_request(self) -> None:
        """Answer one request; a client that was killed is no news."""
        try:
            super().handle_one_request()
        except (TimeoutError, ConnectionError):
            self.close_connection = True

    def do_CONNECT(self) -> None:
        """Refuse to be a tunnel to anywhere."""
        self.kaggle.foreign_hosts.append(self.path)
        self.reply(403, b"")

    def do_POST(self) -> None:
        """Answer a call of the API."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        method = self.target().rpartition("/")[2]
        self.act(method, lambda: self.call(method, json.loads(body or b"{}")))

    def do_PUT(self) -> None:
        """Take an upload."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.target().rpartition("/")[2]
        self.act("PUT", lambda: (self.kaggle.uploads[token].update(data=body), (200, b"", {}))[1])

    def do_GET(self) -> None:
        """Give the data, from where the client asks."""
        if (path := self.target()).startswith("/output/"):
            self.act("GetOutput", lambda: self.give_output(path))
        elif "/kernels/logs/stream/" in path:
            self.act("GetLog", lambda: self.stream(*path.split("/")[-2:]))
        else:
            self.act("GET", self.give)

    def target(self) -> str:
        """Return the path that is asked for; whoever asks for another host is noted."""
        parts = urlsplit(self.path)
        if parts.hostname != "localhost":
            self.kaggle.foreign_hosts.append(self.path)
        return parts.path

    def act(self, method: str, answer) -> None:
        """Answer, or go wrong where that was asked for."""
        kaggle = self.kaggle
        kaggle.calls.append(method)
        waiting = kaggle.faults.get(method)
        fault = waiting.popleft() if waiting else None
        if fault is None:
            self.reply(*answer())
            return
        obeyed = answer() if fault.is_obeyed or fault.kind == "half" else None
        if fault.kind == "hang":
            kaggle.released.wait(60)
        elif fault.kind == "half":
            status, body, headers = obeyed
            self.reply(status, body, headers, n_bytes=len(body) // 2)
        elif fault.kind == "html":
            page = b"<html><head><title>Sign in to the network</title></head><body>Hello</body></html>"
            self.reply(200, page, {"Content-Type": "text/html"})
        elif isinstance(fault.kind, int):
            document = {"code": fault.kind, "message": fault.said}
            document = {"error": document} if fault.is_nested else document
            self.reply(fault.kind, json.dumps(document).encode(), fault.headers)
        if isinstance(fault.kind, str) and fault.kind != "html":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def reply(self, status: int, body: bytes, headers: dict | None = None, n_bytes: int | None = None) -> None:
        """Send an answer, or the beginning of one."""
        self.send_response(status)
        for name, value in (HEADERS | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if n_bytes is None else body[:n_bytes])

    def call(self, method: str, request: dict) -> tuple[int, bytes, dict]:
        """Answer a call of the API that goes well, or is refused as Kaggle refuses."""
        kaggle = self.kaggle
        if method == "IntrospectToken":
            user = kaggle.tokens.get(request.get("token", ""))
            return reply_json({"active": True, "username": user} if user else {"active": False})
        if self.user() is None:
            return refusal(401, "Unauthenticated")
        if method in OF_NOTEBOOKS:
            return getattr(self, f"on_{method}")(request)
        if request.get("competitionName") != kaggle.slug or not kaggle.rules_accepted:
            return refusal(403, "You must accept this competition's rules")
        if method == "DownloadDataFiles":
            where = f"http://localhost/storage/{kaggle.slug}/1/{kaggle.slug}.zip?{SIGNATURE}"
            return 302, b"", {"Location": where}
        return getattr(self, f"on_{method}", lambda _: refusal(404, "no such method"))(request)

    def user(self) -> str | None:
        """Return who asks."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return self.kaggle.tokens.get(given)
        user, _, key = base64.b64decode(given).decode().partition(":")
        return user if key and self.kaggle.keys.get(user) == key else None

    def give(self) -> tuple[int, bytes, dict]:
        """Return the archive, or its end."""
        kaggle, data = self.kaggle, self.kaggle.archive
        if kaggle.corrupt_archives:
            kaggle.corrupt_archives -= 1
            data = data[:60] + bytes([data[60] ^ 255]) + data[61:]
        headers = {
            "Content-Type": "application/zip",
            "Last-Modified": MODIFIED,
            "Accept-Ranges": "bytes",
            "ETag": '"1"',
        }
        if (labels := self.headers.get("Range")) is None:
            return 200, data, headers
        kaggle.ranges.append(labels)
        start = int(labels.removeprefix("bytes=").rstrip("-"))
        return 206, data[start:], headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}

    def on_GetCompetition(self, _: dict) -> tuple[int, bytes, dict]:
        return reply_json(
            {"id": 1, "ref": self.kaggle.slug, "maxDailySubmissions": self.kaggle.limit} | self.kaggle.facts
        )

    def on_GetSubmissionLimits(self, _: dict) -> tuple[int, bytes, dict]:
        return reply_json(self.kaggle.limits())

    def on_ListSubmissions(self, request: dict) -> tuple[int, bytes, dict]:
        return reply_json(self.kaggle.listed(request))

    def on_GetLeaderboard(self, request: dict) -> tuple[int, bytes, dict]:
        return reply_json(self.kaggle.leaderboard(request))

    def on_StartSubmissionUpload(self, request: dict) -> tuple[int, bytes, dict]:
        token = f"blob{len(self.kaggle.uploads)}"
        self.kaggle.uploads[token] = {"file": request["fileName"]}
        return reply_json({"token": token, "createUrl": f"http://localhost/upload/{token}?{SIGNATURE}"})

    def on_CreateSubmission(self, request: dict) -> tuple[int, bytes, dict]:
        upload = self.kaggle.uploads.get(request.get("blobFileTokens", ""), {})
        if "data" not in upload:
            return refusal(400, "no file was uploaded")
        return self._submit(upload["file"], upload["data"], request)

    def on_CreateCodeSubmission(self, request: dict) -> tuple[int, bytes, dict]:
        rows = [("id", "label"), *self.kaggle.solution.items()]
        data = "".join(f"{a},{b}\n" for a, b in rows).encode()
        return self._submit(request["fileName"], data, request)

    def _submit(self, file: str, data: bytes, request: dict) -> tuple[int, bytes, dict]:
        if len(self.kaggle.submissions) >= self.kaggle.limit:
            return refusal(400, "Your team has used its daily Submission allowance")
        submission = self.kaggle.receive(file, data, request.get("submissionDescription", ""))
        return reply_json({"message": "Successfully submitted to colours", "ref": submission["ref"]})
