"""Several labels per image: read in every form that CSV files have, split, learned and kept apart from one label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from support.folders import competition_of, of, refusal, shown, touch, write

from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.curate.start import write_competition
from kit.curate.start.layout import infer_layout
from kit.curate.words import compare_prompts
from kit.data.audit import audit
from kit.data.folds import assign_label_set_folds, inner
from kit.data.prepared import Prepared, prepare
from kit.data.table import read_classes, read_table
from kit.data.table.labels import read_multi_hot
from kit.models.copies import draw
from kit.models.heads.logistic import fit_each
from kit.report.correlation import check_trains
from kit.runs.fit.crossval import crossval
from kit.runs.store.build import build_model
from kit.runs.store.imported import import_predictions
from kit.runs.verify import verify
from kit.scoring.predictions import Predictions, mean_predictions, read_predictions, write_predictions

LISTING = 'labeled = { csv = "train.csv", images = "images" }'


def competition(tmp_path: Path, text: str, *data: str, listing: str = LISTING) -> Competition:
    """Return a multilabel competition whose train.csv is `text`."""
    root = tmp_path / "data"
    touch(root, *(f"images/{name}.jpg" for name in "abcd"))
    write(root / "train.csv", text)
    made = competition_of(tmp_path, listing, *data)
    return made.model_copy(update={"facts": made.facts.model_copy(update={"task": "multilabel"})})


def labels(tmp_path: Path, text: str, *data: str, **listing: str) -> dict[str, str]:
    """Return the label cell of every image."""
    table = read_table(competition(tmp_path, text, *data, **listing))
    return dict(zip(table["id"], table["label"], strict=True))


def refused(tmp_path: Path, text: str, *data: str, **listing: str) -> str:
    with pytest.raises(InputError) as refusal:
        labels(tmp_path, text, *data, **listing)
    return str(refusal.value)


def with_keys(keys: str) -> str:
    """Return the listing with more keys; they need the task."""
    return f'labeled = {{ csv = "train.csv", images = "images", {keys} }}'


def set_task(tmp_path: Path, listing: str, runs: str = "") -> Competition:
    """Return a competition whose file says that it is multilabel."""
    facts = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n'
    write(tmp_path / "comp" / "competition.toml", f'{facts}[data]\nroot = "data"\n{listing}\n{runs}')
    return read_competition(str(tmp_path / "comp"), Workspace(tmp_path))


FORMS = {
    "rows": "id,label\na,x\nb,y\na,y\nc,\nd,x\n",
    "cell": "id,label\na,x;y\nb,y\nc,\nd,x\n",
    "columns": "id,x,y\na,1,1\nb,0,1\nc,0,0\nd,1.0,0.0\n",
    "tags": "image,tag1,tag2\na,y,x\nb,,y\nc,,\nd,x,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_out_and_says_the_same(tmp_path, form):
    assert labels(tmp_path, FORMS[form]) == {"a": "x|y", "b": "y", "c": "", "d": "x"}


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("rows", 'form = "rows"'),
        ("cell", 'separator = ";"'),
        ("columns", 'label = ["x", "y"]'),
        ("tags", 'id = "image", label = ["tag1", "tag2"], form = "tags"'),
    ],
)
def test_every_form_can_be_named(tmp_path, form, keys):
    touch(tmp_path / "data", *(f"images/{name}.jpg" for name in "abcd"))
    write(tmp_path / "data" / "train.csv", FORMS[form])
    table = read_table(set_task(tmp_path, with_keys(keys)))
    assert table["label"].tolist() == ["x|y", "y", "", "x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\na,x y\nb,y\n", "how 'x y' parts labels is in doubt"),
        ('id,label\na,x;y\nb,"y,x"\n', "how 'x;y' parts labels is in doubt"),
        ("id,label\na,\"['x', 'y']\"\nb,y\n", "is in doubt; write"),
        ("id,label\na,x;;y\nb,y\n", "row 2: an empty label in 'x;;y'"),
        ("id,x,y\na,1,2\nb,0,1\n", "which of the columns x, y hold labels is in doubt"),
        ("id,x,y,z\na,1,2,0\nb,0,1,1\n", "columns y hold other cells than 0 and 1"),
        ("id,label\na,x|y\na,z\n", "row 2: label 'x|y' holds '|'"),
        ("id,label\na,x\nb,x\n", "one class only, 'x'"),
        ("id,label\na,\nb,\n", "no image has a label"),
        ("id\na\nb\n", "no column but 'id'"),
    ],
)
def test_labels_in_doubt_are_refused(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_cell_that_is_no_switch_is_named(tmp_path):
    touch(tmp_path / "data", "images/a.jpg", "images/b.jpg")
    write(tmp_path / "data" / "train.csv", "id,x,y\na,1,0\nb,0,yes\n")
    with pytest.raises(InputError, match="row 3, column 'y': 'yes' is not 0 or 1"):
        read_table(set_task(tmp_path, with_keys('form = "columns"')))


def test_an_image_of_two_groups_is_refused(tmp_path):
    touch(tmp_path / "data", "images/a.jpg", "images/b.jpg")
    write(tmp_path / "data" / "train.csv", "id,label,who\na,x,1\nb,y,1\na,y,2\n")
    with pytest.raises(InputError, match="rows 2, 4: image 'a' is in several groups"):
        read_table(set_task(tmp_path, with_keys('label = "label", group = "who"')))


@pytest.mark.parametrize("keys", ['form = "rows"', 'separator = " "', 'label = ["x", "y"]'])
def test_keys_on_several_labels_need_the_task(tmp_path, keys):
    assert 'it needs task = "multilabel"' in refusal(tmp_path, with_keys(keys))


def test_pseudo_labels_and_mined_ones_are_refused(tmp_path):
    runs = '[runs.a]\nmodel = "forest"\n[runs.b]\nmodel = "forest"\npseudo = { teachers = ["a"] }\n'
    with pytest.raises(InputError, match=r"\[runs.b\] pseudo labels name one class per image"):
        set_task(tmp_path, LISTING, runs)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ('model = "svm"', "several labels can be had of forest"),
        ('model = "linear_probe"\nencoder = "given"\nprompts = "names"', "prompts: words choose one class"),
        ('model = "linear_probe"\nencoder = "given"\ntransduction = "transclip"', "neighbours speak by"),
        ('model = "fine_tune"\nencoder = "timm:x"\nsemi = "fixmatch"', 'semi = "fixmatch" names one class'),
        ('model = "fine_tune"\nencoder = "timm:x"\nprobe_first = true', "probe_first: the probe names one class"),
    ],
)
def test_what_names_one_class_is_refused_when_it_is_built(tmp_path, run, said):
    made = set_task(tmp_path, LISTING, f"[runs.r]\n{run}\n")
    with pytest.raises(InputError, match=said):
        build_model(made, made.run("r"))


def test_parents_are_labels_too(tmp_path):
    text = "id,label\na,Cans/Slim/Cranpom;No Yerb\nb,Cans/Slim\nc,No Yerb\nd,No Yerb\n"
    found = labels(tmp_path, text, 'hierarchy = "/"')
    assert found["a"] == "Cans|Cans/Slim|Cans/Slim/Cranpom|No Yerb" and found["b"] == "Cans|Cans/Slim"
    write(tmp_path / "data" / "tree.csv", "child,parent\nx,top\ny,top\n")
    found = labels(tmp_path, "id,label\na,x;y\nb,y\nc,x\nd,z\n", 'hierarchy = { csv = "tree.csv" }')
    assert found == {"a": "top|x|y", "b": "top|y", "c": "top|x", "d": "z"}


def test_a_path_with_an_empty_part_is_named_by_its_row(tmp_path):
    text = "id,label\na,Cans//Slim;x\nb,x\n"
    assert "train.csv: row 2: label 'Cans//Slim' has an empty part" in refused(tmp_path, text, 'hierarchy = "/"')


def test_a_class_of_one_image_is_said(tmp_path, capsys):
    labels(tmp_path, "id,label\na,x;y\nb,x\nc,x\n")
    assert "class 'y' has one image" in shown(capsys)


def test_predictions_keep_their_task(tmp_path):
    own = Predictions(["a", "b"], ("x", "y"), np.array([[0.9, 0.8], [0.1, 0.0]]), "multilabel")
    write_predictions(tmp_path / "p.parquet", own)
    read = read_predictions(tmp_path / "p.parquet")
    assert read.task == "multilabel" and read.at(["b"]).task == "multilabel"
    other = Predictions(["a", "b"], ("x", "y"), np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="tasks differ"):
        mean_predictions([own, other])
    with pytest.raises(ValueError, match=r"one of 'b' is 1\.5"):
        Predictions(["a", "b"], ("x", "y"), np.array([[0.9, 0.8], [0.1, 1.5]]), "multilabel")


def draw_label_sets(n_images: int = 200, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n_images, 4)) < [0.6, 0.3, 0.1, 0.05]).astype(np.int8)


def test_folds_spread_every_class_and_keep_groups_whole():
    hot, ids = draw_label_sets(), np.array([f"{i:03d}" for i in range(200)])
    groups = np.repeat(np.arange(100), 2)
    folds = assign_label_set_folds(ids, hot, groups, 5, seed=0)
    counts = np.stack([hot[folds == fold].sum(axis=0) for fold in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 3).all() and np.ptp(np.bincount(folds)) <= 8
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    shuffled = np.random.default_rng(1).permutation(200)
    again = assign_label_set_folds(ids[shuffled], hot[shuffled], groups[shuffled], 5, seed=0)
    assert (again == folds[shuffled]).all()


def test_a_hold_out_leaves_every_class_an_image():
    hot = draw_label_sets(60)
    kept, held_out = inner(hot, np.arange(60), seed=0)
    assert hot[kept].any(axis=0).all() and len(held_out) > 5


def test_each_class_is_scikit_learns_regression_and_an_absent_one_its_prior():
    hot, draws = draw_label_sets(), np.random.default_rng(0)
    features = hot + draws.normal(size=hot.shape)
    hot[:, 3] = 0
    coefficients, intercepts = fit_each(features, hot, np.ones(200), 1.0)
    regression = LogisticRegression(C=1.0, max_iter=2000).fit(features, hot[:, 1])
    assert coefficients[1] == pytest.approx(regression.coef_[0])
    assert not coefficients[3].any() and 1 / (1 + np.exp(-intercepts[3])) == pytest.approx(0.5 / 201)


COLOURS = {"warm/red": (220, 40, 40), "warm/yellow": (220, 220, 40), "cold/blue": (40, 40, 220)}
RUNS = """
[runs.forest]
model = "forest"
n_trees = 20
pixels = 8

[runs.bags]
model = "forest"
n_trees = 5
pixels = 8
bags = 2

[runs.probe]
model = "linear_probe"
encoder = "given"
smooth = "nested"
use_test_images = true

[runs.net]
model = "small_cnn"
image_size = 16
epochs = 3
patience = 2
channels = [8]
mixup = 0.2
"""


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Prepared:
    """Pictures of up to three coloured tiles, their labels paths."""
    workspace, draws = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    root, rows, given = workspace / "data" / "tiles", ["id,label"], []
    for split, n_images in (("train", 50), ("test", 10)):
        (root / split).mkdir(parents=True)
        for i in range(n_images):
            names = [name for name in COLOURS if draws.random() < 0.4]
            given.append([float(name in names) for name in COLOURS] + [1.0] + draws.normal(0, 0.3, 4).tolist())
            pixels = np.full((16, 16, 3), 128.0)
            for tile, name in zip(draws.permutation(4), names, strict=False):
                pixels[8 * (tile // 2) :, 8 * (tile % 2) :][:8, :8] = COLOURS[name]
            noisy = np.clip(pixels + draws.normal(0, 10, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / split / f"{split}{i:02d}.png")
            rows += [f"{split}{i:02d},{';'.join(names)}"] if split == "train" else []
    write(root / "train.csv", "\n".join(rows) + "\n")
    np.save(root / "given.npy", np.array(given, dtype=np.float32))
    facts = '[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[folds]\nn = 2\n'
    data = '[data]\nroot = "data/tiles"\nlabeled = { csv = "train.csv", images = "train" }\ntest = "test"\n'
    data += 'embeddings = "given.npy"\n'
    write(workspace / "competitions" / "tiles" / "competition.toml", facts + data + 'hierarchy = "/"\n' + RUNS)
    return prepare(read_competition("tiles", Workspace(workspace)))


def test_labels_become_zeros_and_ones_with_their_parents(tiles):
    assert tiles.classes == ("cold", "cold/blue", "warm", "warm/red", "warm/yellow")
    assert tiles.labels.dtype == np.int8 and tiles.labels.shape == (50, 5)
    assert tiles.hierarchy.parents.tolist() == [-1, 0, -1, 2, 2]
    assert (tiles.labels[:, 0] == tiles.labels[:, 1]).all()


def test_withheld_labels_are_unknown_in_every_column(tiles):
    held_out, training = tiles.held_out(0), tiles.training(0)
    assert (held_out.labels == -1).all() and held_out.labels.shape[1] == 5
    assert not held_out.is_known.any() and training.is_known.all()
    assert training.join(held_out).take(np.arange(3)).labels.shape == (3, 5)


@pytest.mark.parametrize("run", ["forest", "bags", "probe", "net"])
def test_a_run_learns_several_labels_and_verifies(tiles, run):
    result = crossval(tiles, run)
    oof = result.predictions("oof")
    assert oof.task == "multilabel" and tiles.hierarchy.is_consistent(oof.proba).all()
    assert verify(tiles, [result])
    if run in ("forest", "probe"):
        truth = tiles.labels[np.argsort(tiles.pool.ids[tiles.labeled])]
        assert ((oof.at(np.sort(oof.ids)).proba >= 0.5) == truth).mean() > 0.8


def test_the_fold_file_keeps_the_label_cell(tiles):
    file = tiles.competition.workspace.folds("tiles")
    rows = pd.read_csv(file, keep_default_na=False)
    assert list(rows.columns) == ["id", "label", "fold"]
    assert (read_multi_hot(rows["label"].tolist(), tiles.classes) == tiles.labels).all()
    again = prepare(tiles.competition)
    assert (again.folds == tiles.folds).all() and again.fold_key == tiles.fold_key


def test_check_counts_each_class(tiles):
    report = audit(tiles.competition, read_table(tiles.competition))
    counted = dict(zip(tiles.classes, tiles.labels.sum(axis=0).tolist(), strict=True))
    assert report.classes == counted | {"(no label)": int((~tiles.labels.any(axis=1)).sum())}


def test_a_draw_of_bags_loses_no_class(tiles):
    drawn = draw(tiles.training(0), seed=0)
    assert (drawn.labels.any(axis=0) == tiles.training(0).labels.any(axis=0)).all()
    assert drawn.weights.sum() == len(tiles.training(0))


def test_imported_predictions_are_made_consistent(tiles, tmp_path):
    draws = np.random.default_rng(0)
    for split, rows in (("oof", tiles.labeled), ("test", tiles.split("test"))):
        said = pd.DataFrame(draws.random((len(rows), 5)), columns=list(tiles.classes))
        said.insert(0, "id", tiles.pool.ids[rows])
        said.to_csv(tmp_path / f"{split}.csv", index=False)
    result = import_predictions(tiles, "elsewhere", tmp_path / "oof.csv", tmp_path / "test.csv")
    said = result.predictions("test")
    assert said.task == "multilabel" and tiles.hierarchy.is_consistent(said.proba).all()


def test_classes_of_cells_are_sorted(tmp_path):
    table = read_table(competition(tmp_path, FORMS["cell"]))
    assert read_classes(table, "multilabel") == ("x", "y") and len(of(table, "labeled")) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\na,x\nb,y\na,y\nc,x\n", {"form": "rows", "separator": None}),
        ("id,label\na,x;y\nb,y\nc,x\n", {"form": "cell", "separator": ";"}),
        ("id,tags\na,x y\nb,y\nc,x\n", {"form": "cell", "separator": " "}),
        ("id,x,y\na,1,1\nb,0,1\nc,1,0\n", {"form": "columns", "label": None}),
        ("image,tag1,tag2\na,x,y\nb,,y\nc,x,\n", {"form": "tags", "label": None}),
    ],
)
def test_a_new_competition_finds_several_labels(tmp_path, text, said):
    data = tmp_path / "data"
    touch(data, *(f"train/{name}.jpg" for name in "abc"))
    write(data / "train.csv", text)
    layout = infer_layout(data)
    found = layout.labeled.model_dump()
    assert layout.task == "multilabel" and layout.classes == ("x", "y")
    assert {key: found[key] for key in said} == said
    made = write_competition("sets", layout, tmp_path / "competitions")
    competition = read_competition("sets", Workspace(tmp_path))
    assert not (made / "prompts").exists() and read_classes(read_table(competition), "multilabel") == ("x", "y")
    assert all(build_model(competition, run) for run in competition.runs.values())


def test_a_new_competition_keeps_names_with_spaces_whole(tmp_path):
    touch(tmp_path, *(f"train/{name}.jpg" for name in "abcd"))
    write(tmp_path / "train.csv", "id,labels\na,red apple\nb,green apple\nc,red apple\nd,green apple\n")
    assert infer_layout(tmp_path).task == "multiclass"


def test_a_new_competition_finds_paths(tmp_path):
    touch(tmp_path / "data", *(f"train/{name}.jpg" for name in "abc"))
    write(tmp_path / "data" / "train.csv", "id,label\na,x/u;x/v\nb,x/v\nc,x/u\n")
    layout = infer_layout(tmp_path / "data")
    assert layout.hierarchy == "/"
    write_competition("paths", layout, tmp_path / "competitions")
    competition = read_competition("paths", Workspace(tmp_path))
    assert read_classes(read_table(competition), "multilabel") == ("x", "x/u", "x/v")


def test_what_takes_one_class_per_image_says_so(tiles):
    with pytest.raises(InputError, match=r"words are scored by the one class .* several labels"):
        compare_prompts(tiles)
    with pytest.raises(InputError, match="correlation measures between classes"):
        check_trains(tiles.competition, "net")
