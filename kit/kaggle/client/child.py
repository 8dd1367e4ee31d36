"""The child process: reads one JSON request a line on stdin, drives Kaggle's official client, replies in JSON lines.

Run as a program by `session`, never imported by the kit. The client prints warnings, progress and addresses on stdout,
so stdout is put away first and replies go through a copy of it.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE_SIZE = 100  # submissions or teams
MAX_PAGES = 200
UPLOAD_FAILED = "Could not submit to competition"  # what older clients say and give no name
MESSAGE_LENGTH = 300  # characters of the server's message that are kept
CUT = "RemoteDisconnected|ConnectionReset|BrokenPipe|BadStatusLine"  # after the proxy was reached: also a ProxyError


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"value": _find_call(request["method"])(**request["arguments"])}
        except (Exception, SystemExit) as error:
            reply = {"failure": describe_error(error)}
        replies.write(json.dumps(reply, default=str) + "\n")
        replies.flush()


def _find_call(name: str) -> Callable[..., Any]:
    """Return the function of a call; those on datasets and notebooks stand in a file of their own beside this one."""
    if name not in CALLS:
        CALLS.update(runpy.run_path(str(Path(__file__).with_name("notebooks.py")))["CALLS"])
    return CALLS[name]


def connect() -> dict[str, Any]:
    """Sign in; return how, and whether a token was given and not taken."""
    from kaggle import __version__, api
    from kagglesdk import get_access_token_from_env

    api.authenticate()
    token, _ = get_access_token_from_env()
    method = str(api.config_values.get("auth_method", ""))
    return {
        "username": api.config_values.get("username"),
        "token_rejected": bool(token) and api.config_values.get("token") != token,
        "auth_method": method,
        "client": __version__,
    }


def competition(slug: str) -> dict[str, Any]:
    """Return the competition's facts: deadline, metric, notebooks only, submissions disabled, the user's rank."""
    from kaggle import api
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    request = ApiGetCompetitionRequest()
    request.competition_name = slug
    with api.build_kaggle_client() as client:
        return client.competitions.competition_api_client.get_competition(request).to_dict()


def limits(slug: str) -> dict[str, Any]:
    """Return how many submissions were made and how many are left."""
    from kaggle import api
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    request = ApiGetCompetitionRequest()  # the limits' own has the same field; clients before 2.2 lack it
    request.competition_name = slug
    with api.build_kaggle_client() as client:
        service: Any = client.competitions.competition_api_client
        counts = service._client.call("competitions.CompetitionApiService", "GetSubmissionLimits", request, _Plain)
    return {
        "today": counts.get("numToday", 0),
        "total": counts.get("numTotal", 0),
        "left": counts.get("numAllowedNow", 0),
        "limited_by_total": counts.get("limitedByTotal", False),
    }


class _Plain:
    """Take an answer as it comes."""

    @staticmethod
    def prepare_from(response: Any) -> dict[str, Any]:
        """Return the answer's JSON object."""
        return response.json()


def list_submissions(slug: str) -> list[dict[str, Any]]:
    """Return all submissions of the team, newest first."""
    from kaggle import api
    from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

    request = ApiListSubmissionsRequest()
    request.competition_name, request.page_size = slug, PAGE_SIZE
    listed: dict[int, dict[str, Any]] = {}
    with api.build_kaggle_client() as client:
        for page in range(1, MAX_PAGES + 1):
            request.page = page
            response = client.competitions.competition_api_client.list_submissions(request)
            fresh = [each for each in response.submissions or [] if each is not None and each.ref not in listed]
            listed |= {each.ref: _describe_submission(each) for each in fresh}
            if not fresh or (not response.next_page_token and len(fresh) < PAGE_SIZE):
                break
            request.page_token = response.next_page_token or ""
    return list(listed.values())


def _describe_submission(submission: Any) -> dict[str, Any]:
    """Return Kaggle's facts of a submission as plain data."""
    return {
        "ref": str(submission.ref),
        "date": submission.date.isoformat(timespec="seconds") if submission.date else "",
        "message": submission.description or "",
        "file": submission.file_name or "",
        "bytes": submission.total_bytes,
        "status": submission.status.name,
        "public": submission.public_score or "",
        "private": submission.private_score or "",
        "error": submission.error_description or "",
        "team": submission.team_name or submission.submitted_by or "",
    }


def find_team(slug: str, teams: list[str]) -> dict[str, Any]:
    """Return the place of the first team of one of these names on the public leaderboard, and the best score."""
    from kaggle import api
    from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

    request = ApiGetLeaderboardRequest()
    request.competition_name, request.page_size = slug, PAGE_SIZE
    names, seen, best = {team.casefold() for team in teams if team}, 0, None
    with api.build_kaggle_client() as client:
        for _ in range(MAX_PAGES):
            response = client.competitions.competition_api_client.get_leaderboard(request)
            for row in filter(None, response.submissions or []):
                seen += 1
                best = best or row.score
                if (row.team_name or "").casefold() in names:
                    return {"place": seen, "team": row.team_name, "score": row.score, "best": best}
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
    return {"place": None, "team": None, "score": None, "best": best}


def download_files(slug: str, folder: str, force: bool) -> None:
    """Download all files into ``folder/SLUG.zip``, going on where an earlier call stopped unless `force`."""
    from kaggle import api

    api.competition_download_files(slug, path=folder, force=force, quiet=True)


def submit_file(slug: str, file: str, message: str) -> dict[str, Any]:
    """Upload a file and submit it."""
    from kaggle import api

    return _submitted(api.competition_submit(file, message, slug, quiet=True))


def submit_code(slug: str, kernel: str, version: int, file: str, message: str) -> dict[str, Any]:
    """Submit the output of a notebook's version."""
    from kaggle import api

    return _submitted(api.competition_submit_code(file, message, slug, kernel, version, quiet=True))


def _submitted(response: Any) -> dict[str, Any]:
    """Return Kaggle's answer; a failed upload is no exception in the client, but this message."""
    from kaggle import api

    failed = getattr(api, "COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE", UPLOAD_FAILED)
    uploaded = response.message != failed
    return {"uploaded": uploaded}


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return what happened as plain data: kind, HTTP status, the remote method, the server's message."""
    if isinstance(error, SystemExit):
        return {"kind": "no_credentials"}
    if isinstance(error, ImportError):
        return {"kind": "no_client", "message": str(error)}
    response = getattr(error, "response", None)
    request = getattr(response if response is not None else error, "request", None)
    address = (getattr(request, "url", None) or "").partition("?")[0]
    kind = _kind(error)
    failure: dict[str, Any] = {"kind": kind, "method": address.rpartition("/")[2], "message": type(error).__name__}
    if response is not None and kind == "http":
        body_code, message = _read_body(response)
        failure |= {"status": max(response.status_code, body_code), "message": message or str(error)[:MESSAGE_LENGTH]}
        failure["retry_after"] = response.headers.get("Retry-After")
    elif isinstance(error, OSError) and error.errno is not None and kind == "disk":
        failure |= {"message": os.strerror(error.errno), "file": error.filename}
    elif kind == "proxy":
        tunnel = re.search(r"Tunnel connection failed: [\w ]+", str(error))
        failure["message"] = tunnel[0] if tunnel else "no connection to it"
    elif kind == "other":
        failure["message"] = f"{type(error).__name__}: {str(error)[:MESSAGE_LENGTH]}"
    return failure


def _kind(error: BaseException) -> str:
    """Return the kind of a failure; "unreached" is one whose request never came to the server."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        return "http"
    if isinstance(error, exceptions.ProxyError) and not re.search(CUT, repr(error)):
        return "proxy"
    if isinstance(error, exceptions.SSLError):
        return "ssl"
    if isinstance(error, ValueError) and "JSON" in type(error).__name__:
        return "not_json"
    if isinstance(error, exceptions.ConnectTimeout):
        return "unreached"
    if isinstance(error, exceptions.ConnectionError):
        reason = str(getattr(error.args[0], "reason", "")) if error.args else ""
        return "unreached" if re.search(r"establish|resolve", reason) else "cut"
    if isinstance(error, exceptions.RequestException) or "ProtocolError" in type(error).__name__:
        return "cut"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return "disk"
    return "cut" if isinstance(error, ConnectionError) else "other"


def _read_body(response: Any) -> tuple[int, str]:
    """Return the code and the message of an error body; nested ``{"error": {...}}`` and web pages too."""
    try:
        text = response.text
    except Exception as error:  # a body that cannot be read takes nothing from the status
        return 0, type(error).__name__
    try:
        body = json.loads(text)
    except ValueError:
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        plain = title[1] if title else re.sub(r"<[^>]*>", " ", text)
        return 0, " ".join(plain.split())[:MESSAGE_LENGTH]
    if not isinstance(body, dict):
        return 0, str(body)[:MESSAGE_LENGTH]
    inner = body["error"] if isinstance(body.get("error"), dict) else body
    code = inner.get("code")
    message = inner.get("message") or (body.get("error") if isinstance(body.get("error"), str) else "")
    return code if isinstance(code, int) else 0, str(message)[:MESSAGE_LENGTH]


CALLS: dict[str, Callable[..., Any]] = {
    "connect": connect,
    "competition": competition,
    "limits": limits,
    "list_submissions": list_submissions,
    "find_team": find_team,
    "download": download_files,
    "submit": submit_file,
    "submit_code": submit_code,
}

if __name__ == "__main__":
    main()
