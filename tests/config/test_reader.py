"""competition.toml: what it may say, and the sentence that answers everything else."""

import pytest

from kit.config.competition import HOME, order_runs
from kit.config.known import list_competitions
from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace

FACTS = '[competition]\ntitle = "birds"\n'
DATA = '[data]\nroot = "data/birds"\nlabeled = "train"\n'
TWO_RUNS = '[runs.forest]\nmodel = "forest"\n[runs.probe]\nmodel = "svm"\nC = 3.0\n'


@pytest.fixture
def read(tmp_path):
    """Return a function that writes tables, or a whole file, and reads the competition `birds`."""

    def make(*tables, text=None, changes=(), seed=None):
        folder = tmp_path / "competitions" / "birds"
        folder.mkdir(parents=True, exist_ok=True)
        whole = FACTS + DATA + "\n".join(tables) if text is None else text
        (folder / "competition.toml").write_text(whole, encoding="utf-8")
        return read_competition("birds", Workspace(tmp_path), changes, seed)

    return make


@pytest.fixture
def refusal(read):
    """Return a function that gives the message with which something is refused."""

    def make(*tables, **rest):
        with pytest.raises(InputError) as refused:
            read(*tables, **rest)
        return str(refused.value)

    return make


# --- what it says


def test_what_is_left_out_has_its_default(read):
    competition = read()
    assert (competition.facts.task, competition.facts.metric) == ("multiclass", "accuracy")
    assert (competition.folds.n, competition.folds.seed, competition.folds.use) == (5, 0, None)
    assert competition.runs == {} and competition.ensemble.members is None


def test_a_runs_table_is_parted_into_the_pipelines_keys_and_the_models(read):
    competition = read(TWO_RUNS + "seed = 7\nuse_test_images = true\n")
    run = competition.run("probe")
    assert (run.model, run.seed, run.use_test_images, run.options) == ("svm", 7, True, {"C": 3.0})
    assert competition.run("forest").options == {}


def test_all_runs_are_members_unless_some_are_named(read):
    assert read(TWO_RUNS).ensemble.members is None  # all runs and imports: kit.runs.ensemble.check_members
    assert read(TWO_RUNS, '[ensemble]\nmembers = ["probe"]').ensemble.members == ["probe"]


def test_a_byte_order_mark_changes_nothing(read, tmp_path):
    plain = read(TWO_RUNS)
    file = plain.folder / "competition.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_competition("birds", Workspace(tmp_path)) == plain


def test_data_beside_the_file_win_over_a_folder_of_that_name_in_the_workspace(read, tmp_path):
    competition = read()
    (tmp_path / "data" / "birds").mkdir(parents=True)
    assert competition.root == tmp_path / "data" / "birds"
    (competition.folder / "data" / "birds").mkdir(parents=True)
    assert competition.root == competition.folder / "data" / "birds"


def test_teachers_come_before_the_runs_that_they_teach(read):
    competition = read(
        '[runs.c]\nmodel = "svm"\npseudo = { teachers = ["b"] }\n'
        '[runs.b]\nmodel = "svm"\npseudo = { teachers = ["a"] }\n'
        '[runs.a]\nmodel = "svm"\n'
    )
    assert order_runs(competition, ["c"]) == ["a", "b", "c"]
    assert order_runs(competition, ["a", "c"]) == ["a", "b", "c"]


# --- where it lies


def test_a_competition_is_read_by_name_by_folder_and_by_file(read, tmp_path):
    by_name = read()
    for path in (by_name.folder, by_name.folder / "competition.toml"):
        assert read_competition(str(path), Workspace(tmp_path)) == by_name


def test_every_competition_of_the_kit_can_be_read(tmp_path):
    names = sorted(file.parent.name for file in HOME.glob("*/competition.toml"))
    assert names
    for name in names:
        assert read_competition(name, Workspace(tmp_path)).name == name


def test_the_workspaces_own_competition_wins_over_the_kits(tmp_path):
    folder = tmp_path / "competitions" / "digits"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(FACTS + DATA)
    assert list_competitions(Workspace(tmp_path))["digits"] == folder


def test_a_folder_without_a_competition_says_how_to_write_one(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"no competition\.toml there; \./run\.sh new NAME --data .*images writes one"):
        read_competition(str(tmp_path / "images"), Workspace(tmp_path))


def test_an_unknown_competition_names_the_nearest(tmp_path):
    with pytest.raises(
        InputError, match=r"no competition 'digit'; did you mean 'digits'.*; images are here of digits;"
    ):
        read_competition("digit", Workspace(tmp_path))


# --- refusals


@pytest.mark.parametrize(
    ("tables", "table", "cause"),
    [
        ("[folds]\nnn = 3", "folds", "unknown key 'nn'; did you mean 'n'"),
        ('[folds]\nn = "3"', "folds", "n: must be a whole number"),
        ("[folds]\nn = 1", "folds", "n: must be greater than or equal to 2 (it is 1)"),
        ("[ensemble]\nmethod = 'mean'", "ensemble", "method: must be 'weights' or 'greedy' (it is 'mean')"),
        ("[ensemble]\nmembers = 'forest'", "ensemble", "members: must be a list"),
        ("[runs.a]\nseed = 1", "runs.a", "key 'model' is missing"),
        ("[runs.a]\nmodel = 'svm'\nseed = 1.5", "runs.a", "seed: must be a whole number"),
        ("[runs.a]\nmodel = 'svm'\npseudo = {}", "runs.a", "key 'pseudo.teachers' is missing"),
        ("[runs]\na = 3", "runs.a", "must be a table"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_table(refusal, tables, table, cause):
    text = refusal(tables)
    assert "competition.toml: " in text and f"[{table}]" in text and cause in text


def test_an_unknown_key_of_the_data_names_the_nearest(refusal):
    assert "[data] unknown key 'tests'; did you mean 'test'" in refusal('tests = "test"')


def test_an_unknown_key_of_a_pseudo_plan_names_the_nearest(refusal):
    text = refusal('[runs.a]\nmodel = "svm"\npseudo = { teachers = ["b"], keep = 1 }')
    assert "[runs.a] unknown key 'pseudo.keep'; did you mean 'keep_rate'" in text


def test_an_unknown_key_of_a_listing_names_the_nearest(refusal):
    text = refusal(text=FACTS + '[data]\nroot = "r"\nlabeled = { csv = "train.csv", lable = "y" }\n')
    assert "[data] unknown key 'labeled.lable'; did you mean 'label'" in text


def test_runs_that_are_no_table_are_refused(refusal):
    assert "runs" in refusal(text="runs = 3\n" + FACTS + DATA)


def test_an_unknown_table_names_the_nearest(refusal):
    assert "unknown table [fold]; did you mean 'folds'" in refusal("[fold]\nn = 3")


@pytest.mark.parametrize(("text", "table"), [(FACTS, "data"), (DATA, "competition"), ("", "competition")])
def test_a_missing_table_is_named(refusal, text, table):
    assert f"table [{table}] is missing" in refusal(text=text)


def test_an_unknown_metric_names_the_nearest(refusal):
    assert "metric: 'acuracy' is not a metric; did you mean 'accuracy'" in refusal(
        text=FACTS + 'metric = "acuracy"\n' + DATA
    )


def test_an_unknown_run_names_the_nearest(read):
    with pytest.raises(InputError, match=r"competition\.toml: no run 'forrest'; did you mean 'forest'"):
        read(TWO_RUNS).run("forrest")


def test_an_unknown_teacher_names_the_nearest_other_run(refusal):
    text = refusal(TWO_RUNS + 'pseudo = { teachers = ["prob", "forrest"] }')
    assert "[runs.probe] pseudo.teachers: no run " in text
    assert "'forest'" in refusal(TWO_RUNS + 'pseudo = { teachers = ["forrest"] }')


@pytest.mark.parametrize("teachers", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_a_circle_of_teachers_is_refused(refusal, teachers):
    runs = [
        f'[runs.{run}]\nmodel = "svm"\npseudo = {{ teachers = ["{teacher}"] }}' for run, teacher in teachers.items()
    ]
    assert "would teach itself" in refusal(*runs)


@pytest.mark.parametrize("name", ["ensemble", '"a b"', '"../a"', '""', "-a"])
def test_a_run_name_that_cannot_be_one_is_refused(refusal, name):
    text = refusal(f'[runs.{name}]\nmodel = "svm"')
    assert "is not a run name" in text and "not ensemble" in text


@pytest.mark.parametrize("use", ["[5]", "[-1]", "[0, 0]", "[]"])
def test_a_scored_fold_that_does_not_exist_is_refused(refusal, use):
    assert f"[folds] use = {use}: name different folds of 0..4" in refusal(f"[folds]\nuse = {use}")


def test_a_syntax_error_is_named_with_its_line(refusal):
    assert "not TOML: " in (text := refusal("[folds]\nn = = 3")) and "line 7" in text


def test_text_that_is_not_utf8_is_named_with_its_byte(read, tmp_path):
    file = read().folder / "competition.toml"
    file.write_bytes(FACTS.replace("birds", "café").encode("latin-1"))
    with pytest.raises(InputError, match=r"competition\.toml: not UTF-8 \(byte 26\)"):
        read_competition("birds", Workspace(tmp_path))


# --- changes


def test_a_change_overrides_what_the_file_says(read):
    changes = ("runs.probe.C=1e-6", "folds.n=3", "runs.forest.trees=extra", "competition.title='a = b'")
    competition = read(TWO_RUNS, changes=changes)
    assert competition.run("probe").options == {"C": 1e-6}
    assert (competition.folds.n, competition.facts.title) == (3, "a = b")
    assert competition.run("forest").options == {"trees": "extra"}


def test_a_later_change_wins(read):
    assert read(changes=("folds.n=3", "folds.n=4")).folds.n == 4


@pytest.mark.parametrize("change", ["folds.n", "n=3", "=3"])
def test_a_change_that_is_none_says_how_to_write_one(refusal, change):
    assert f"--set {change}: write it as table.key=value" in refusal(changes=(change,))


def test_a_change_of_an_unknown_run_names_the_nearest(refusal):
    text = refusal(TWO_RUNS, changes=("runs.prob.C=1",))
    assert "--set runs.prob.C=1: no table 'prob'; did you mean 'probe'" in text


def test_a_change_is_checked_like_the_file(refusal):
    assert "[folds] unknown key 'k'" in refusal(changes=("folds.k=3",))


def test_one_seed_is_every_runs(read):
    assert [run.seed for run in read(TWO_RUNS + "seed = 3\n", seed=9).runs.values()] == [9, 9]
    assert [run.seed for run in read(TWO_RUNS + "seed = 3\n").runs.values()] == [0, 3]
