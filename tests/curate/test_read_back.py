"""A new competition is read at once as `check` reads it: what that refuses, `new` says in the same words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import flat
from support.folders import touch, write, zip_files
from support.kaggle_site import SLUG, point_at


@pytest.fixture
def kit(tmp_path, run_command):
    """Return a function that runs one command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code, out, err = run_command(tmp_path / "workspace", *arguments)
        return code, out, flat(err)

    return call


def two_files(root: Path) -> None:
    touch(root, *(f"images/{i}.jpg" for i in range(1, 6)), "images/5.png")
    write(root / "train.csv", "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n5,dog\n")


def empty_class(root: Path) -> None:
    touch(root, "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "train/dog/4.jpg")
    (root / "train" / "bird").mkdir()


def single_image(root: Path) -> None:
    touch(root, "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg")


FAULTS = {
    two_files: ["train.csv: row 6: id '5' fits 5.jpg, 5.png of"],
    empty_class: ["class folder 'bird' of", "holds no images"],
    single_image: ["class 'dog' has one image"],
}


@pytest.mark.parametrize("lay_out", FAULTS, ids=lambda layout: layout.__name__)
def test_what_check_refuses_new_says_at_once_with_the_remedy(kit, tmp_path, lay_out):
    lay_out(tmp_path / "data")
    code, out, err = kit("new", "pets", "--data", str(tmp_path / "data"))
    file = tmp_path / "workspace" / "competitions" / "pets" / "competition.toml"
    assert (code, out) == (2, "") and all(words in err for words in FAULTS[lay_out])
    assert f"put that right there or in {file}, which is written; then ./run.sh check pets" in err and file.exists()
    code, _, again = kit("check", "pets")
    refusal = again.partition("error ")[2]
    assert code == 2 and refusal and refusal in err, "the same words"


def test_after_the_fault_is_mended_the_same_call_holds(kit, tmp_path):
    two_files(tmp_path / "data")
    arguments = ["new", "pets", "--data", str(tmp_path / "data"), "--json"]
    assert kit(*arguments)[0] == 2
    images = tmp_path / "data" / "images"
    (images / "5.png").rename(images / "6.png")
    code, out, err = kit(*arguments)
    assert code == 0 and json.loads(out)["competition"] == "pets" and "./run.sh all pets" in err


def test_archives_are_unpacked_where_check_looks_for_them(kit, tmp_path):
    zip_files(tmp_path / "data" / "train.zip", ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg"])
    assert kit("new", "pets", "--data", str(tmp_path / "data"))[0] == 0
    files = (tmp_path / "workspace" / "runs" / "pets" / "unpacked").rglob("*.jpg")
    assert len(list(files)) == 4
    zip_files(tmp_path / "other" / "train.zip", ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"])
    code, _, err = kit("new", "others", "--data", str(tmp_path / "other"))
    assert code == 2 and "class 'dog' has one image" in err


def test_a_downloaded_competition_is_read_at_once_too(kit, kaggle, kaggle_home, monkeypatch):
    rows = "".join(f"{i},{'cat' if i % 2 else 'dog'}\n" for i in range(6))
    images = {f"images/{i}.jpg": b"" for i in range(6)} | {"images/5.png": b""}
    kaggle.pack(images | {"train.csv": f"id,label\n{rows}".encode()})
    point_at(kaggle, monkeypatch, kaggle_home)
    code, _, err = kit("download", SLUG)
    assert code == 2 and "row 7: id '5' fits 5.jpg, 5.png" in err and f"./run.sh check {SLUG}" in err


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            "log_loss",
            "sample_submission.csv: metric 'log_loss' needs probabilities, and the sample has room for labels",
        ),
        ("roc_auc", "metric 'roc_auc' is of two classes, and here are 3"),
    ],
)
def test_a_metric_that_the_sample_cannot_serve_is_refused_at_once(kit, tmp_path, metric, message):
    root = tmp_path / "data"
    touch(root, *(f"train/{name}/{name}{n}.jpg" for name in ("cat", "cow", "dog") for n in range(2)), "test/1.jpg")
    write(root / "sample_submission.csv", "id,label\n1,cat\n")
    code, _, err = kit("new", "pets", "--data", str(root), "--metric", metric)
    assert code == 2 and message in err
