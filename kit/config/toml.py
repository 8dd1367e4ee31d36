"""Writing TOML: texts as competition.toml and prompt lists hold them."""

from __future__ import annotations

import json


def toml_text(value: str) -> str:
    """Return a text as a TOML string: JSON's escapes are TOML's, but DEL must not stand raw."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
