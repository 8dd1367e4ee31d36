"""The bench of engines: a competition of the user's workspace is done again in other workspaces."""

from __future__ import annotations

import pytest

from kit.bench.engines import _read_again, bench_engines
from kit.core.errors import InputError
from kit.data.prepared import prepare


def test_a_competition_of_the_workspace_is_read_again_with_its_images(colours, tmp_path):
    competition = colours()
    (other := tmp_path / "other").mkdir()
    again = _read_again(competition, ("folds.n=2",), None)(other)
    assert (again.name, again.folds.n, again.workspace.root) == (competition.name, 2, other)
    assert len(prepare(again).labels) == len(prepare(competition).labels)
    assert not (other / "runs").is_symlink()


def test_without_a_cluster_the_bench_says_how_to_name_one(colours):
    with pytest.raises(InputError, match="bench engines colours --engine ray"):
        bench_engines(colours(), (), None, lambda prepared: None)
