"""Find the credentials that Kaggle's client will use, what is wrong with others, and which of them hide others.

Follows the client's own order: an access token (in a Kaggle notebook, KAGGLE_API_TOKEN, ~/.kaggle/access_token), then
KAGGLE_USERNAME and KAGGLE_KEY over kaggle.json, then ``kaggle auth login``. Secrets are read to be hidden.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kit.core.errors import InputError

TOKEN_PAGE = "https://www.kaggle.com/settings/api"
HOW_TO = (
    f"make a token at {TOKEN_PAGE} and put it into ~/.kaggle/access_token (chmod 600) or into the environment variable "
    "KAGGLE_API_TOKEN"
)
PASSED_ON = (  # of the user's environment, beside KAGGLE_*; not VERBOSE, which makes the client print keys
    "HOME PATH USER LOGNAME LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR XDG_CONFIG_HOME PYTHONPATH PYTHONHOME VIRTUAL_ENV "
    "LD_LIBRARY_PATH "
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    "REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR"
).split()
JSON_KEYS = ("username", "key")  # of kaggle.json
MARKS = {codecs.BOM_UTF8: "UTF-8 byte order mark", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True)
class Credentials:
    """Hold one place where credentials are, or should be.

    Parameters
    ----------
    where
        The environment variable or file, in words for a person.
    kind
        ``"token"``, ``"key"`` or ``"oauth"``.
    problem
        Why the client cannot use it, and the remedy; empty where it can.
    secrets
        Texts that must never be shown.
    """

    where: str
    kind: str
    problem: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the client's process: credentials, home, proxies and certificates; no more.

    Empty KAGGLE_ variables are left out: the client would let them hide a file that is good.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or (name.startswith("KAGGLE_") and value.strip())
    }


def find_credentials(environment: Mapping[str, str]) -> list[Credentials]:
    """Return every place that holds credentials, the one the client uses first."""
    home = Path(environment.get("HOME") or Path.home())
    return [*_find_tokens(environment, home), *_find_keys(environment, home), *_find_oauth(home)]


def choose_credentials(sources: list[Credentials]) -> Credentials:
    """Return the credentials that the client will use; InputError where there are none that can be used."""
    usable = next((source for source in sources if not source.problem), None)
    if usable is not None:
        return usable
    if not sources:
        raise InputError(f"no Kaggle credentials found; {HOW_TO}")
    problems = "; ".join(f"{source.where} {source.problem}" for source in sources)
    raise InputError(f"no usable Kaggle credentials: {problems}")


def redact(text: str, sources: Iterable[Credentials]) -> str:
    """Return `text` without keys, tokens, authorisations, and passwords and signatures in addresses."""
    for secret in sorted({secret for source in sources for secret in source.secrets}, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(https?://)[^\s/@'\"]+@", r"\1***@", text)
    text = re.sub(r"((?:https?:/)?/[^\s?'\"<>]*)\?[^\s'\"<>]+", r"\1?***", text)
    return re.sub(r"\b(Bearer|Basic)\s+[\w.+/=-]{8,}", r"\1 ***", text)


def _find_tokens(environment: Mapping[str, str], home: Path) -> list[Credentials]:
    """Return the access tokens."""
    tokens = []
    if "KAGGLE_KERNEL_RUN_TYPE" in environment and environment.get("KAGGLE_API_V1_TOKEN"):
        path = Path(environment["KAGGLE_API_V1_TOKEN"])
        if path.is_file():
            tokens.append(_token(f"the notebook's token {path}", _read(path)))
    if value := environment.get("KAGGLE_API_TOKEN", "").strip():
        where, path = "the environment variable KAGGLE_API_TOKEN", Path(value)
        is_file = len(value) < 1024 and path.is_file()
        tokens.append(_token(f"{where} (file {path})" if is_file else where, _read(path) if is_file else value))
    for path in (home / ".kaggle" / "access_token", home / ".kaggle" / "access_token.txt"):
        if path.is_file():
            tokens.append(_token(str(path), _read(path)))
    return tokens


def _token(where: str, read: str | bytes) -> Credentials:
    """Return a token as credentials, with what is wrong with it."""
    if isinstance(read, bytes):
        if problem := _problem_of_bytes(read):
            return Credentials(where, "token", problem)
        read = read.decode().strip()
    if not read:
        return Credentials(where, "token", f"is empty; {HOW_TO}")
    if not re.fullmatch(r"[\x21-\x7e]+", read):
        return Credentials(where, "token", "holds spaces or letters no token has; copy it again, as one line", (read,))
    return Credentials(where, "token", "", (read,))


def _find_keys(environment: Mapping[str, str], home: Path) -> list[Credentials]:
    """Return user name and key: of the environment, of kaggle.json, or of both mixed as the client mixes them."""
    path = config_file(environment, home)
    given = {name: environment.get(f"KAGGLE_{name.upper()}", "").strip() for name in JSON_KEYS}
    kept, problem = read_kaggle_json(path) if path.is_file() else ({}, "")
    secrets = tuple(filter(None, (given["key"], kept.get("key", ""))))
    if all(given.values()):
        both = [Credentials("the environment variables KAGGLE_USERNAME and KAGGLE_KEY", "key", "", secrets)]
        return both + ([Credentials(str(path), "key", problem, secrets)] if path.is_file() else [])
    lone = next((f"KAGGLE_{name.upper()}" for name, value in given.items() if value), None)
    if path.is_file():
        where = f"{path} with {lone} of the environment in place of its own" if lone else str(path)
        return [Credentials(where, "key", problem, secrets)]
    if lone:
        other = "KAGGLE_KEY" if lone == "KAGGLE_USERNAME" else "KAGGLE_USERNAME"
        return [
            Credentials(f"the environment variable {lone}", "key", f"is of no use without {other}; set both", secrets)
        ]
    return []


def config_file(environment: Mapping[str, str], home: Path) -> Path:
    """Return the kaggle.json that the client reads."""
    if environment.get("KAGGLE_CONFIG_DIR"):
        return Path(environment["KAGGLE_CONFIG_DIR"]) / "kaggle.json"
    if (home / ".kaggle").exists():
        return home / ".kaggle" / "kaggle.json"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle" / "kaggle.json"


def read_kaggle_json(path: Path) -> tuple[dict[str, str], str]:
    """Return the keys of kaggle.json, and why the client could not use them; the client does not tell."""
    data = _read(path)
    if problem := _problem_of_bytes(data):
        return {}, problem
    try:
        kept = json.loads(data)
    except ValueError as error:
        at = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "not text"
        return {}, f"is not JSON ({at}); download it again from {TOKEN_PAGE}"
    if not isinstance(kept, dict) or not all(isinstance(kept.get(key), str) and kept[key] for key in JSON_KEYS):
        return {}, f'has no "username" and "key"; download it again from {TOKEN_PAGE}'
    return kept, ""


def is_open_to_others(path: Path) -> bool:
    """Return whether other users of the machine may read a file."""
    return path.is_file() and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _find_oauth(home: Path) -> list[Credentials]:
    """Return the login that ``kaggle auth login`` has kept."""
    path = home / ".kaggle" / "credentials.json"
    if not path.is_file():
        return []
    try:
        kept = json.loads(_read(path))
        tokens = tuple(filter(None, (kept.get("refresh_token"), kept.get("access_token"))))
    except (ValueError, AttributeError):
        return [Credentials(str(path), "oauth", "is not JSON; kaggle auth login writes it anew")]
    problem = "" if kept.get("refresh_token") else "holds no login; kaggle auth login writes it anew"
    return [Credentials(str(path), "oauth", problem, tokens)]


def _read(path: Path) -> bytes:
    """Read a file of credentials."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; Kaggle's credentials are read from it") from error


def _problem_of_bytes(data: bytes) -> str:
    """Return what is wrong with how a file of credentials was saved."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return f"was saved with a {name}, which Kaggle's client cannot read; save it as UTF-8 without one"
    return ""
