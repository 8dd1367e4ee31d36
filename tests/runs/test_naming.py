"""Run names that say what they hold, and some that do not."""

from __future__ import annotations

import pytest

from kit.runs.naming import misnamed

NAMED = """
[runs.svm]
model = "svm"

[runs.forest_deep]
model = "forest"

[runs.clip_words]
model = "zero_shot"
encoder = "open_clip:local-dir:tiny"
prompts = "names"
"""


def test_names_of_models_and_encoders_that_fit_are_not_spoken_of(colours):
    competition = colours(NAMED)
    assert misnamed(competition, list(competition.runs)) == {}


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        (('runs.svm.model="forest"',), "svm", "its name says svm, its model is forest"),
        (
            ('runs.clip_words.encoder="timm:resnet18"',),
            "clip_words",
            "its name says clip, its encoder is timm:resnet18",
        ),
    ],
)
def test_a_run_that_holds_another_model_or_encoder_is_named(colours, changes, name, said):
    competition = colours(NAMED, changes=changes)
    assert misnamed(competition, list(competition.runs)) == {name: said}
