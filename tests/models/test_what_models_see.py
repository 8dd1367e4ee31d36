"""What a model may see: nothing that `fit` or `predict_proba` can reach is, or yields, a name or a path of an image."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pools import labels_of, make_pool

from kit.data.images import Images, Pool, ids_of, names_of, pool_behind

DEPTH = 3


@pytest.fixture
def pool(tmp_path) -> Pool:
    pool = make_pool(tmp_path / "photos", n_images=9, n_labeled=6)
    groups = np.array([f"patient_{i}" for i in range(9)], dtype=object)
    return Pool(
        pool.ids, pool.splits, pool.paths, pool.ids, groups, pool.classes, pool.cache, pool.prompts, (tmp_path,)
    )


@pytest.fixture
def labeled(pool) -> Images:
    return pool.select(np.arange(6), labels_of(np.arange(6)))


def reach(value: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Yield a value and all that its public attributes, items and methods without arguments give."""
    yield value
    if depth == 0 or isinstance(value, str | bytes | int | float | np.ndarray | Path):
        return
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set):
        for item in value:
            yield from reach(item, depth - 1)
        return
    for name in [*dir(type(value)), *getattr(value, "__dict__", {})]:
        if not name.startswith("__"):
            held = getattr(value, name)
            try:
                held = held() if callable(held) else held
            except TypeError:  # it asks for arguments
                continue
            yield from reach(held, depth - 1)


def texts_in(values: Iterator[Any]) -> set[str]:
    """Return all texts among values, those in arrays and paths too."""
    flat: list[Any] = []
    for value in values:
        flat += value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    return {str(each) for each in flat if not isinstance(each, int | float)}


def test_no_attribute_of_images_leads_to_a_name_or_a_file(pool, labeled):
    texts = texts_in(reach(labeled))
    secret = {*pool.ids, *pool.paths, *pool.groups, *names_of(labeled), str(pool.cache), str(pool.prompts)}
    assert {"labeled", "unlabeled", *pool.classes} <= texts  # the walk does reach what there is
    assert not [text for text in texts if any(name in text for name in secret)]


def test_the_walk_finds_a_name_where_there_is_one(pool):
    assert set(pool.ids) <= texts_in(reach(pool))


def test_the_pool_behind_has_the_names_that_selections_lack(pool, labeled):
    assert pool_behind(labeled) is pool and pool_behind(labeled.take(np.arange(2))) is pool
    assert ids_of(labeled.take(np.array([4, 1]))).tolist() == ["0004", "0001"]
    assert names_of(pool.select(np.array([0, 7]))).tolist() == ["labeled/0000", "unlabeled/0007"]
    assert pool_behind(copy.deepcopy(labeled)) is pool


def test_groups_are_numbers_that_keep_who_belongs_together(pool):
    paired = pool.select(np.arange(9))
    assert paired.groups.dtype.kind == "i" and len(set(paired.groups.tolist())) == 9
    twins = Pool(
        pool.ids, pool.splits, pool.paths, pool.ids, np.repeat(["b", "a", "c"], 3), pool.classes, pool.cache, pool.cache
    )
    assert twins.select(np.arange(9)).groups.tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2]


def test_a_pool_that_nobody_uses_is_let_go(tmp_path):
    import weakref

    pool = make_pool(tmp_path / "few", n_images=3)
    images, known = pool.select(np.arange(3)), weakref.ref(pool)
    del pool
    gc.collect()
    assert known() is pool_behind(images)
    del images
    gc.collect()
    assert known() is None
