"""Decoded images as tasks: ranges of a large pool, at the geometry that a model reads."""

from __future__ import annotations

from kit.config.competition import HOME
from kit.core.engine import Task, run_tasks
from kit.data.prepared import prepare
from kit.data.store import has_store, read_store
from kit.features.weights import spec_of
from kit.models.classic.svm import SVM
from kit.models.copies import Averaged
from kit.models.networks.clip_finetune import ClipFinetune
from kit.models.networks.fine_tune import FineTune
from kit.models.networks.small_cnn import SmallCNN
from kit.runs.fit import decoding
from kit.runs.fit.decoding import decode_tasks, find_geometry

TIMM = f"timm:tf_efficientnetv2_b0@{HOME}/digits/tiny-efficientnetv2.safetensors"
TINY = {"channel_multiplier": 0.5, "depth_multiplier": 0.34, "pretrained_cfg_overlay": {"input_size": [3, 32, 32]}}
CLIP = f"open_clip:local-dir:{HOME}/digits/tiny-clip"


def test_networks_read_the_store_at_the_geometry_that_is_decoded_for_them(colours):
    pool = prepare(colours()).pool
    cnn = SmallCNN(image_size=16, resize="pad")
    cnn._build(2)
    tuned = FineTune(encoder=TIMM, encoder_args=TINY, image_size=24, resize="squash")
    tuned._build(spec_of(pool, TIMM, TINY), 2, pretrained=False)
    for model in (cnn, tuned):
        assert find_geometry(model, pool) == model._preprocessing.geometry
        assert find_geometry(Averaged(lambda seed, model=model: model, [0, 1]), pool) == model._preprocessing.geometry


def test_a_clip_reads_what_its_makers_let_it_see_and_heads_read_no_pixels(colours):
    pool = prepare(colours()).pool
    assert find_geometry(ClipFinetune(encoder=CLIP), pool) is not None
    assert find_geometry(SVM(encoder=CLIP), pool) is None
    small = find_geometry(SVM(pixels=4), pool)
    assert small is not None and (small.height, small.resize) == (4, "squash")


def test_ranges_that_tasks_decode_are_the_store_of_one_process(colours, monkeypatch):
    monkeypatch.setattr(decoding, "RANGE", 256)
    prepared = prepare(colours())
    geometry = find_geometry(SVM(pixels=4), prepared.pool)
    assert geometry is not None
    monkeypatch.setattr(decoding, "RANGE", len(prepared.pool))
    assert decode_tasks(prepared, geometry) == []  # a small pool
    monkeypatch.setattr(decoding, "RANGE", 16)
    monkeypatch.setattr("kit.data.store.BLOCK", 8)
    tasks: list[Task] = decode_tasks(prepared, geometry)
    assert len(tasks) == -(-len(prepared.pool) // 16) > 1
    expected = read_store(prepared.pool, geometry)[:]
    (file,) = (prepared.pool.cache / "store").glob("*.npy")
    whole = file.read_bytes()
    file.unlink()
    for _ in run_tasks(tasks, prepared):
        assert not has_store(prepared.pool, geometry)
    assert (read_store(prepared.pool, geometry) == expected).all() and file.read_bytes() == whole
    assert decode_tasks(prepared, geometry) == []
