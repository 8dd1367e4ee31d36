"""Label spreading over a sample of a large pool."""

from __future__ import annotations

from kit.models.classic.label_spreading import LabelSpreading


def test_a_large_pool_is_sampled_for_label_spreading(prepared):
    model = LabelSpreading(pixels=4, n_neighbors=3, max_unlabeled=2)
    model.fit(prepared.training(0), prepared.unlabeled(0, False))
    assert model.spreading_.X_.shape[0] == len(prepared.training(0)) + 2
