"""TOML that the kit writes is read back as it was."""

from __future__ import annotations

import tomllib

import pytest

from kit.config.toml import toml_text


@pytest.mark.parametrize("text", ["a", 'quote " and \\', "tab\tline\n\x00\x1f\x7f", "é 犬 😀"])
def test_toml_text_is_read_back_as_it_was(text):
    assert tomllib.loads(f"x = {toml_text(text)}\n{toml_text(text)} = 1") == {"x": text, text: 1}
