"""Encoders of today that the model hub offers: which, on what machine, and the published result that speaks for each.

"zero-shot .670" is the mean over the 35 data sets of open_clip's table of results, where OpenAI's ViT-L/14 of 2021 has
.624; "linear .867" is the linear probe on ImageNet of the authors' own table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CLIP, SELF_SUPERVISED, SUPERVISED = "clip", "self-supervised", "supervised"
GOOD, BEST = "good", "best"
GPU, CPU = "gpu", "cpu"


@dataclass(frozen=True)
class Offer:
    """Describe an encoder of the hub.

    Parameters
    ----------
    name
        Of the runs that use it.
    encoder, encoder_args
        As competition.toml writes them.
    family
        What it learned from: a portfolio takes each family before a second of one.
    preset
        From which preset on it is considered: ``"good"`` or ``"best"``.
    machine
        What it is meant for: ``"gpu"`` or ``"cpu"``.
    reason
        Why, in one sentence.
    """

    name: str
    encoder: str
    family: str
    preset: str
    machine: str
    reason: str
    encoder_args: dict[str, Any] = field(default_factory=dict)


OFFERS = (  # the first of a family that fits the machine and the time is taken first
    Offer(
        "siglip2",
        "open_clip:ViT-L-16-SigLIP2-256/webli",
        CLIP,
        GOOD,
        GPU,
        "SigLIP 2 (2025) adds captions and self-distillation to SigLIP, whose L/16 has zero-shot .653",
    ),
    Offer(
        "mobileclip2",
        "open_clip:MobileCLIP2-S2/dfndr2b",
        CLIP,
        GOOD,
        CPU,
        "MobileCLIP 2 (2025), for small machines; its forerunner is as good as SigLIP's ViT-B/16 and 2.3 times faster",
    ),
    Offer(
        "dinov2",
        "timm:vit_large_patch14_reg4_dinov2.lvd142m",
        SELF_SUPERVISED,
        GOOD,
        GPU,
        "DINOv2 (2023) learned without words or labels: other errors than a CLIP's; linear .867",
        {"img_size": 224},
    ),
    Offer(
        "dinov2_small",
        "timm:vit_small_patch14_reg4_dinov2.lvd142m",
        SELF_SUPERVISED,
        GOOD,
        CPU,
        "DINOv2 (2023), the small one: other errors than a CLIP's; linear .809 at 22 million weights",
        {"img_size": 224},
    ),
    Offer(
        "dfn",
        "open_clip:ViT-L-14-quickgelu/dfn2b",
        CLIP,
        GOOD,
        GPU,
        "DFN (2023): a CLIP on filtered data; zero-shot .670, OpenAI's of the same size .624",
    ),
    Offer(
        "convnext",
        "timm:convnext_base.clip_laion2b_augreg_ft_in12k",
        SUPERVISED,
        GOOD,
        GPU,
        "ConvNeXt (2022): a CLIP's tower tuned on 12,000 classes; convolutions see texture that transformers overlook",
    ),
    Offer(
        "convnext_tiny",
        "timm:convnext_tiny.dinov3_lvd1689m",
        SELF_SUPERVISED,
        BEST,
        CPU,
        "ConvNeXt taught by DINOv3 (2025): convolutions, quick on CPUs",
    ),
    Offer(
        "dinov3",
        "timm:vit_large_patch16_dinov3.lvd1689m",
        SELF_SUPERVISED,
        BEST,
        GPU,
        "DINOv3 (2025): taught by a network of 7 billion weights; the strongest features learned without labels",
    ),
    Offer(
        "eva02",
        "open_clip:EVA02-L-14/merged2b_s4b_b131k",
        CLIP,
        BEST,
        GPU,
        "EVA-02 (2023): a CLIP that began as a masked image model; zero-shot .650",
    ),
    Offer(
        "metaclip2",
        "open_clip:ViT-H-14-worldwide-quickgelu/metaclip2_worldwide",
        CLIP,
        BEST,
        GPU,
        "MetaCLIP 2 (2025): learned from captions of the whole world, not the English ones alone",
    ),
    Offer(
        "dfn_huge",
        "open_clip:ViT-H-14-quickgelu/dfn5b",
        CLIP,
        BEST,
        GPU,
        "DFN, the huge one (2023): zero-shot .697, the best of its table at 224 pixels but one five times its size",
    ),
    Offer(
        "siglip2_base",
        "open_clip:ViT-B-16-SigLIP2-256/webli",
        CLIP,
        BEST,
        CPU,
        "SigLIP 2 (2025), the base size; its forerunner has zero-shot .620, as much as OpenAI's ViT-L/14",
    ),
)
CARD = {  # fine-tunes that stay, whatever is newer
    "wise_ft": ("open_clip:ViT-B-16/openai", "CLIP's ViT-B/16, fine-tuned and blended with what it knew (WiSE-FT)"),
    "efficientnetv2_s": ("timm:tf_efficientnetv2_s.in21k_ft_in1k", "EfficientNetV2-S, all of it trained"),
}
