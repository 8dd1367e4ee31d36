"""What this machine computes fast: by it, and by nothing that is measured, half precision is chosen."""

from __future__ import annotations


def half_on_gpu() -> str:
    """Return the half precision that this machine's GPUs compute in: ``"bfloat16"`` or ``"float16"``."""
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def has_amx() -> bool:
    """Return whether the CPU multiplies matrices of bfloat16 fast; False where torch cannot tell."""
    import torch

    return getattr(torch.cpu, "_is_amx_tile_supported", bool)()
