"""The slug: Kaggle's name for a competition, the last part of its address."""

from __future__ import annotations

import re

from kit.core.errors import InputError


def read_slug(text: str) -> str:
    """Return Kaggle's name for a competition, from it or from its address; InputError where it is neither."""
    address = re.search(r"kaggle\.com/(?:competitions|c)/([^/?#\s]+)", text)
    slug = address.group(1) if address else text.strip().strip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", slug):
        raise InputError(
            f"{text!r} is no Kaggle competition: give the last part of its address, such as 'digit-recognizer'"
        )
    return slug
