"""Hold the first competition.toml and prompt list as text, with gaps for what was inferred of a folder of images.

The runs in them are a floor to beat; the comments tell what to try next.
"""

from __future__ import annotations

from kit.config.data import Listing
from kit.config.toml import toml_text

LABEL_SETS = """\
# What the organisers decided. `metric` stands on the competition's Evaluation page.
[competition]
title = {title}
{slug}task = "multilabel"
metric = "macro_f1"

# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds.
[folds]
n = 5
seed = 0

{forests}
# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"

[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
flip = true
balance = "sqrt_inverse"  # rare classes count more

# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
FORESTS = """\
# One table per experiment: a model, and its options beside it. These read pixels and work offline: a floor to beat.
[runs.forest]
model = "forest"

[runs.extra_trees]
model = "forest"
trees = "extra"
"""
TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of a {}.", "an image showing a {}.")

TOML = """\
# What the organisers decided. `metric` stands on the competition's Evaluation page.
[competition]
title = {title}
{slug}task = "multiclass"
metric = "accuracy"  # or macro_f1, balanced_accuracy, log_loss

# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds; n is lowered where a class has fewer images.
[folds]
n = 5
seed = 0

{forests}
[runs.svm]
model = "svm"
{spreading}
# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
# prompts = "first" is prompts/first.toml: better words for the classes are the cheapest points there are.
[runs.zero_shot]
model = "zero_shot"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"

[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
{neighbours}
[runs.wise_ft]
model = "clip_finetune"
encoder = "open_clip:ViT-B-16/openai"
prompts = "first"
flip = true  # mirror images in training; not where left and right differ, as in digits and text

[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
flip = true
{pseudo}
# The ensemble combines all runs, by weights chosen on out-of-fold predictions; `members` names some of them.
[ensemble]
method = "weights"
"""
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
prompts = "first"
smooth = "nested"
"""
PSEUDO = """
# Learns from the unlabelled images too, with the labels its teachers agree on.
[runs.probe_pseudo]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
pseudo = { teachers = ["probe", "wise_ft"] }
"""
PROMPT_LIST = """\
# Every word goes into every template. Several words per class are averaged: write what a caption would say.
templates = [{templates}]

[words]
{words}
"""


def toml_source(source: str | tuple[str, ...] | Listing) -> str:
    """Return a source as competition.toml writes it."""
    if isinstance(source, str):
        return toml_text(source)
    if isinstance(source, Listing):
        keys = source.model_dump(exclude_none=True)
        return "{ " + ", ".join(f"{key} = {toml_text(value)}" for key, value in keys.items()) + " }"
    return "[" + ", ".join(map(toml_text, source)) + "]"
