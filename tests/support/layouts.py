"""Layouts in which competitions hand out images: file names, tables and samples of every kind, the pictures drawn.

A picture is a plain colour with noise, one colour per class, so that any model tells the classes apart. Each function
lays one kind out below a folder and returns what a person would read on the competition's page.
"""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((200, 40, 40), (40, 180, 40), (50, 60, 210), (210, 200, 60))
N_LABELED, N_TEST = 8, 4  # images of each class
SIDE = 12


@dataclass
class Page:
    """Hold what a competition's page and its hidden solution say; `truth` has the sample's ids, in its order."""

    classes: Sequence[str]
    truth: dict[str, str]
    metric: str = "accuracy"
    task: str = "multiclass"
    positive: str | None = None
    group: str | None = None
    words: Sequence[str] = ()
    n_labeled: int = 0
    sample: str | None = "sample_submission.csv"
    header: Sequence[str] = field(default=())


LAYOUTS: list[Callable[[Path], Page]] = []


def layout(function: Callable[[Path], Page]) -> Callable[[Path], Page]:
    """Add a layout to those that are tested."""
    LAYOUTS.append(function)
    return function


def draw(code: int, seed: int, grey: bool = False) -> np.ndarray:
    """Return a picture of a class."""
    noise = np.random.default_rng(seed).normal(0, 30, (SIDE, SIDE, 3))
    picture = np.clip(np.array(COLOURS[code]) + noise, 0, 255).astype(np.uint8)
    return np.full((SIDE, SIDE), 40 + 60 * code, np.uint8) + (picture[..., 0] % 20) if grey else picture


def put(path: Path, code: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(code, seed)).save(path)


def tabulate(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def pack(folder: Path) -> None:
    """Put a folder into a zip archive of its name."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)


def cases(n_classes: int, n: int, first: int = 0) -> list[tuple[int, int]]:
    """Return (number, class code) of n images of each class, in mixed order."""
    return [(first + i, (i * 7 + i // n_classes) % n_classes if n_classes == 4 else i % n_classes)
            for i in range(n * n_classes)]  # fmt: skip


@layout
def codes_named_by_json(root: Path) -> Page:
    names = ["leaf rust", "mosaic virus", "healthy bean"]
    rows = [(f"{n * 977 + 10_000}.jpg", k) for n, k in cases(3, N_LABELED)]
    for n, (name, k) in enumerate(rows):
        put(root / "train_pictures" / name, k, n)
    tests = {f"{n * 977 + 10_000}.jpg": k for n, k in cases(3, N_TEST, 500)}
    for n, (name, k) in enumerate(tests.items()):
        put(root / "test_pictures" / name, k, 500 + n)
    tabulate(root / "train.csv", ["image_id", "label"], rows)
    tabulate(root / "sample_submission.csv", ["image_id", "label"], [(name, 2) for name in tests])
    (root / "codes_to_names.json").write_text(json.dumps({str(k): name for k, name in enumerate(names)}))
    (root / "train_records").mkdir()
    (root / "train_records" / "part00.tfrec").write_bytes(bytes(64))
    return Page("012", {name: str(k) for name, k in tests.items()}, words=names, n_labeled=len(rows))


@layout
def columns_of_one_label_each(root: Path) -> Page:
    classes, rows, tests = ["clean", "dusty", "torn"], [], {}
    for n, k in cases(3, N_LABELED):
        put(root / "photos" / f"Known_{n}.jpg", k, n)
        rows.append((f"Known_{n}", *(float(k == j) for j in range(4))))
    for n, k in cases(3, N_TEST):
        put(root / "photos" / f"Hidden_{n}.jpg", k, 700 + n)
        tests[f"Hidden_{n}"] = classes[k]
    columns = ["photo_id", *classes, "unknown"]  # the last is 0 in every row
    tabulate(root / "train.csv", columns, rows)
    tabulate(root / "test.csv", ["photo_id"], [(name,) for name in tests])
    tabulate(root / "sample_submission.csv", columns, [(name, *[0.25] * 4) for name in tests])
    return Page(classes, tests, metric="log_loss", n_labeled=len(rows))


@layout
def tags_in_a_cell(root: Path) -> Page:
    classes, rows, tests = ["clear", "forest", "water"], [], {}

    def tags(n: int, k: int) -> str:
        return " ".join(sorted({classes[k], *(["water"] if n % 5 == 0 else [])}))

    for n, k in cases(3, N_LABELED):
        put(root / "train-png" / f"train_{n}.png", k, n)
        rows.append((f"train_{n}", tags(n, k)))
    for n, k in cases(3, N_TEST):
        put(root / "test-png" / f"test_{n}.png", k, 300 + n)
        tests[f"test_{n}"] = tags(n, k)
    tabulate(root / "train_v3.csv", ["chip", "tags"], rows)
    tabulate(root / "sample_submission_v3.csv", ["chip", "tags"], [(name, "clear forest water") for name in tests])
    return Page(classes, tests, "samples_f2", "multilabel", n_labeled=len(rows), sample="sample_submission_v3.csv")


@layout
def names_that_begin_with_the_class(root: Path) -> Page:
    seen, tests = [0, 0], {}
    for n, k in cases(2, N_LABELED):
        put(root / "train" / f"{['hare', 'toad'][k]}.{seen[k]}.jpg", k, n)
        seen[k] += 1
    for n, k in cases(2, N_TEST, 1):
        put(root / "test" / f"{n}.jpg", k, 100 + n)
        tests[str(n)] = ["hare", "toad"][k]
    pack(root / "train")
    pack(root / "test")
    tabulate(root / "sample_submission.csv", ["id", "label"], [(name, 0.5) for name in tests])
    return Page(["hare", "toad"], tests, "log_loss", positive="hare", n_labeled=sum(seen))


@layout
def one_number_of_two_classes(root: Path) -> Page:
    rows, tests = [], {}
    for n, k in cases(2, N_LABELED):
        put(root / "train" / "train" / f"a{n:03d}.tif", k, n)
        rows.append((f"a{n:03d}", k, f"P{n // 2}", ["no", "yes"][k], 40 + n % 3))
    for n, k in cases(2, N_TEST):
        put(root / "test" / "test" / f"b{n:03d}.tif", k, 100 + n)
        tests[f"b{n:03d}"] = str(k)
    tabulate(root / "train_labels.csv", ["id", "is_sick", "patient_id", "verdict", "age"], rows)
    tabulate(root / "sample_submission.csv", ["id", "is_sick"], [(name, 0) for name in tests])
    return Page("01", tests, "roc_auc", group="patient_id", n_labeled=len(rows))


@layout
def seven_zip_and_numbers(root: Path) -> Page:
    import py7zr

    classes, rows, tests = ["boat", "plane", "truck"], [], {}
    for n, k in cases(3, N_LABELED, 1):
        put(root / "train" / f"{n}.png", k, n)
        rows.append((n, classes[k]))
    for n, k in cases(3, N_TEST, 1):
        put(root / "test" / f"{n}.png", k, 400 + n)
        tests[str(n)] = classes[k]
    for part in ("train", "test"):
        with py7zr.SevenZipFile(root / f"{part}.7z", "w") as archive:
            archive.writeall(root / part, part)
        shutil.rmtree(root / part)
    tabulate(root / "trainLabels.csv", ["id", "label"], rows)
    tabulate(root / "sampleSubmission.csv", ["id", "label"], [(name, "boat") for name in tests])
    return Page(classes, tests, n_labeled=len(rows), sample="sampleSubmission.csv")


@layout
def folders_beside_a_list_of_people(root: Path) -> Page:
    classes, rows, tests = ["c0", "c1", "c2"], [], {}
    for n, k in cases(3, N_LABELED):
        put(root / "imgs" / "train" / classes[k] / f"img_{n}.jpg", k, n)
        rows.append((f"d{n // 3 % 5}", classes[k], f"img_{n}.jpg"))
    for n, k in cases(3, N_TEST, 900):
        put(root / "imgs" / "test" / f"img_{n}.jpg", k, n)
        tests[f"img_{n}.jpg"] = classes[k]
    tabulate(root / "people.csv", ["subject", "classname", "img"], rows)
    tabulate(root / "sample_submission.csv", ["img", *classes], [(name, *[0.3] * 3) for name in tests])
    return Page(classes, tests, "log_loss", group="subject", n_labeled=len(rows))


@layout
def guesses_of_individuals(root: Path) -> Page:
    classes, rows, tests = ["f_03a", "f_7b1", "new_fin"], [], {}
    for n, k in cases(3, N_LABELED):
        put(root / "train_images" / f"x{n}.jpg", k, n)
        rows.append((f"x{n}.jpg", ["orca", "beluga"][n % 2], classes[k]))
    put(root / "train_images" / "once.jpg", 3, 99)
    rows.append(("once.jpg", "orca", "f_seen_once"))
    for n, k in cases(3, N_TEST):
        put(root / "test_images" / f"y{n}.jpg", k, 200 + n)
        tests[f"y{n}.jpg"] = classes[k]
    tabulate(root / "train.csv", ["image", "species", "individual_id"], rows)
    tabulate(root / "sample_submission.csv", ["image", "predictions"], [(name, " ".join(classes)) for name in tests])
    return Page([*classes, "f_seen_once"], tests, "map@3", n_labeled=len(rows))


@layout
def pixels_in_rows(root: Path) -> Page:
    pixels = [f"pixel{i}" for i in range(SIDE * SIDE)]
    known, hidden = cases(3, N_LABELED), cases(3, N_TEST, 1)
    tabulate(root / "train.csv", ["label", *pixels], [(k, *draw(k, n, True).ravel()) for n, k in known])
    tabulate(root / "test.csv", pixels, [draw(k, 50 + n, True).ravel() for n, k in hidden])
    tabulate(root / "sample_submission.csv", ["ImageId", "Label"], [(n, 0) for n, _ in hidden])
    return Page("012", {str(n): str(k) for n, k in hidden}, n_labeled=len(known))


@layout
def images_and_annotations(root: Path) -> Page:
    words, images, notes, hidden, tests = ["Acer rubrum", "Salix alba", "Tilia cordata"], [], [], [], {}
    for n, k in cases(3, N_LABELED):
        file = f"00{n % 2}/{n % 3:02d}/sheet_{n}.jpg"
        put(root / "train_images" / file, k, n)
        images.append({"image_id": f"s{n}", "file_name": file, "license": 1})
        notes.append({"image_id": f"s{n}", "category_id": 10 + k, "institution_id": n % 2})
    for n, k in cases(3, N_TEST):
        put(root / "test_images" / "000" / f"unknown-{n:04d}.jpg", k, 600 + n)
        hidden.append({"image_id": str(n), "file_name": f"000/unknown-{n:04d}.jpg"})
        tests[str(n)] = str(10 + k)
    categories = [{"category_id": 10 + k, "scientificName": word} for k, word in enumerate(words)]
    document = {"images": images, "annotations": notes, "categories": categories}
    (root / "train_metadata.json").write_text(json.dumps(document))
    (root / "test_metadata.json").write_text(json.dumps(hidden))
    tabulate(root / "sample_submission.csv", ["Id", "Predicted"], [(name, 42) for name in tests])
    return Page(["10", "11", "12"], tests, "macro_f1", words=words, n_labeled=len(images))


@layout
def image_folders_inside_class_folders(root: Path) -> Page:
    classes, words, tests = ["n0101", "n0202", "n0303"], ["goldfish, a carp", "tree frog", "king penguin"], {}
    for n, k in cases(3, N_LABELED):
        put(root / "train" / classes[k] / "images" / f"{classes[k]}_{n}.JPEG", k, n)
    for n, k in cases(3, N_TEST):
        put(root / "test_final" / "images" / f"t_{n}.JPEG", k, 800 + n)
        tests[f"t_{n}"] = classes[k]
    for n, k in cases(3, 1):
        put(root / "val" / "images" / f"v_{n}.JPEG", k, 880 + n)
    lines = [f"{code}\t{word}" for code, word in zip([*classes, "n9999"], [*words, "not among them"], strict=True)]
    (root / "words.txt").write_text("\n".join(lines))
    return Page(classes, tests, words=words, n_labeled=3 * N_LABELED, sample=None, header=["id", "label"])


@layout
def images_in_parts_with_codes_named_by_a_table(root: Path) -> Page:
    codes, rows, tests = ["13", "26", "78"], [], {}

    def marks(n: int, k: int) -> str:
        return "|".join(sorted({codes[k], *(["78"] if n % 6 == 0 else [])}))

    for n, k in cases(3, N_LABELED):
        put(root / f"scans_part_{1 + n % 2}" / f"S_{n:04d}.png", k, n)
        rows.append((f"L{n // 2}", f"S_{n:04d}.png", marks(n, k), 30 + n % 4))
    for n, k in cases(3, N_TEST):
        put(root / "Test_Input" / f"T_{n:04d}.png", k, 900 + n)
        tests[f"T_{n:04d}.png"] = marks(n, k)
    tabulate(root / "Entries.csv", ["lesion_id", "Scan Index", "Finding Labels", "Age"], rows)
    tabulate(root / "labels.csv", ["code", "name"], [("13", "nodule"), ("26", "effusion"), ("78", "cyst")])
    tabulate(root / "sample_submission.csv", ["Scan Index", "Finding Labels"], [(name, "13 26") for name in tests])
    return Page(codes, tests, "samples_f1", "multilabel", group="lesion_id", n_labeled=len(rows))
