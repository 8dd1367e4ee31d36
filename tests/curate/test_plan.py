"""The planner: what it chooses by the images, the machine, the weights and the time, and what it says of it."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from kit.config.reader import read_competition
from kit.core.files import Workspace
from kit.curate.plan import Wishes, plan_runs, read_facts
from kit.curate.plan.catalog import CARD, OFFERS
from kit.curate.plan.choose import (
    choose_candidate,
    choose_joined,
    middle_args,
    oof_accuracy,
    weigh_views,
    whole_args,
)
from kit.curate.plan.facts import MAX_LABELED, _even
from kit.curate.plan.folder import find_in_folder
from kit.curate.plan.portfolio import Member, Portfolio
from kit.curate.plan.recipe import COMPARED_ANEW, PIXEL_DIMS, SHARE, _head_seconds, _on_pixels
from kit.features.cache import HISTOGRAM_BINS
from kit.features.encoders import preprocessing_of
from kit.features.joint import encoders_of
from kit.features.measure import Cost, clock_of, measure_encoder, time_alone
from kit.features.weights import PACKAGES, parse_encoder
from kit.models.classic.label_spreading import FEW, LabelSpreading
from kit.models.trust import trusted
from kit.runs.seen import CHOICE
from kit.runs.store.build import build_model
from kit.runs.store.ledger import read_acts

pytestmark = pytest.mark.usefixtures("quick_looks")

SIDE = 80  # pixels: more than what is taken for small
N_EACH = 4


def lay_out(root, n_unlabeled=6, n_test=4, side=SIDE):
    """Write photos of one colour each, warm and cold ones."""
    rng = np.random.default_rng(0)

    def save(path, colour):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-40, 40, (side, side, 3))
        Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)

    for name, colour in {"warm": (200, 80, 40), "cold": (40, 90, 200)}.items():
        for i in range(N_EACH):
            save(root / "train" / name / f"{name}{i}.png", colour)
    for split, n in {"pool": n_unlabeled, "test": n_test}.items():
        for i in range(n):
            save(root / split / f"{split}{i}.png", (120, 90, 120))


@pytest.fixture
def photos(tmp_path):
    """Return a function that makes a competition of drawn photos."""

    def make(extra="", runs="", **counts):
        lay_out(tmp_path / "data", **counts)
        folder = tmp_path / "competitions" / "photos"
        folder.mkdir(parents=True, exist_ok=True)
        head = f'[competition]\ntitle = "t"\n{extra}\n[data]\nroot = "data"\nlabeled = "train"\n'
        rest = "".join(f'{key} = "{key if key == "test" else "pool"}"\n' for key in ("unlabeled", "test"))
        (folder / "competition.toml").write_text(head + rest + runs)
        return read_competition("photos", Workspace(tmp_path))

    return make


def names(plan):
    return [run.name for run in plan.runs]


def test_facts_are_counted(photos):
    facts = read_facts(photos())
    counts = (facts.n_classes, facts.n_labeled, facts.n_smallest, facts.n_unlabeled, facts.n_test, facts.n_folds)
    assert counts == (2, 8, 4, 6, 4, 5)
    assert facts.side == SIDE and len(facts.labeled) == 8 and sorted(facts.labels) == [0] * 4 + [1] * 4


def test_without_the_hub_a_plan_has_the_forest_and_probes_on_what_pip_brings(photos):
    plan = plan_runs(read_facts(photos()), Wishes())
    assert names(plan) == ["forest", "joint", "probe_lite0", "probe_lite2"]
    encoding = [run.work.seconds for run in plan.runs]  # is done, and counted, at the run that comes first
    assert encoding[1] > 0 == encoding[2] == encoding[3] and plan.runs[1].seconds > encoding[1]
    named = [each["encoder"] for each in plan.runs[1].table["encoders"]]
    assert named == ["timm:tf_efficientnet_lite0@pip", "timm:tf_efficientnet_lite2@pip"]
    assert any("hub cannot be reached" in note and "hf download" in note for note in plan.notes)
    assert all(run.seconds > 0 and run.megabytes > 0 and run.reason for run in plan.runs)


def test_the_forest_has_no_options(photos):
    assert plan_runs(read_facts(photos()), Wishes("quick")).runs[0].table == {"model": "forest"}


def test_every_planned_run_is_accepted_by_its_model(photos, run_command, tmp_path):
    photos()
    code, _, err = run_command(tmp_path, "plan", "photos", "--preset", "best", "--write")
    competition = read_competition("photos", Workspace(tmp_path))
    assert code == 0 and len(competition.runs) >= 3, err
    for run in competition.runs.values():
        build_model(competition, run)


def test_test_images_serve_as_unlabelled_ones_and_that_is_called_a_guess(photos):
    plan = plan_runs(read_facts(photos()), Wishes())
    assert plan.runs[1].table["use_test_images"] is True
    assert any("guess about the rules" in note and "--no-test-images" in note for note in plan.notes)


@pytest.mark.parametrize(("wishes", "n_unlabeled"), [(Wishes(test_images=False), 6), (Wishes(), 40)])
def test_test_images_are_left_alone_where_the_user_says_so_or_the_pool_is_ten_times_as_many(
    photos, wishes, n_unlabeled
):
    plan = plan_runs(read_facts(photos(n_unlabeled=n_unlabeled)), wishes)
    assert not any("use_test_images" in run.table for run in plan.runs)
    assert not any("guess" in note for note in plan.notes)


def test_probes_even_out_their_features_and_the_reason_is_said(photos):
    plan = plan_runs(read_facts(photos()), Wishes())
    for run in plan.runs[1:]:
        assert run.table["power"] == run.table["whiten"] == 0.5 and run.table["self_training"] == 0.3
        assert "C" not in run.table  # the joint probe's grows by itself with the encoders
    assert any("whiten even out" in note for note in plan.notes)


def test_best_lets_the_joint_probe_and_the_next_best_teach_where_there_are_unlabelled_images(photos):
    facts = read_facts(photos())
    plan = plan_runs(facts, Wishes("best"))
    taught = next(run for run in plan.runs if "pseudo" in run.table)
    scores = next(note for note in plan.notes if "Probes out of fold on 8 labels" in note)
    best = max(("lite0", "lite2"), key=lambda name: float(scores.partition(f"{name} ")[2][:5]))
    assert taught.table["pseudo"]["teachers"] == ["joint", f"probe_{best}"] and taught.table["pseudo"]["rounds"] == 2
    alone = dataclasses.replace(facts, n_unlabeled=0, labeled=(), labels=())
    alone = plan_runs(alone, Wishes("best", test_images=False))
    assert not any("pseudo" in run.table for run in alone.runs)


def test_without_unlabelled_images_features_stay_as_they_are(photos):
    plan = plan_runs(dataclasses.replace(read_facts(photos()), n_unlabeled=0), Wishes(test_images=False))
    assert "joint" in names(plan) and not any("whiten" in run.table for run in plan.runs)
    assert not any("whiten" in note for note in plan.notes)


def test_small_images_are_read_by_pixels_too(photos):
    assert {"extra_trees", "svm", "label_spreading"} <= set(names(plan_runs(read_facts(photos(side=20)), Wishes())))
    assert "svm" not in names(plan_runs(read_facts(photos()), Wishes()))


def test_label_spreading_costs_what_comparing_all_images_takes(photos):
    facts = read_facts(photos(side=20))
    spread = [
        _on_pixels(dataclasses.replace(facts, n_unlabeled=n), Portfolio((), (), hub_is_reached=False))[-1]
        for n in (100, 30_000, 300_000)
    ]
    assert [run.name for run in spread] == ["label_spreading"] * 3
    assert spread[0].seconds < 15 and spread[2].seconds > 50 * spread[1].seconds > 500
    assert 850 < spread[2].megabytes - spread[0].megabytes < 1000  # 300,000 rows of float32


def test_with_no_encoder_at_all_a_plan_says_what_is_lost_and_how_to_bring_it(photos, monkeypatch):
    for name, package in list(PACKAGES.items()):
        monkeypatch.setitem(PACKAGES, name, dataclasses.replace(package, distribution="no-such-package"))
    plan = plan_runs(read_facts(photos()), Wishes())
    assert {"forest", "svm"} <= set(names(plan)) and not any("encoder" in run.table for run in plan.runs)
    assert any("no encoder at all" in note and "pip install" in note for note in plan.notes)


def test_what_does_not_fit_into_the_time_is_left_out_and_said(photos):
    plan = plan_runs(read_facts(photos()), Wishes(seconds=0.01))
    encoders = {run.table["encoder"] for run in plan.runs if "encoder" in run.table}
    assert len(encoders) == 1  # the floor
    assert any("is left out: to encode takes" in note and "--time" in note for note in plan.notes)


def test_a_folder_of_weights_comes_first_and_its_choice_is_said(photos, tmp_path):
    folder = tmp_path / "weights" / "test_efficientnet"
    folder.mkdir(parents=True)
    save_file(timm.create_model("test_efficientnet").state_dict(), folder / "model.safetensors")
    plan = plan_runs(read_facts(photos()), Wishes(weights=tmp_path / "weights"))
    assert "probe_test_efficientnet" in names(plan)[1:3]
    table = next(run.table for run in plan.runs if run.name == "probe_test_efficientnet")
    assert any("Probes out of fold on 8 labels: test_efficientnet" in note for note in plan.notes)
    assert table["encoder"] == "timm:test_efficientnet@weights/test_efficientnet/model.safetensors"
    assert any("out of fold on 8 labels" in note and "padding same" in note for note in plan.notes)
    assert list(plan.chosen[-1]) == encoders_of(plan.runs[1].table)  # those that were joined


def test_encoders_see_the_whole_image_and_the_reason_is_said(photos):
    facts = read_facts(photos())
    plan = plan_runs(facts, Wishes())
    probes = [run.table for run in plan.runs if run.name.startswith("probe_")]
    specs = [parse_encoder(table["encoder"], table["encoder_args"], facts.lookup) for table in probes]
    geometries = [preprocessing_of(spec).geometry for spec in specs]
    assert [(each.height, each.resize, each.crop_share) for each in geometries] == [
        (224, "squash", 1.0),
        (260, "squash", 1.0),
    ]
    assert any("see the whole image" in note and "on 8 labels" in note for note in plan.notes)
    assert plan.chosen == tuple(((table["encoder"], table["encoder_args"]),) for table in probes)


def test_many_labels_must_show_that_the_middle_is_better_few_do_not():
    right = np.arange(400) % 10 < 7
    worse = np.arange(400) % 10 < 6
    assert weigh_views(right[None, :20], worse[None, :20])[0] > 0 > weigh_views(right[None], worse[None])[0]
    assert weigh_views(right[None], worse[None])[1] == pytest.approx(-0.1)


def test_what_lets_an_encoder_see_the_whole_image_can_be_taken_back():
    args = {"pad_type": "same", "pretrained_cfg_overlay": {"mean": [0.5] * 3}}
    for given in (args, {}):
        whole = whole_args(parse_encoder("timm:mobilenetv2_100", given))
        assert whole is not None and whole["pretrained_cfg_overlay"]["crop_mode"] == "squash"
        assert middle_args(whole) == given and whole_args(parse_encoder("timm:mobilenetv2_100", whole)) is None
    assert whole_args(parse_encoder("open_clip:ViT-B-32/openai")) is None


def test_the_two_best_encoders_are_joined_and_others_that_are_nearly_as_good():
    assert choose_joined({"a": 0.2, "b": 0.5, "c": 0.9}) == {"b", "c"}
    assert choose_joined({"a": 0.88, "b": 0.5, "c": 0.9, "d": 0.86}) == {"a", "c", "d"}


def test_the_way_that_names_most_labels_right_is_taken(photos, tmp_path):
    folder = tmp_path / "test_efficientnet"
    folder.mkdir()
    save_file(timm.create_model("test_efficientnet").state_dict(), folder / "model.safetensors")
    found = find_in_folder(folder)[0][0]
    choice = choose_candidate(found, read_facts(photos()))
    scores = {each.words: float(choice.sentence.split(f"{each.words} ")[-1][:5]) for each in found.candidates}
    assert scores[choice.candidate.words] == max(scores.values())


def test_out_of_fold_accuracy_knows_features_from_noise():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    noise = rng.normal(size=(60, 30))
    alone, copies = np.arange(60), np.arange(60) // 2
    assert oof_accuracy(np.eye(3)[labels] + 0.1 * noise[:, :3], labels, alone) == 1.0
    assert oof_accuracy(noise, labels, alone) < 0.6
    twins = np.repeat(noise[::2], 2, axis=0)
    assert oof_accuracy(twins, labels, alone) > 0.8 and oof_accuracy(twins, labels, copies) < 0.6


def test_many_classes_are_compared_by_some_of_them():
    codes = np.concatenate([np.repeat(np.arange(300), 3), np.arange(300, 400)])  # the last hundred have one image each
    chosen = codes[_even(codes)]
    assert len(chosen) == MAX_LABELED and np.all(np.bincount(chosen)[np.unique(chosen)] == 2)
    assert np.unique(chosen).max() == 299 and np.diff(np.unique(chosen)).max() <= 3
    few = np.repeat(np.arange(43), 5)
    assert np.array_equal(_even(few), np.arange(215))


def test_pairs_of_folds_are_counted_among_the_minutes(photos):
    facts = read_facts(photos())
    member = Member("m", "timm:m", "supervised", "pip", "of pip", cost=Cost(0.0, 0.0, 1000, 0))
    one = _head_seconds(dataclasses.replace(facts, n_folds=2), [member], True)
    assert _head_seconds(facts, [member], True) - 1 > 7 * (one - 1)  # 15 fits for 2


def test_an_encoder_without_weights_costs_what_it_costs_with_them(photos):
    spec = parse_encoder("timm:tf_efficientnet_lite0@pip")
    samples = read_facts(photos()).samples
    with_weights, without = (measure_encoder(spec, samples, pretrained) for pretrained in (True, False))
    assert (with_weights.n_dims, with_weights.megabytes) == (
        without.n_dims,
        without.megabytes,
    ) and with_weights.n_dims == 1280
    assert measure_encoder(spec, ()).seconds > 0  # where no image can be read


def test_what_a_busy_machine_makes_a_measurement_wait_counts_on_other_devices_alone():
    waited = {device: time_alone(lambda: time.sleep(0.02), clock_of(device)) for device in ("cpu", "cuda:0")}
    assert waited["cpu"] < 0.01 and waited["cuda:0"] >= 0.02


def test_an_encoder_too_large_for_the_memory_is_left_out(photos, monkeypatch):
    monkeypatch.setattr("kit.curate.plan.portfolio.memory_megabytes", lambda: 1.0)
    plan = plan_runs(read_facts(photos()), Wishes())
    assert any("is left out: it needs" in note for note in plan.notes)


def test_every_encoder_of_the_catalogue_exists():
    open_clip = pytest.importorskip("open_clip")
    tags = {f"open_clip:{name}/{tag}" for name, tag in open_clip.list_pretrained()}
    known = tags | {f"timm:{name}" for name in timm.list_models(pretrained=True)}
    assert {offer.encoder for offer in OFFERS} | {encoder for encoder, _ in CARD.values()} <= known
    assert len({offer.name for offer in OFFERS}) == len(OFFERS) and all(offer.reason for offer in OFFERS)


def test_a_persons_runs_stay_and_are_named(photos, run_command, tmp_path):
    photos(runs='\n[runs.mine]\nmodel = "svm"\n')
    assert run_command(tmp_path, "train", "photos", "mine")[0] == 0
    code, _, err = run_command(tmp_path, "plan", "photos", "--preset", "quick", "--write")
    assert code == 0 and "kept, for they are your own: mine" in err
    assert "mine reaches accuracy" in " ".join(err.split()) and "--write keeps them all" in " ".join(err.split())
    assert list(read_competition("photos", Workspace(tmp_path)).runs)[-1] == "mine"


def test_without_write_nothing_is_written(photos, run_command, tmp_path):
    file = photos().file
    before = file.read_text()
    code, out, err = run_command(tmp_path, "plan", "photos", "--preset", "quick")
    assert code == 0 and file.read_text() == before
    assert "probe_lite0" in out and "--write" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "god"], "--preset god: did you mean 'good'?"),
        (["--time", "soon"], "--time 'soon': write 9h"),
        (["--weights", "nowhere"], "there is no such folder"),
    ],
)
def test_what_cannot_be_is_refused(photos, run_command, tmp_path, options, message):
    photos()
    code, _, err = run_command(tmp_path, "plan", "photos", *options)
    assert code == 2 and message in err


def test_several_labels_per_image_are_planned_without_words_and_support_vectors(tmp_path):
    lay_out(tmp_path / "data", side=20)
    images = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data/train").rglob("*.png"))
    rows = [f"{image},{'a;b' if i % 2 else 'a'}" for i, image in enumerate(images)]
    (tmp_path / "data" / "labels.csv").write_text("id,label\n" + "\n".join(rows) + "\n")
    source = 'labeled = { csv = "labels.csv", images = ".", form = "cell", separator = ";" }\nunlabeled = "pool"'
    text = f'[competition]\ntitle = "t"\ntask = "multilabel"\nmetric = "macro_f1"\n[data]\nroot = "data"\n{source}\n'
    folder = tmp_path / "competitions" / "photos"
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "first.toml").write_text("")
    (folder / "competition.toml").write_text(text)
    competition = read_competition("photos", Workspace(tmp_path))
    facts = read_facts(competition)
    assert (facts.n_classes, facts.n_labeled, facts.n_smallest, facts.prompts) == (2, 8, 4, None)
    plan = plan_runs(facts, Wishes())
    assert names(plan) == ["forest", "extra_trees", "joint", "probe_lite0", "probe_lite2"]
    assert not any("whiten" in run.table for run in plan.runs)  # of several labels nothing is known


def test_new_writes_a_plan_and_the_same_call_holds_until_a_person_changes_a_run(run_command, tmp_path):
    lay_out(tmp_path / "photos")
    arguments = ["new", "photos", "--data", str(tmp_path / "photos"), "--preset", "quick"]
    code, _, err = run_command(tmp_path, *arguments)
    assert code == 0 and "plan for --preset quick" in err
    competition = read_competition("photos", Workspace(tmp_path))
    assert list(competition.runs) == ["forest", "joint", "probe_lite0", "probe_lite2"]
    home = competition.workspace.runs("photos")
    assert [(encoder,) for ((encoder, _),) in (act["encoders"] for act in read_acts(home, CHOICE))] == [
        (competition.run(name).options["encoder"],) for name in ("probe_lite0", "probe_lite2")
    ]
    assert run_command(tmp_path, *arguments)[0] == 0
    competition.file.write_text(competition.file.read_text() + '\n[runs.mine]\nmodel = "svm"\n')
    assert run_command(tmp_path, *arguments)[0] == 2


def test_words_that_are_codes_are_not_read(photos):
    competition = photos()
    (competition.folder / "prompts").mkdir()
    file = competition.folder / "prompts" / "first.toml"
    file.write_text('templates = ["a {}"]\n[words]\nwarm = ["c1"]\ncold = ["c2"]\n')
    assert read_facts(competition).prompts is None
    file.write_text('templates = ["a {}"]\n[words]\nwarm = ["red"]\ncold = ["blue"]\n')
    assert read_facts(competition).prompts == "first"


def test_the_share_that_plans_let_neighbours_have_is_the_trusted_one():
    assert trusted("smooth") == SHARE


def test_plans_count_label_spreading_as_it_is():
    assert COMPARED_ANEW == FEW
    assert 3 * (LabelSpreading.pixels**2 + HISTOGRAM_BINS) == PIXEL_DIMS
