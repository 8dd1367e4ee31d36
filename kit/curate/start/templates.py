"""Hold the first competition.toml and prompt list as text, with gaps for what was inferred of a folder of images.

The runs in them are a floor to beat; the comments tell what to try next.
"""

from __future__ import annotations

from kit.config.strict import Table
from kit.config.toml import toml_text
from kit.core.names import MULTILABEL

FORESTS = """\
# One table per experiment: a model, and its options beside it. These read pixels and work offline: a floor to beat.
[runs.forest]
model = "forest"

[runs.extra_trees]
model = "forest"
trees = "extra"
"""
TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of a {}.", "an image showing a {}.")

HEAD = """\
# What the organisers decided.
[competition]
{facts}
# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds; n is lowered where a class has fewer images.
[folds]
{folds}
{submission}{runs}"""
SUPPORT_VECTORS = """
[runs.svm]
model = "svm"
"""
HUB = """
# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
"""
ZERO_SHOT = """\
# prompts = "first" is prompts/first.toml: better words for the classes are the cheapest points there are.
[runs.zero_shot]
model = "zero_shot"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"

"""
PROBE = """\
[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
"""
WISE_FT = """
[runs.wise_ft]
model = "clip_finetune"
encoder = "open_clip:ViT-B-16/openai"
prompts = "first"
flip = true  # mirror images in training; not where left and right differ, as in digits and text
"""
NETWORK = """
[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
flip = true
"""
RARE = """balance = "sqrt_inverse"  # rare classes count more
"""
ENSEMBLE = """
# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
WORDS = 'prompts = "first"\n'
SPREADING = """
# Learns from the unlabelled images too: labels flow to the neighbours.
[runs.label_spreading]
model = "label_spreading"
"""
NEIGHBOURS = """
# The same probe; what is said of an image flows to its neighbours, as far as the other folds show that it helps.
# use_test_images = true lets test images be neighbours too, where the rules allow it.
[runs.probe_neighbours]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
{words}smooth = "nested"
"""
PSEUDO = """
# Learns from the unlabelled images too, with the labels its teachers agree on.
[runs.probe_pseudo]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
{words}pseudo = {{ teachers = [{teachers}] }}
"""
PROMPT_LIST = """\
# Every word goes into every template. Several words per class are averaged: write what a caption would say.
templates = [{templates}]

[words]
{words}
"""


def draft_runs(task: str, has_pool: bool, has_words: bool) -> str:
    """Return the tables of the first runs and of the ensemble.

    Without words for the classes, or with several labels per image, no run reads a prompt list.
    """
    if task == MULTILABEL:
        return FORESTS + HUB + PROBE + NETWORK + RARE + ENSEMBLE
    words, teachers = (WORDS, '"probe", "wise_ft"') if has_words else ("", '"probe", "efficientnetv2_s"')
    parts = [FORESTS, SUPPORT_VECTORS, SPREADING if has_pool else "", HUB, ZERO_SHOT if has_words else "", PROBE, words]
    parts += [NEIGHBOURS.format(words=words) if has_pool else "", WISE_FT if has_words else "", NETWORK]
    parts += [PSEUDO.format(words=words, teachers=teachers) if has_pool else "", ENSEMBLE]
    return "".join(parts)


def toml_source(source: str | tuple[str, ...] | Table) -> str:
    """Return a source as competition.toml writes it."""
    if isinstance(source, str):
        return toml_text(source)
    if isinstance(source, Table):
        keys = source.model_dump(exclude_none=True, exclude_defaults=True)
        return "{ " + ", ".join(f"{key} = {toml_text(value)}" for key, value in keys.items()) + " }"
    return "[" + ", ".join(map(toml_text, source)) + "]"
