"""Two classes, one probability per image: from the files to a CSV whose score is what the kit says."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as library
from support.folders import write

N_LABELED, N_TEST = 24, 30
SCORES = {
    "roc_auc": library.roc_auc_score,
    "average_precision": library.average_precision_score,
    "log_loss": library.log_loss,
    "brier": library.brier_score_loss,
}
RUNS = """
[folds]
n = 3
[runs.forest]
model = "forest"
pixels = 3
n_trees = 15
[runs.svm]
model = "svm"
pixels = 3
"""


def lay_out(workspace, metric: str, rest: str) -> dict[str, int]:
    """Write grey pictures, class 1 a little brighter; the sample holds zeros. Return the hidden labels."""
    root, draws, truth = workspace / "data/greys", np.random.default_rng(1), {}
    listed = ["id,target"]
    for split, n_images in (("train", N_LABELED), ("test", N_TEST)):
        (root / split).mkdir(parents=True)
        for n in range(n_images):
            label = int(draws.random() < 0.4) if n > 3 else n % 2
            values = draws.normal(110 + 20 * label, 25) + draws.normal(0, 30, (8, 8, 3))
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(root / split / f"{split}{n:02d}.png")
            if split == "train":
                listed.append(f"{split}{n:02d},{label}")
            else:
                truth[f"{split}{n:02d}"] = label
    write(root / "train.csv", "\n".join(listed) + "\n")
    write(root / "solution.csv", "id,target\n" + "".join(f"{name},{label}\n" for name, label in truth.items()))
    write(root / "sample.csv", "id,target\n" + "".join(f"{name}.png,0\n" for name in reversed(truth)))
    facts = f'[competition]\ntitle = "t"\nmetric = "{metric}"\n[data]\nroot = "data/greys"\n'
    data = 'labeled = { csv = "train.csv", images = "train" }\ntest = "test"\nsample_submission = "sample.csv"\n'
    data += 'solution = "solution.csv"\n'
    write(workspace / "competitions/greys/competition.toml", facts + data + RUNS + rest)
    return truth


@pytest.mark.parametrize(
    ("metric", "positive", "method"),
    [
        ("roc_auc", None, "weights"),
        ("average_precision", "0", "greedy"),
        pytest.param("log_loss", "1", "weights", marks=pytest.mark.slow),
        pytest.param("brier", "0", "greedy", marks=pytest.mark.slow),
    ],
)
def test_the_score_of_the_file_is_what_the_leaderboard_says(run_command, tmp_path, metric, positive, method):
    rest = f'[ensemble]\nmethod = "{method}"\n' + (f'[submission]\npositive = "{positive}"\n' if positive else "")
    truth = lay_out(tmp_path, metric, rest)
    code, _, err = run_command(tmp_path, "all", "greys")
    assert code == 0, err
    (path,) = sorted((tmp_path / "submissions/greys").glob("*_ensemble.csv"))
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "target"] and [row[0] for row in rows] == [f"{name}.png" for name in reversed(truth)]
    numbers = np.array([row[1] for row in rows], dtype=float)
    labels = np.array(list(truth.values())[::-1])
    hidden = SCORES[metric](labels if positive != "0" else 1 - labels, numbers)
    code, out, err = run_command(tmp_path, "leaderboard", "greys", "--json")
    (said,) = [row["local"] for row in json.loads(out)["runs"] if row["run"] == "ensemble"]
    assert said == pytest.approx(hidden, abs=1e-6)
    if metric == "roc_auc":
        assert hidden > 0.6
