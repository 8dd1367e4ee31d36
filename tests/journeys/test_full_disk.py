"""A full disk, more of it: locks need no space, and what a library says of it comes out as one message."""

from __future__ import annotations

import numpy as np
import pytest
from support.full_disk import no_file_above
from support.toys import DIAL

from kit.core.errors import InputError
from kit.core.tensors import write_tensors
from kit.data.prepared import prepare
from kit.runs.fit.crossval import crossval
from kit.runs.tuning import tune
from kit.runs.tuning.database import opened


def test_arrays_that_do_not_fit_are_an_error_of_the_system_and_leave_nothing(tmp_path):
    with no_file_above(1000), pytest.raises(OSError, match="too large"):
        write_tensors(tmp_path / "a.safetensors", {"a": np.zeros(1000)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_bytes", [0, 5000, 60_000])
def test_a_search_that_cannot_be_begun_is_one_message(tmp_path, n_bytes):
    file = tmp_path / "study.db"
    with (
        no_file_above(n_bytes),
        pytest.raises(
            RuntimeError, match=rf"^{file}: disk I/O error; what was written before is whole, free some space"
        ),
        opened(file, 1),
    ):
        pass
    with opened(file, 1) as study:
        assert study.get_trials() == []


@pytest.mark.usefixtures("toys")
def test_a_search_that_cannot_go_on_is_one_message_and_loses_no_trial(colours):
    prepared = prepare(colours(DIAL, ('competition.metric="log_loss"',)))
    first = tune(prepared, "dialled", 2).trials
    (file,) = prepared.competition.workspace.runs("colours").rglob("study.db")
    with no_file_above(20_000), pytest.raises(RuntimeError, match="disk I/O error; what was written before is whole"):
        tune(prepared, "dialled", 4)
    again = tune(prepared, "dialled", 4).trials
    assert again[:2] == first and [trial.state for trial in again] == ["complete"] * 4
    with no_file_above(0), pytest.raises(InputError), opened(file, 1):
        raise InputError("what is raised inside is left as it is")


def test_a_checkpoint_that_does_not_fit_is_an_error_of_the_system(colours):
    prepared = prepare(colours('[runs.net]\nmodel = "small_cnn"\nimage_size = 16\nchannels = [64, 64]\nepochs = 1\n'))
    with no_file_above(100_000), pytest.raises(OSError, match="too large"):
        crossval(prepared, "net")
