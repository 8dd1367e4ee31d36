"""Weights: the notation, what is missing, what does not fit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from support.clips import FILE, VIT, make_clip

from kit.config.competition import HOME
from kit.core.errors import InputError, MissingWeights
from kit.features.encoders import load_encoder
from kit.features.encoders.timm_network import load_timm
from kit.features.weights import find_weights, parse_encoder

DIGITS = HOME / "digits"


@pytest.mark.parametrize(
    ("text", "library", "name", "tag"),
    [
        ("open_clip:ViT-B-16/openai", "open_clip", "ViT-B-16", "openai"),
        ("open_clip:ViT-B-16-quickgelu/metaclip_400m", "open_clip", "ViT-B-16-quickgelu", "metaclip_400m"),
        ("timm:tf_efficientnetv2_s.in21k_ft_in1k", "timm", *["tf_efficientnetv2_s.in21k_ft_in1k"] * 2),
    ],
)
def test_the_notation_is_read(text, library, name, tag):
    spec = parse_encoder(text)
    assert (spec.library, spec.name, spec.tag, spec.file) == (library, name, tag, None)


def test_a_local_dir_is_looked_up_beside_the_competition():
    assert parse_encoder("open_clip:local-dir:tiny-clip", {}, (DIGITS,)).file == (DIGITS / "tiny-clip").resolve()


def test_a_file_keeps_the_name_whose_preprocessing_it_needs(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    spec = parse_encoder("open_clip:ViT-B-16/openai@w.safetensors", {}, (tmp_path,))
    assert (spec.name, spec.tag, spec.file.name) == ("ViT-B-16", "openai", "w.safetensors")


@pytest.mark.parametrize("text", ["resnet18", "torch:resnet18", "timm:", "open_clip:ViT-B-16"])
def test_other_notations_are_refused_with_an_example(text):
    with pytest.raises(InputError, match="open_clip:"):
        parse_encoder(text)


def test_a_missing_file_names_the_places_looked_at(tmp_path):
    with pytest.raises(MissingWeights, match=rf"no such file; looked for {tmp_path}/no\.safetensors"):
        parse_encoder("timm:resnet18@no.safetensors", {}, (tmp_path,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:resnet_18", "timm knows no such network; did you mean 'resnet"),
        ("open_clip:ViT-B-16/openia", "did you mean 'ViT-B-16/openai'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(text, message):
    pytest.importorskip(text.partition(":")[0])
    with pytest.raises(InputError, match=message):
        find_weights(parse_encoder(text))


@pytest.mark.parametrize("text", ["timm:resnet18.a1_in1k", "open_clip:ViT-B-32/openai"])
def test_without_the_hub_the_file_to_fetch_is_named(text, tmp_path, monkeypatch):
    pytest.importorskip(text.partition(":")[0])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=rf"fetch \S+\.safetensors of timm/\S+ .*{text}@PATH"):
        find_weights(parse_encoder(text))


@pytest.mark.parametrize("text", ["timm:resnet18.a1_in1k", "open_clip:ViT-B-32/openai"])
def test_without_the_hub_its_cache_and_the_command_that_fills_it_are_named(text, tmp_path, monkeypatch):
    pytest.importorskip(text.partition(":")[0])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=rf"{tmp_path} with: hf download timm/\S+ \S+\.safetensors"):
        find_weights(parse_encoder(text))


def test_weights_that_are_only_at_an_address_are_named_with_their_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    message = rf"fetch https://\S+/(\S+\.pth) elsewhere and put it at {tmp_path}/hub/checkpoints/\1"
    with pytest.raises(MissingWeights, match=message):
        find_weights(parse_encoder("timm:gcvit_tiny.in1k"))


def test_a_repository_of_the_hub_is_named_with_the_two_files_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = (
        r"fetch open_clip_config\.json and open_clip_model\.safetensors of owner/clip .*open_clip:local-dir:FOLDER"
    )
    with pytest.raises(MissingWeights, match=message):
        load_encoder(parse_encoder("open_clip:hf-hub:owner/clip"))


def test_a_repository_in_the_hubs_cache_loads_as_the_folder_does(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--owner--clip" / "snapshots" / "abc"
    text = make_clip(snapshot)
    (tmp_path / "models--owner--clip" / "refs").mkdir()
    (tmp_path / "models--owner--clip" / "refs" / "main").write_text("abc")
    for name in ("constants.HF_HUB_CACHE", "file_download.HF_HUB_CACHE"):
        monkeypatch.setattr(f"huggingface_hub.{name}", str(tmp_path), raising=False)
    args = {"force_preprocess_cfg": {"resize_mode": "squash"}}
    local, cached = (load_encoder(parse_encoder(name, args)) for name in (text, "open_clip:hf-hub:owner/clip"))
    assert local.preprocessing == cached.preprocessing
    assert (local.encode_text(["a"]) == cached.encode_text(["a"])).all()


def test_an_unknown_tag_is_refused_with_a_file_too(tmp_path):
    """Its preprocessing and activation would be a guess."""
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="did you mean 'ViT-B-16/openai'"):
        load_encoder(parse_encoder("open_clip:ViT-B-16/openia@w.safetensors", {}, (tmp_path,)))


def test_a_clip_whose_image_tower_does_not_fit_is_refused_by_name(tmp_path):
    text = make_clip(tmp_path / "clip")
    make_clip(tmp_path / "other", {**VIT, "width": 48})
    (tmp_path / "other" / FILE).replace(tmp_path / "clip" / FILE)
    message = r"weights of another architecture than .*visual\.class_embedding has shape \(48,\), not \(32,\)"
    with pytest.raises(InputError, match=message):
        load_encoder(parse_encoder(text))


def test_a_local_dir_without_safetensors_is_told_what_to_do(tmp_path):
    pytest.importorskip("open_clip")
    text = make_clip(tmp_path, weights=False)
    with pytest.raises(MissingWeights, match=r"open_clip_model\.safetensors is missing; a local-dir is"):
        find_weights(parse_encoder(text))
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MissingWeights, match=r"convert open_clip_pytorch_model\.bin: pickles are not loaded"):
        find_weights(parse_encoder(text))


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    save_file({"a": torch.zeros(1000)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"w\.safetensors: not a whole safetensors file .*cut off"):
        load_encoder(parse_encoder("timm:resnet18@w.safetensors", {}, (tmp_path,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:resnet18@folder", "folder is a folder; name the .safetensors file in it$"),
        ("open_clip:ViT-B-32/openai@folder", "or write open_clip:local-dir:folder"),
        ("open_clip:local-dir:file", "file is a file; a local-dir is the folder it lies in"),
    ],
)
def test_files_and_folders_are_not_taken_for_each_other(text, message, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        parse_encoder(text, {}, (tmp_path,))


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    save_file({"conv1.weight": torch.zeros(1), "odd": torch.zeros(1)}, tmp_path / "w.safetensors")
    spec = parse_encoder("timm:resnet18@w.safetensors", {}, (tmp_path,))
    with pytest.raises(InputError, match=r"w\.safetensors: weights of another architecture than .*is missing"):
        load_encoder(spec)


def test_a_pickle_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    spec = parse_encoder("timm:resnet18@w.safetensors", {}, (tmp_path,))
    with pytest.raises(InputError, match="pickles are not loaded"):
        load_encoder(spec)


def test_other_bytes_are_another_identity(tmp_path):
    for value in (0, 1):
        save_file({"a": torch.full((1,), value)}, tmp_path / f"{value}.safetensors")
    first, second = (parse_encoder(f"timm:resnet18@{i}.safetensors", {}, (tmp_path,)).identity for i in (0, 1))
    assert first != second


def test_a_local_dir_without_its_configuration_is_named(tmp_path):
    with pytest.raises(InputError, match=r"open_clip_config\.json is missing"):
        load_encoder(parse_encoder(f"open_clip:local-dir:{tmp_path}"))
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_encoder(parse_encoder(f"open_clip:local-dir:{tmp_path}"))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"odd": 1}}))
    with pytest.raises(InputError, match="open_clip cannot build it"):
        load_encoder(parse_encoder(f"open_clip:local-dir:{tmp_path}"))


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    """The weights of a small network, drawn at random, with a head of seven classes."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def loaded(tensors: dict[str, torch.Tensor], folder) -> torch.nn.Module:
    save_file(tensors, folder / "w.safetensors")
    return load_timm(parse_encoder("timm:test_resnet@w.safetensors", {}, (folder,)), 0)


@pytest.mark.parametrize("beginning", ["", "module.", "model.", "module.model.", "_orig_mod.", "encoder.backbone."])
def test_names_may_begin_with_what_a_wrapper_puts_before_them(resnet, tmp_path, beginning):
    network = loaded({beginning + name: tensor for name, tensor in resnet.items()}, tmp_path)
    assert all(torch.equal(tensor, resnet[name]) for name, tensor in network.state_dict().items())


def test_the_counters_of_batch_normalisation_may_be_missing(resnet, tmp_path):
    without = {name: tensor for name, tensor in resnet.items() if not name.endswith("num_batches_tracked")}
    network, image = loaded(without, tmp_path).eval(), torch.rand(1, 3, 32, 32)
    assert len(without) < len(resnet)
    assert torch.equal(network(image), loaded(resnet, tmp_path).eval()(image))


@pytest.mark.parametrize("name", ["fc", "head", "classifier.1"])
def test_a_head_of_another_name_is_left_out_and_nothing_need_be_said(resnet, tmp_path, capsys, name):
    tensors = {key: tensor for key, tensor in resnet.items() if not key.startswith("fc.")}
    heads = {f"{name}.weight": torch.zeros(7, resnet["fc.weight"].shape[1]), f"{name}.bias": torch.zeros(7)}
    network = loaded(tensors | heads, tmp_path)
    assert capsys.readouterr().err == ""
    assert all(torch.equal(tensor, resnet[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(("n_classes", "is_told"), [(5, False), (7, True)])
def test_a_head_that_is_left_out_is_told_of_where_it_is_as_large_as_the_new_one(
    resnet, tmp_path, capsys, n_classes, is_told
):
    save_file(resnet, tmp_path / "w.safetensors")
    load_timm(parse_encoder("timm:test_resnet@w.safetensors", {}, (tmp_path,)), n_classes)
    assert ("its head of 7 classes" in capsys.readouterr().err) == is_told


def test_a_layer_that_is_missing_is_no_head(resnet, tmp_path):
    first = next(name for name in resnet if name.endswith("weight"))
    with pytest.raises(InputError, match=rf"another architecture than .*{first} is missing"):
        loaded({name: tensor for name, tensor in resnet.items() if name != first}, tmp_path)
