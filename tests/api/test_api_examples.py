"""The examples in the docstrings of the Python interface hold, on digits."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import kit
from kit.api import competition

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXAMPLES = {
    example.name.removeprefix("kit.api."): example
    for module in (kit.api, competition)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module)
    if example.examples
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which digits has a trained SVM."""
    workspace = tmp_path_factory.mktemp("workspace")
    kit.open("digits", workspace=workspace, quiet=True).train("svm")
    return workspace


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_holds(name: str, folder: Path):
    example = EXAMPLES[name]
    digits = kit.open("digits", workspace=folder, quiet=True)
    example.globs = {"kit": kit, "folder": folder, "digits": digits}
    with kit.silenced():
        failed, tried = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(example)
    assert tried and not failed
