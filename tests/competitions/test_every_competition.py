"""Every committed competition: its runs have options that their models take, its encoders are published."""

from __future__ import annotations

import pytest

from kit.config.competition import HOME
from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.features.prompts import read_prompts
from kit.features.weights import parse_encoder
from kit.runs.store.build import build_model

COMPETITIONS = sorted(file.parent.name for file in HOME.glob("*/competition.toml"))
EMBEDDED = {"digits"}  # brings its data and its encoders


@pytest.fixture(params=COMPETITIONS)
def competition(request, tmp_path):
    return read_competition(request.param, Workspace(tmp_path))


def test_every_run_has_options_that_its_model_takes(competition):
    for run in competition.runs.values():
        build_model(competition, run)


def test_every_prompt_list_of_a_run_is_there_and_names_the_same_classes(competition):
    named = {name for run in competition.runs.values() for name in build_model(competition, run).prompt_lists}
    words = {}
    for name in sorted(named - {"names"}):
        file = competition.folder / "prompts" / f"{name}.toml"
        assert file.is_file(), f"{competition.name} has no prompt list {name!r}"
        words[name] = _classes(file)
    assert len({tuple(prompts) for prompts in words.values()}) <= 1
    for name, classes in words.items():
        read_prompts(competition.folder / "prompts", name, tuple(classes))


def test_every_encoder_is_one_that_its_library_publishes(competition):
    import timm

    open_clip = pytest.importorskip("open_clip")

    if competition.name in EMBEDDED:
        return
    for run in competition.runs.values():
        encoder = run.options.get("encoder")
        if encoder in (None, "given"):
            continue
        spec = parse_encoder(encoder)
        if spec.library == "open_clip":
            assert (spec.name, spec.tag) in open_clip.list_pretrained()
        else:
            assert timm.is_model_pretrained(spec.name)


def test_the_members_of_the_ensemble_are_runs(competition):
    assert set(competition.ensemble.members or ()) <= set(competition.runs)


def test_a_competition_without_its_own_data_says_how_to_get_it(competition):
    if competition.name not in EMBEDDED:
        text = (competition.folder / "README.md").read_text(encoding="utf-8")
        assert competition.data.root in text


def _classes(file) -> list[str]:
    import tomllib

    return sorted(tomllib.loads(file.read_text(encoding="utf-8"))["words"])
