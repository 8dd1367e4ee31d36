"""Weights in a folder: a configuration or header decides; else all ways to read them are candidates, never one."""

from __future__ import annotations

import json
import shutil

import pytest
import timm
from safetensors.torch import load_file, save_file
from support.clips import make_clip

from kit.core.errors import InputError
from kit.curate.plan.folder import HALF, IMAGENET, find_in_folder, pip_fingerprints
from kit.features.encoders import load_encoder, preprocessing_of
from kit.features.weights import locate_weights, parse_encoder

TINY = "test_efficientnet"  # of timm, 0.4 million weights


def save_network(path, name=TINY, header=None, seed=0):
    import torch

    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(timm.create_model(name).state_dict(), path, header)
    return path


def single(folder):
    found, refused = find_in_folder(folder)
    assert len(found) == 1 and refused == []
    return found[0]


def spec_of(candidate):
    return parse_encoder(candidate.encoder, candidate.encoder_args)


def test_a_configuration_beside_the_file_decides(tmp_path):
    path = save_network(tmp_path / "x" / "model.safetensors")
    published = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "input_size": [3, 96, 96], "crop_pct": 0.9}
    config = {"architecture": TINY, "pretrained_cfg": published | {"interpolation": "bilinear", "url": "ignored"}}
    path.with_name("config.json").write_text(json.dumps(config))
    found = single(tmp_path)
    assert (found.decided_by, len(found.candidates)) == ("config.json", 1)
    preprocessing = load_encoder(spec_of(found.candidates[0])).preprocessing
    assert preprocessing.mean == (0.1, 0.2, 0.3) and preprocessing.std == (0.5, 0.5, 0.5)
    assert (preprocessing.geometry.height, preprocessing.geometry.interpolation) == (96, "bilinear")


def test_what_timm_does_anyway_is_not_written(tmp_path):
    path = save_network(tmp_path / "model.safetensors")
    ours = timm.get_pretrained_cfg(TINY).to_dict()
    path.with_name("config.json").write_text(json.dumps({"architecture": TINY, "pretrained_cfg": ours}))
    assert single(tmp_path).candidates[0].encoder_args == {}


def test_the_header_of_a_file_decides(tmp_path):
    header = {"architecture": TINY, "pretrained_cfg": json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1]})}
    found = single(save_network(tmp_path / "any.safetensors", header=header).parent)
    assert found.decided_by == "the file's header"
    assert preprocessing_of(spec_of(found.candidates[0])).std == (1, 1, 1)


def test_a_configuration_of_another_network_is_refused(tmp_path):
    path = save_network(tmp_path / "model.safetensors")
    path.with_name("config.json").write_text('{"architecture": "test_resnet"}')
    found, refused = find_in_folder(tmp_path)
    assert found == [] and "its tensors are not those of test_resnet, which config.json names" in refused[0]


@pytest.mark.parametrize("place", [f"{TINY}/model.safetensors", f"{TINY}.r160_in1k.safetensors"])
def test_without_either_padding_and_normalisation_are_candidates(tmp_path, place):
    found = single(save_network(tmp_path / place).parent)
    ways = [(c.encoder_args.get("pad_type"), preprocessing_of(spec_of(c)).mean) for c in found.candidates]
    assert found.decided_by == "tensors"
    assert set(ways) >= {(pad, tuple(norm["mean"])) for pad in (None, "same") for norm in (HALF, IMAGENET)}
    assert len(set(ways)) == len(ways)
    for candidate in found.candidates:
        load_encoder(spec_of(candidate))  # a strict load proves nothing: all of them do


def test_networks_of_equal_tensors_are_all_candidates(tmp_path):
    pip = parse_encoder("timm:tf_efficientnet_lite0@pip")
    (tmp_path / "efficientnet_lite0").mkdir()
    shutil.copy(locate_weights(pip), tmp_path / "efficientnet_lite0" / "model.safetensors")
    names = {spec_of(candidate).name for candidate in single(tmp_path).candidates}
    assert names == {"efficientnet_lite0", "tf_efficientnet_lite0"}


def test_what_pip_brings_is_not_taken_twice(tmp_path):
    shutil.copy(locate_weights(parse_encoder("timm:tf_efficientnet_lite0@pip")), tmp_path / "model.safetensors")
    found, refused = find_in_folder(tmp_path, pip_fingerprints())
    assert found == [] and "the same weights as timm:tf_efficientnet_lite0@pip, which is taken" in refused[0]


def test_a_local_dir_is_a_clip(tmp_path):
    text = make_clip(tmp_path / "my-clip")
    found = single(tmp_path)
    assert (found.name, found.candidates[0].encoder) == ("my_clip", text)


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(tmp_path):
    blob = save_network(tmp_path / "models--timm--x" / "blobs" / "abc.safetensors").rename(
        tmp_path / "models--timm--x" / "blobs" / "abc"
    )
    snapshot = tmp_path / "models--timm--x" / "snapshots" / "def"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    (snapshot / "config.json").write_text(json.dumps({"architecture": TINY}))
    load_encoder(spec_of(single(tmp_path).candidates[0]))


def test_a_copy_counts_once_and_equal_names_are_numbered(tmp_path):
    first = save_network(tmp_path / "a" / TINY / "model.safetensors")
    save_network(tmp_path / "b" / TINY / "model.safetensors", seed=1)
    shutil.copy(first, tmp_path / f"{TINY}.safetensors")
    found, refused = find_in_folder(tmp_path)
    assert [each.name for each in found] == [TINY, f"{TINY}_2"]
    assert len(refused) == 1 and "the same weights as" in refused[0]


def test_what_is_no_encoder_is_said_with_the_remedy(tmp_path):
    import torch

    save_file({"x": torch.zeros(3)}, tmp_path / "odd.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12345678 no header")
    (tmp_path / "old.pth").write_bytes(b"")
    found, refused = find_in_folder(tmp_path)
    assert found == [] and len(refused) == 3
    assert "cut.safetensors: not a whole safetensors file" in refused[0]
    assert "odd.safetensors: no network that the kit knows has its tensors; put timm's config.json" in refused[1]
    assert "old.pth: a pickle can run code, so it is not loaded; convert it" in refused[2]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        find_in_folder(tmp_path / "none")


def test_half_precision_weights_are_compared_too(tmp_path):
    path = save_network(tmp_path / TINY / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    assert len(find_in_folder(tmp_path)[0]) == 1
