"""Writing TOML: texts as competition.toml and prompt lists hold them."""

from __future__ import annotations

import json
import re


def toml_text(value: str) -> str:
    """Return a text as a TOML string: JSON's escapes are TOML's, but DEL must not stand raw."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_value(value: object) -> str:
    """Return a value as TOML writes it on one line: text, number, true or false, a list, a table of such."""
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml_key(key)} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return repr(value)


def _toml_key(key: str) -> str:
    """Return a key, in quotes where it is no bare word."""
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else toml_text(key)
