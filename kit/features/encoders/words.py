"""Words as tokens, by the tokenizer that a CLIP was trained with."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from kit.core.errors import InputError, MissingWeights
from kit.features.encoders.clip import read_configuration
from kit.features.weights import LOCAL_DIR, EncoderSpec

if TYPE_CHECKING:
    import torch

TOKENIZER_FILES = "tokenizer.json and tokenizer_config.json"
SHOWN_CHARACTERS = 80  # characters of a prompt in a message
N_CONTEXTS = 4  # contexts: texts up to this length are measured


def tokenize(spec: EncoderSpec, texts: list[str]) -> torch.Tensor:
    """Return (n_texts, context_length) tokens.

    Raises
    ------
    InputError
        When a text is longer than the context and would be cut.
    MissingWeights
        When the tokenizer's files cannot be had; names them and where they go.
    """
    tokenizer = _read_tokenizer(spec)
    context = tokenizer.context_length
    longest = tokenizer(texts, context_length=N_CONTEXTS * context)  # (n_texts, 4 * context)
    padding = getattr(getattr(tokenizer, "tokenizer", None), "pad_token_id", None) or 0
    is_token = (longest != padding).flip(1).int()
    lengths = longest.shape[1] - is_token.argmax(dim=1)  # "!" is token 0 to CLIP, as the padding: look for the last
    for text, length in zip(texts, lengths.tolist(), strict=True):
        if length > context:
            shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
            counted = f"{length} tokens or more" if length == N_CONTEXTS * context else f"{length} tokens"
            raise InputError(f"prompt {shown!r} has {counted}; {spec.text} reads {context}: shorten it")
    return tokenizer(texts)


def _read_tokenizer(spec: EncoderSpec) -> Any:
    """Return open_clip's tokenizer of an encoder."""
    import open_clip

    source = read_configuration(spec).model["text_cfg"].get("hf_tokenizer_name")
    if source and importlib.util.find_spec("transformers") is None:
        raise MissingWeights(
            f"encoder {spec.text!r}: its tokenizer is read by the package transformers; install it into .venv "
            "(pip install transformers), or use the encoder without prompts"
        )
    try:
        return open_clip.get_tokenizer(f"{LOCAL_DIR}{spec.file}" if spec.folder else spec.name)
    except (OSError, ValueError, ImportError) as error:
        if not source:
            raise
        place = f"put them into {spec.file}" if spec.folder else _cache_command(source)
        raise MissingWeights(
            f"encoder {spec.text!r}: its tokenizer's files are missing: fetch {TOKENIZER_FILES} of {source} and {place}"
        ) from error


def _cache_command(repository: str) -> str:
    """Return how to put a repository's tokenizer into the hub's cache."""
    from huggingface_hub import constants

    return f"fill the hub's cache {constants.HF_HUB_CACHE} with: hf download {repository} --include '*token*' '*.json'"
