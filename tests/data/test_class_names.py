"""What codes of classes mean: every form in which such files are written, one meaning."""

from __future__ import annotations

import pytest
from support.folders import write

from kit.config.data import ClassNames
from kit.core.errors import InputError
from kit.data.class_names import read_class_names

COCO = '{"images": [], "categories": [{"id": 0, "name": "ripe banana"}, {"id": 1, "name": "green banana"}]}'
WORDS = {"0": "ripe banana", "1": "green banana"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.json", '{"0": "ripe banana", "1": "green banana"}'),
        ("names.json", '{"ripe banana": 0, "green banana": 1}'),
        ("names.json", '{"0": ["n01", "ripe banana"], "1": ["n02", "green banana"]}'),
        ("names.json", '["ripe banana", "green banana"]'),
        ("names.json", COCO),
        ("names.csv", "code,words\n0,ripe banana\n1,green banana\n"),
        ("names.txt", "0 ripe banana\n1\tgreen banana\n"),
        ("names.txt", "ripe banana\ngreen banana\n"),
    ],
)
def test_every_form_of_names_means_the_same(tmp_path, file, text):
    write(tmp_path / file, text)
    assert read_class_names(tmp_path, file) == WORDS


def test_columns_may_be_named(tmp_path):
    write(tmp_path / "all.csv", "name,n,id\nripe banana,7,0\ngreen banana,9,1\n")
    assert read_class_names(tmp_path, ClassNames(csv="all.csv", code="id", name="name")) == WORDS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.json", "no such file"),
        ("odd.json", "neither"),
        ("broken.json", "not JSON"),
        (ClassNames(csv="a.csv", code="ids"), "did you mean 'id'"),
    ],
)
def test_what_names_nothing_is_refused_with_the_file(tmp_path, source, message):
    write(tmp_path / "odd.json", '{"a": 1.5}')
    write(tmp_path / "broken.json", "{")
    write(tmp_path / "a.csv", "id,name\n0,x\n")
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path, source)
