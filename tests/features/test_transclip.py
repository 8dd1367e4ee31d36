"""The mixture that TransCLIP fits to features."""

from __future__ import annotations

import numpy as np
from support.clouds import clouds, split

from kit.features.neighbours import Graph
from kit.features.transclip import fit_mixture


def test_a_mixture_keeps_its_anchors_and_finds_the_clouds(tmp_path):
    pool, codes = clouds(tmp_path, n_labeled=6, n_unlabeled=300, spread=0.25)
    labeled, others = split(pool, codes)
    nodes = labeled.join(others)
    near = Graph(nodes, [("given", {})], 5)
    unit = pool.embeddings / np.linalg.norm(pool.embeddings, axis=1, keepdims=True)
    uniform = np.full((len(nodes), 3), 1 / 3)
    _, assigned = fit_mixture(unit, nodes.labels, np.ones(len(nodes)), uniform, near.attach(nodes), strength=1.0)
    assert np.array_equal(assigned[:6].argmax(axis=1), labeled.labels) and assigned[:6].max(axis=1).min() == 1
    assert (assigned.argmax(axis=1) == codes[nodes.rows]).mean() > 0.95
