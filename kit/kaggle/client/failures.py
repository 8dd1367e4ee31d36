"""Tell a person why Kaggle's client fails: the cause and the remedy, without keys or signed addresses.

What the user must mend (credentials, rules, slug, file, limit, deadline) is a `KaggleRefusal`, exit code 2; a failure
of server or network is a `KaggleFailure`, exit code 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kit.core.errors import InputError
from kit.core.installed import pip_command
from kit.core.names import PROGRAM
from kit.kaggle.client.credentials import HOW_TO, TOKEN_PAGE, Credentials

CODE_ONLY = f"submit a notebook instead: {PROGRAM} submit COMP -k OWNER/KERNEL -v VERSION -m MSG"
DOING = {
    "connect": "signing in",
    "competition": "reading the competition's facts",
    "limits": "asking for the submissions left",
    "list_submissions": "listing the submissions",
    "find_team": "reading the public leaderboard",
    "download": "downloading",
    "submit": "submitting",
    "submit_code": "submitting the notebook",
    "quota": "asking for the hours of GPU that are left",
    "find_dataset": "looking for the dataset",
    "upload_dataset": "uploading the dataset",
    "find_notebook": "looking for the notebook",
    "push_notebook": "pushing the notebook",
    "stop_session": "stopping the session",
    "read_log": "reading the notebook's log",
    "fetch_output": "downloading what the notebook left",
}
OF_NOTEBOOKS = tuple(DOING)[tuple(DOING).index("quota") :]  # calls that name no competition
FETCHES = ("download", "fetch_output")
NOTEBOOK_REFUSALS = (  # as REFUSALS, of datasets and notebooks
    (r"quota", "the hours of GPU of this week are used up; the CPU is free: --accelerator none"),
    (r"session count|concurrent|maximum.{0,20}(batch|session)", "too many sessions run at once; wait for one to end"),
    (r"phone|verif", "GPUs and internet need a verified telephone number: https://www.kaggle.com/settings"),
)
REFUSALS = (  # a pattern of the server's messages, whose wording changes, and the cause
    (
        r"(submission|daily|maximum|max\b|allowed).{0,60}(limit|allowance|per day|remaining|left|reached|exceeded)|"
        r"limit.{0,40}submission",
        "the submission limit is reached; it is counted anew at midnight UTC",
    ),
    (
        r"deadline|(has|is|have) (ended|closed|over|finished)|no longer (accept|open)|not accepting|closed",
        "the competition takes no more submissions: its deadline has passed",
    ),
    (
        r"(notebook|kernel|code).{0,40}(only|must|required|competition)|(only|must).{0,60}(notebook|kernel)",
        f"the competition takes notebooks only; {CODE_ONLY}",
    ),
)


@dataclass(frozen=True)
class Failure:
    """Hold what the child process reports of a failed call.

    Parameters
    ----------
    call
        The call, a key of `DOING`.
    kind
        ``"http"``, ``"not_json"``, ``"cut"``, ``"unreached"``, ``"proxy"``, ``"ssl"``, ``"timeout"``, ``"upload"``,
        ``"died"``, ``"disk"``, ``"no_credentials"``, ``"no_client"`` or ``"other"``.
    status
        HTTP status; 0 where there is none.
    method
        The remote method that failed; empty where it is not known.
    message
        The server's or the client's, redacted.
    retry_after
        Seconds that the server asks to wait, as it wrote them.
    file
        The file that could not be written.
    """

    call: str
    kind: str
    status: int = 0
    method: str = ""
    message: str = ""
    retry_after: str | None = None
    file: str | None = None

    @property
    def is_passing(self) -> bool:
        """Tell whether the same call may succeed a little later; a download gets a new link and goes on each time."""
        if self.call in FETCHES and (self.kind in ("timeout", "other") or self.is_link):
            return True
        return self.kind in ("cut", "unreached", "proxy") or self.status == 429 or self.status >= 500

    @property
    def is_link(self) -> bool:
        """Tell whether a signed link was refused, not the call that gave it."""
        is_refused = 400 <= self.status < 500 and self.status != 429
        is_file = self.call in FETCHES and "." in self.method  # a call's method is a bare word
        return is_file and is_refused

    @property
    def is_refusal(self) -> bool:
        """Tell whether the server refused: a submission that arrived all the same would be a surprise.

        408, 409 and 429, which pass by waiting, may be the answer to a request that was obeyed.
        """
        return 400 <= self.status < 500 and self.status not in (408, 409, 429)

    @property
    def may_send_again(self) -> bool:
        """Tell whether to send once more where the list shows that nothing arrived; not what may still arrive."""
        return self.kind in ("cut", "not_json", "upload") or self.status in (500, 502, 503)


class KaggleRefusal(InputError):
    """Tell what the user must mend, and keep the failure."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


class KaggleFailure(RuntimeError):
    """Tell what failed without the user's fault, and keep the failure."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


def explain_failure(
    failure: Failure, slug: str, sources: list[Credentials], environment: Mapping[str, str]
) -> KaggleRefusal | KaggleFailure:
    """Return the exception that tells a person what happened.

    Of the sources those in use come first; the child's environment names the proxy.
    """
    doing = f"Kaggle, {DOING[failure.call]}"
    if failure.kind == "http":
        return _explain_status(failure, doing, slug, sources)
    if failure.kind in USER_KINDS:
        return KaggleRefusal(
            f"{doing}: {USER_KINDS[failure.kind].format(message=failure.message, file=failure.file)}", failure
        )
    if failure.kind == "proxy":
        name, proxy = _proxy(environment)
        cause = f"the proxy {proxy} (environment variable {name}) does not let it through: {failure.message}"
        return KaggleFailure(f"{doing}: {cause}; correct or unset the variable", failure)
    cause = FAILED_KINDS[failure.kind].format(message=failure.message)
    return KaggleFailure(f"{doing}: {cause}", failure)


INSTALL = pip_command("kaggle six")
USER_KINDS = {
    "no_credentials": f"the client found no credentials it could use; {HOW_TO}",
    "no_client": f"the client cannot be imported ({{message}}); {INSTALL}",
    "disk": "{message}: {file}; free some space or choose another --workspace",
}
FAILED_KINDS = {
    "cut": "the connection was cut before the answer was whole; call again",
    "unreached": "Kaggle cannot be reached; check the network and its name service, and whether a proxy is needed "
    "(environment variable https_proxy)",
    "ssl": "the certificate was not accepted; behind a proxy that opens TLS, set REQUESTS_CA_BUNDLE to its certificate",
    "not_json": "the answer is a web page, not data: a login page of the network, a proxy or Kaggle's maintenance; "
    "open https://www.kaggle.com in a browser, then call again",
    "timeout": "no answer within {message}; check the network and call again",
    "upload": "the upload did not succeed, so nothing was submitted: the network cut it or Kaggle's storage "
    "refused it; check network and size of the file, then call again",
    "died": "the client ended without an answer ({message}); call again",
    "other": "the client failed ({message})",
}


def explain_rejection(sources: list[Credentials]) -> str:
    """Return the message of credentials that Kaggle rejects; it names those that they hide."""
    used, *others = [source for source in sources if not source.problem] or sources
    what = "token" if used.kind == "token" else "key" if used.kind == "key" else "login"
    cause = f"Kaggle rejected the {what} of {used.where}: expired, revoked or mistyped"
    remedy = f"make a new one at {TOKEN_PAGE}"
    if others:
        remove = "unset it" if "environment" in used.where else "delete the file"
        return f"{cause}; it hides {others[0].where}, which takes its place when you {remove}; or {remedy}"
    return f"{cause}; {remedy}"


def _explain_status(
    failure: Failure, doing: str, slug: str, sources: list[Credentials]
) -> KaggleRefusal | KaggleFailure:
    """Explain an HTTP status."""
    status, answer = failure.status, f" (Kaggle says: {failure.message})" if failure.message else ""
    if failure.is_link:
        return KaggleFailure(f"{doing}: the link to the file was refused ({status}); call again for a new one", failure)
    if status == 401:
        return KaggleRefusal(f"{explain_rejection(sources)}{answer}", failure)
    is_named = status in (400, 403, 409, 422, 429) and failure.call not in OF_NOTEBOOKS
    if is_named and (cause := _find_refusal(failure.message)):
        return KaggleRefusal(f"{doing}: {cause}{answer}", failure)
    if status == 429:
        wait = f" for {failure.retry_after} seconds" if (failure.retry_after or "").isdigit() else " a few minutes"
        return KaggleFailure(f"{doing}: too many requests (429); wait{wait}, then call again{answer}", failure)
    if status >= 500:
        return KaggleFailure(f"{doing}: Kaggle has a failure of its own ({status}); call again later{answer}", failure)
    if failure.call in OF_NOTEBOOKS:
        return KaggleRefusal(f"{doing}: {_explain_notebook(failure)}{answer}", failure)
    page = f"https://www.kaggle.com/competitions/{slug}"
    causes = {
        400: f"bad request (400); is {slug!r} the slug, the file a valid submission and the competition open? {page}",
        403: f"not allowed (403): either the competition's rules are not accepted yet - {page}/rules, signed in as the "
        f"same user - or {slug!r} is not its slug, the last part of its address",
        404: f"not found (404): there is no competition {slug!r}, or it takes no submissions; the slug is the last "
        f"part of its address, {page}",
        413: "the file is larger than Kaggle takes (413); check its rows and columns against the sample submission",
    }
    if status in causes and (status != 413 or failure.call == "submit"):
        return KaggleRefusal(f"{doing}: {causes[status]}{answer}", failure)
    if status == 409:
        return KaggleFailure(f"{doing}: a conflict (409), as when two are sent at once; call again{answer}", failure)
    return KaggleFailure(f"{doing}: Kaggle answered {status}; call again later{answer}", failure)


def _explain_notebook(failure: Failure) -> str:
    """Return why a call on a dataset or a notebook was refused."""
    if cause := find_notebook_refusal(failure.message):
        return cause
    causes = {
        403: "not allowed (403): GPUs, internet and private datasets need a verified telephone number "
        "(https://www.kaggle.com/settings), competition data need accepted rules",
        404: "not found (404): it was deleted at Kaggle, or is of another user than the one signed in",
        409: "a conflict (409), as when two are sent at once; call again",
        413: "larger than Kaggle takes (413)",
    }
    return causes.get(failure.status, f"Kaggle answered {failure.status}")


def find_notebook_refusal(message: str) -> str:
    """Return the cause, and the remedy, that Kaggle's answer on a notebook names; empty where it is not known."""
    return next((cause for pattern, cause in NOTEBOOK_REFUSALS if re.search(pattern, message, re.IGNORECASE)), "")


def _find_refusal(message: str) -> str:
    """Return the cause that the server's message names, or nothing."""
    return next((cause for pattern, cause in REFUSALS if re.search(pattern, message, re.IGNORECASE)), "")


def _proxy(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that names the proxy, and the proxy without its password."""
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
    name = next((name for name in names if environment.get(name)), "https_proxy")
    address = environment.get(name, "")
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return name, f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def read_failure(report: Mapping[str, Any], call: str) -> Failure:
    """Return the child's report of a failed call as a `Failure`."""
    known = {key: value for key, value in report.items() if key in Failure.__dataclass_fields__ and value is not None}
    return Failure(call=call, **known)
