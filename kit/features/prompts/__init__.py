"""Prompt lists: words per class and templates -> zero-shot weights.

Reads ``prompts/NAME.toml`` beside competition.toml (lists.py); the list ``names`` is generated from the class names.
Text features are cached under ``runs/NAME/cache/text`` (text.py).
"""

from __future__ import annotations

from kit.features.prompts.lists import NAMES, PromptList, list_prompts, prompts_of, read_prompts
from kit.features.prompts.text import TextWeights, keep_text_weights, read_text_weights, text_weights, warm_text_weights

__all__ = [
    "NAMES",
    "PromptList",
    "TextWeights",
    "keep_text_weights",
    "list_prompts",
    "prompts_of",
    "read_prompts",
    "read_text_weights",
    "text_weights",
    "warm_text_weights",
]
