"""The engine: tasks by name, done here or in another process; files carried to who does not see them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kit.core import engine
from kit.core.deadline import set_deadline
from kit.core.engine import alike, elsewhere
from kit.core.engine import task as serving
from kit.core.engine.cluster import RayEngine
from kit.core.engine.task import Order, Task, work
from kit.core.errors import InputError, MissingWeights, NodeLost, TimeIsUp
from kit.core.process import count_threads, with_threads
from kit.core.terminal import warn
from kit.features.weights import parse_encoder


def double(shared: Any, number: int) -> int:
    return shared * number


def complain(shared: Any, text: str) -> None:
    warn("so far so good")
    raise MissingWeights(text, remedy="bring them")


def run_dry(shared: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def task(function: Any, **arguments: Any) -> Task:
    return Task(f"{__name__}:{function.__name__}", arguments, function.__name__)


@pytest.fixture(autouse=True)
def _by_name(monkeypatch):
    """Let tasks find the functions of this file, which pytest imports under no name of its own."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules["test_engine"])
    yield
    serving.is_serving = False


def test_a_task_is_a_function_by_its_name_and_plain_arguments():
    tasks = [task(double, number=number) for number in (1, 2, 3)]
    assert [done.value for done in engine.run_tasks(tasks, 5)] == [5, 10, 15]
    assert len({each.key for each in tasks}) == 3


def test_the_time_limit_is_looked_at_before_every_task():
    set_deadline(0.0)
    with pytest.raises(TimeIsUp):
        list(engine.run_tasks([task(double, number=1)], 5))


def test_another_process_tells_what_a_task_said_and_raised():
    outcome = work(Order(task(complain, text="no weights"), 1, None), None)
    assert isinstance(outcome.error, MissingWeights)
    assert (str(outcome.error), outcome.error.remedy) == ("no weights", "bring them")
    assert [text for _, _, text in outcome.said] == ["so far so good"]


def test_a_lack_of_memory_is_told_and_no_answer_for_a_cluster():
    outcome = work(Order(task(run_dry), 1, None), None)
    assert isinstance(outcome.error, torch.OutOfMemoryError)
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        serving.refuse_lack(outcome)


def refusal(node: alike.Computer, has_gpu: bool = False, minds_amx: bool = True, desk: Any = None) -> str:
    """Return what is said of a node beside this machine; ``"None"`` where it computes the same."""
    driver, order = describe(), Order(Task("m:f", {}, "f", minds_amx=minds_amx), 1, None, has_gpu)
    return str(alike.find_difference(driver, node, order, desk))


def describe(**changes: Any) -> alike.Computer:
    return replace(alike.describe_computer(), host="driver", has_amx=True, **changes)


def test_a_node_that_computes_in_another_precision_is_refused(monkeypatch):
    node, desk = replace(describe(), host="node"), Counter()
    assert refusal(node) == "None"
    without = replace(node, has_amx=False)
    assert "without AMX, driver one with it" in refusal(without)
    assert refusal(without, minds_amx=False) == "None"
    monkeypatch.setattr(alike, "half_on_gpu", lambda: "bfloat16")
    assert refusal(node, True, desk=desk) == "None"
    monkeypatch.setattr(alike, "half_on_gpu", lambda: "float16")
    assert "a GPU of float16" in (said := refusal(node, True, desk=desk)) and "one of bfloat16" in said


@pytest.mark.parametrize(
    "change, said",
    [
        ({"versions": {"numpy": "1.0"}}, "node n has numpy 1.0, not "),
        ({"decoders": {"pillow": "9.9"}}, "node n decodes images by pillow 9.9, not "),
        ({"decoders": {"libjpeg-turbo": "none", "libjpeg": "6b"}}, "libjpeg-turbo none, not "),
        ({"kernels": {"blas": "openblas Haswell"}}, "set OPENBLAS_CORETYPE alike on both, or leave it out"),
        ({"kernels": {"torch": "OLD"}}, "round differently: set ATEN_CPU_CAPABILITY alike on both, or leave it out"),
    ],
)
def test_a_node_that_would_give_other_bytes_is_refused(change, said):
    driver = describe()
    node = replace(driver, host="n", **{name: getattr(driver, name) | values for name, values in change.items()})
    assert said in refusal(node) and "driver" in refusal(node) and "leave it out" in refusal(node)


def test_a_node_that_finds_neighbours_in_another_way_is_refused():
    said = refusal(replace(describe(), host="n", faiss="none"))
    assert said.startswith("node n has no faiss and driver has faiss ") and "install the same there" in said


def test_a_task_computes_with_the_number_of_threads_it_is_told(monkeypatch):
    before = torch.get_num_threads()
    with with_threads(1):
        assert (torch.get_num_threads(), count_threads(), os.environ["LOKY_MAX_CPU_COUNT"]) == (1, 1, "1")
    assert torch.get_num_threads() == before


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="did you mean 'ray'"):
        engine.make_engine("rya")


def test_an_address_needs_a_cluster():
    with pytest.raises(InputError, match="add --engine ray"):
        engine.make_engine("local", "10.0.0.1:6379")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            "NodeDiedError",
            NodeLost,
            r"^double: lost 4 times with its node \(NodeDiedError: gone\); what was",
        ),
        ("OutOfDiskError", NodeLost, r"^double: lost 4 times with its node \(OutOfDiskError: gone\); what was"),
        ("asking: ObjectStoreFullError", NodeLost, r"^double: lost 4 times .*\(ObjectStoreFullError: "),
        ("OutOfMemoryError", RuntimeError, "^double: memory was lacking 4 times; smaller batches"),
        ("WorkerCrashedError", RuntimeError, "^double: its process died 4 times; what was computed is kept"),
    ],
)
def test_what_a_cluster_loses_is_one_sentence_that_tells_a_lost_node_from_a_task_at_fault(error, kind, said):
    exceptions = pytest.importorskip("ray.exceptions")

    class Ray:
        def get(self, reference):
            if error == "WorkerCrashedError":  # its words are its own
                raise exceptions.WorkerCrashedError
            gone = getattr(exceptions, error.removeprefix("asking: "))("gone\nand more")
            raise exceptions.RayTaskError("double", "a traceback", gone) if error.startswith("asking") else gone

    cluster = RayEngine("head:6379")
    cluster._ray = Ray()
    with pytest.raises(kind, match=said) as raised:
        cluster._get(task(double, number=1), None)
    assert type(raised.value) is kind


def test_ray_is_imported_by_nobody_who_did_not_ask():
    code = "import sys, kit.cli, kit.api.stages, kit.runs.train; print('ray' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"


class Counter:
    """A desk that is asked in this process."""

    def __init__(self) -> None:
        self.desk, self.asked = elsewhere.Desk(), []

    def ask(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        return getattr(self.desk, name)(*arguments)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A workspace with a competition of its own and some files."""
    root = tmp_path / "driver"
    for name, content in {
        "runs/a/cache/x.npy": b"x" * 1000,
        "runs/a/svm/fold_0/.hidden": b"no",
        "data/1.png": b"1",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_node_fetches_what_it_lacks_once(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "PIECE", 300)
    counter, home = Counter(), tmp_path / "node"
    move = elsewhere.make_mover(driver, tmp_path / "nowhere", home)
    for _ in range(2):
        elsewhere.fetch(counter, [driver / "runs", driver / "data" / "1.png", driver / "none"], move)
    assert (home / "runs/a/cache/x.npy").read_bytes() == b"x" * 1000
    assert (home / "data/1.png").stat().st_mtime_ns == (driver / "data/1.png").stat().st_mtime_ns
    assert not (home / "runs/a/svm/fold_0/.hidden").exists()
    assert counter.asked.count("read") == 4 + 1


def test_what_lies_behind_a_link_is_carried_once_in_each_place(driver, tmp_path):
    (disk := tmp_path / "disk").mkdir()
    (disk / "2.png").write_bytes(b"2")
    (driver / "data" / "more").symlink_to(disk)
    (driver / "data" / "again").symlink_to(driver / "data")
    files = {str(file.relative_to(driver)) for file in elsewhere.list_files(driver / "data")}
    assert files == {"data/1.png", "data/more/2.png"}


def test_what_says_that_all_is_done_is_carried_last(driver, tmp_path):
    counter, folder, there = Counter(), tmp_path / "node", driver / "runs/a/svm/fold_1"
    folder.mkdir()
    for name in ("fitted.json", "oof.parquet"):
        (folder / name).write_bytes(name.encode())
        os.utime(folder / name, (1, 1))
    carried = []
    counter.desk.keep = lambda path, *rest: carried.append(Path(path).name)  # type: ignore[method-assign]
    elsewhere.send_folder(counter, folder, there)
    assert carried == ["oof.parquet", "fitted.json"]


def test_a_carried_file_is_whole(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "PIECE", 7)
    (file := tmp_path / "big").write_bytes(bytes(range(100)))
    elsewhere.send(Counter(), file, str(driver / "new" / "big"))
    assert (driver / "new" / "big").read_bytes() == bytes(range(100))


def test_checkpoints_are_carried_while_a_task_runs(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "COURIER_SECONDS", 0.01)
    (here := tmp_path / "node").mkdir()
    there = driver / "fold_0"
    with elsewhere.courier(Counter(), here, {here: there}):
        (here / "checkpoint_0.pt").write_bytes(b"epoch 1")
        for _ in range(500):
            if (there / "checkpoint_0.pt").exists():
                break
            elsewhere.time.sleep(0.01)
    assert (there / "checkpoint_0.pt").read_bytes() == b"epoch 1"


def test_a_copy_carries_its_own_checkpoint_alone_and_through_a_failure(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "COURIER_SECONDS", 0.01)
    (here := tmp_path / "node").mkdir()
    (there := driver / "fold_0").mkdir()
    counter, failures = Counter(), [RuntimeError("the desk restarts")]
    keep = counter.desk.keep

    def fail_once(*piece: Any) -> None:
        if failures:
            raise failures.pop()
        keep(*piece)

    monkeypatch.setattr(counter.desk, "keep", fail_once)
    (here / "checkpoint_0.pt").write_bytes(b"of another node")
    with elsewhere.courier(counter, here, {here / "checkpoint_1.pt": there / "checkpoint_1.pt"}):
        (here / "checkpoint_1.pt").write_bytes(b"epoch 1")
        for _ in range(500):
            if (there / "checkpoint_1.pt").exists():
                break
            elsewhere.time.sleep(0.01)
    elsewhere.send_folder(counter, here / "checkpoint_1.pt", there / "checkpoint_1.pt")
    assert [file.name for file in there.iterdir()] == ["checkpoint_1.pt"]


def test_a_fold_done_elsewhere_leaves_no_checkpoint(driver, tmp_path):
    (here := tmp_path / "node").mkdir()
    (there := driver / "fold_0").mkdir()
    for name in ("checkpoint.pt", ".checkpoint.pt.ab.carried"):
        (there / name).write_bytes(b"epoch 3")
    (here / "fitted.json").write_text("{}")
    elsewhere.send_folder(Counter(), here, there)
    assert [file.name for file in there.iterdir()] == ["fitted.json"]


def test_two_senders_of_a_file_do_not_mix_their_pieces(driver):
    desk, path = elsewhere.Desk(), str(driver / "x")
    desk.keep(path, b"AAAA", 0, False, "a")
    desk.keep(path, b"B", 0, True, "b")
    desk.keep(path, b"AA", 4, True, "a")
    assert Path(path).read_bytes() == b"AAAAAA"


def test_a_hidden_file_is_not_carried(driver, tmp_path):
    (driver / "data" / "solution.csv").write_text("the answers")
    move = elsewhere.make_mover(driver, tmp_path / "nowhere", tmp_path / "home")
    elsewhere.fetch(Counter(), [driver], move, [driver / "data" / ".." / "data" / "solution.csv"])
    assert [file.name for file in (tmp_path / "home" / "data").iterdir()] == ["1.png"]


def test_the_token_of_a_killed_driver_is_deleted_after_a_day(driver):
    for name, age in ((".engine-old", 2 * elsewhere.STALE_SECONDS), (".engine-young", 0)):
        (driver / name).write_text("x")
        os.utime(driver / name, (elsewhere.time.time() - age,) * 2)
    elsewhere.drop_stale_tokens(driver)
    assert [file.name for file in driver.glob(".engine-*")] == [".engine-young"]


def test_a_node_sees_the_workspace_by_its_token(driver, monkeypatch):
    monkeypatch.setattr(elsewhere, "PATIENCE_SECONDS", 0.01)
    (driver / ".engine-1").write_text("ours")
    assert elsewhere.Token(driver / ".engine-1", "ours").is_seen()
    assert not elsewhere.Token(driver / ".engine-1", "another's").is_seen()
    assert not elsewhere.Token(driver / "gone" / ".engine-1", "ours").is_seen()


def test_weights_named_by_an_absolute_path_are_found_where_they_were_carried(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere.tempfile, "gettempdir", lambda: str(tmp_path))
    (file := tmp_path / "weights" / "m.safetensors").parent.mkdir()
    file.write_bytes(b"weights")
    home = elsewhere.make_home("session", driver, tmp_path / "nowhere")
    elsewhere.fetch(Counter(), [file], elsewhere.make_mover(driver, tmp_path / "nowhere", home))
    encoder = f"timm:resnet18@{file}"
    assert parse_encoder(encoder, lookup=(driver,)).file == file
    file.unlink()
    carried = parse_encoder(encoder, lookup=(driver, home)).file
    assert carried is not None and carried.is_relative_to(home) and carried.read_bytes() == b"weights"


@pytest.mark.parametrize("base", ["inside", "of the kit", "outside", "data"])
@pytest.mark.parametrize("named", ["m.pt", "../m.pt", "../../../m.pt"])
def test_a_file_named_by_a_relative_path_is_found_where_it_was_carried(tmp_path, monkeypatch, base, named):
    monkeypatch.setattr(elsewhere.tempfile, "gettempdir", lambda: str(tmp_path))
    root, installed = tmp_path / "a" / "b" / "driver", tmp_path / "a" / "b" / "there"
    folder = {
        "inside": root / "competitions" / "x",
        "of the kit": installed / "kit" / "competitions" / "x",
        "outside": tmp_path / "a" / "b" / "c",
        "data": tmp_path / "a" / "b" / "photos",
    }[base]
    home = elsewhere.make_home("session", root, installed)
    move = elsewhere.make_mover(root, installed, home)
    lookup = (folder if base == "data" else move(folder), home)  # a data root's absolute path stays as it is
    assert move(folder / named) in elsewhere.list_places(named, lookup)
    assert elsewhere.list_places(named, (folder, root)) == [folder / named, root / named]


def test_a_node_waits_for_a_workspace_once(driver, monkeypatch):
    monkeypatch.setattr(elsewhere, "PATIENCE_SECONDS", 0.2)
    token = elsewhere.Token(driver / ".engine-none", "ours")
    assert not token.is_seen()
    monkeypatch.setattr(elsewhere.time, "sleep", lambda seconds: pytest.fail("waited again"))
    assert not any(token.is_seen() for _ in range(4))


def test_files_of_the_kit_itself_lie_where_the_node_has_them(tmp_path):
    move = elsewhere.make_mover(tmp_path / "ws", tmp_path / "there", tmp_path / "home")
    assert (
        move(tmp_path / "there" / "kit" / "competitions" / "digits") == elsewhere.CHECKOUT / "kit/competitions/digits"
    )
    assert move(tmp_path / "ws" / "data") == tmp_path / "home" / "data"
    assert move("/elsewhere/photos") == tmp_path / "home" / "outside" / "elsewhere" / "photos"


def test_no_dots_lead_out_of_a_nodes_workspace(tmp_path):
    move = elsewhere.make_mover(tmp_path / "ws", tmp_path / "there", tmp_path / "home")
    assert move(f"{tmp_path}/ws/../w/m").is_relative_to(tmp_path / "home" / "outside")
    assert ".." not in move(f"{tmp_path}/ws/../w/m").parts
