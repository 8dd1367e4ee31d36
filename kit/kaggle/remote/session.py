"""In the session: read what was pushed, train its runs, pack what is finished and what is not.

Run as a program by `script`, with the token of the push, the folders of what was sent, of Kaggle's input and of the
output, then ``train`` and the seconds of the time limit, or how a training ended, ``cut`` or ``failed``, and why: what
it has left is packed. Writes ``runs.zip`` (as
`kit.runs.share` does), ``unfinished.zip`` (the folders of runs that go on with the next push) and, last,
``output.json``; a later pack takes the names ``next_runs.zip`` and ``next_unfinished.zip`` in turn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from kit import __version__
from kit.config.competition import Competition
from kit.config.reader import read_competition
from kit.core import terminal
from kit.core.activity import shown
from kit.core.deadline import set_deadline, time_is_up
from kit.core.errors import InputError, LeakFound, TeacherMissing
from kit.core.files import Workspace, hash_file, read_json, write_json
from kit.core.process import set_up_process
from kit.data.images import SPLITS
from kit.data.prepared import Prepared, prepare
from kit.kaggle.remote.contents import MANIFEST, add_file, list_files, list_folders
from kit.kaggle.remote.state import CUT, DONE, FAILED, NEXT, OUTPUT, RUNS, UNFINISHED, describe_place, place_of
from kit.runs.fit.crossval import is_finished
from kit.runs.share import share_runs
from kit.runs.store.find import find_result, made_rounds
from kit.runs.store.result import Result
from kit.runs.train import OutOfTime, describe_skipped, train_runs

PACK_SECONDS = 1200.0  # between two packs, so that a session that is cut off loses less
DEPTH = 3  # folders below Kaggle's input in which the competition's data are looked for


class Session:
    """Train the runs of one push and keep what is packed up to date."""

    def __init__(self, token: str, sent: Path, inputs: Path, output: Path) -> None:
        self.token, self.output = token, output
        self.manifest: dict[str, Any] = read_json(sent / MANIFEST)
        if self.manifest["kit"] != __version__:
            raise InputError(f"the push is of kit {self.manifest['kit']}, and kit {__version__} was installed")
        for written, place in self.manifest["absolute"].items():
            _put(sent / place, Path(written))
        self.competition = _read(self.manifest, sent, inputs)
        self.prepared = prepare(self.competition)
        self._check()

    def _check(self) -> None:
        """Refuse images and folds that are not those of whoever pushed: no run would count there."""
        for name, here in (("pool_key", self.prepared.pool.key), ("fold_key", self.prepared.fold_key)):
            if self.manifest[name] != here:
                counts = {split: len(self.prepared.split(split)) for split in SPLITS}
                told = ", ".join(f"{n} {split} (there {self.manifest['images'][split]})" for split, n in counts.items())
                raise InputError(
                    f"Kaggle's images or labels are not those of the workspace that pushed: {told}; push with "
                    "--with-data, which sends that workspace's own"
                )

    def train(self, seconds: float) -> None:
        """Train the runs; pack, whatever happens."""
        set_deadline(seconds)
        home = self.competition.workspace.runs(self.competition.name)
        ended, message, skipped = FAILED, "", {}
        try:
            with shown(home, "train"), self._packing():
                _, skipped = train_runs(self.prepared, self.manifest["runs"], strict=False)
            is_cut = time_is_up() or any(isinstance(reason, OutOfTime) for reason in skipped.values())
            ended = DONE if all(is_finished(self.prepared, name) for name in self.manifest["runs"]) else FAILED
            ended = CUT if ended == FAILED and is_cut else ended
            message = "; ".join(describe_skipped(skipped))
        except (InputError, LeakFound, RuntimeError, OSError) as error:
            message = str(error) or type(error).__name__
            terminal.fail(message)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.pack(ended, message)

    @contextlib.contextmanager
    def _packing(self) -> Iterator[None]:
        """Pack now and then what there is so far, beside the training: a session may be ended before its time."""
        over = threading.Event()

        def pack_now_and_then() -> None:
            while not over.wait(PACK_SECONDS):
                try:
                    self.pack(CUT, "the session was ended before its time")
                except Exception as error:  # a checkpoint that goes as its fold is finished, say: the next pack has it
                    terminal.warn(f"not packed now ({type(error).__name__}: {error}); the next time is soon")

        packer = threading.Thread(target=pack_now_and_then, daemon=True, name="packer")
        packer.start()
        try:
            yield
        finally:
            over.set()
            packer.join()

    def pack(self, ended: str, message: str) -> None:
        """Write what is finished and what is not; the earlier pack goes once output.json tells of this one."""
        names = self.manifest["runs"]
        begun = _list_begun(self.prepared, names)  # before the results: a run that ends meanwhile is in both
        results = [result for name in names for result in _list_results(self.prepared, name)]
        finished = [name for name in names if is_finished(self.prepared, name)]
        unfinished = [name for name in names if name not in finished]
        for left in self.output.glob(".pack.*"):  # of a training that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=".pack.", dir=self.output) as made:
            place = Path(made)
            if results:
                share_runs(self.prepared, results, place / RUNS)
            _pack_folders(self.prepared, begun, place / UNFINISHED)
            written = {path.name: path for path in sorted(place.iterdir())}
            told = read_json(self.output / OUTPUT)
            before = {place_of(told["files"], name) for name in told["files"]} if told else set()
            facts = {name: {"size": path.stat().st_size, "sha256": hash_file(path)} for name, path in written.items()}
            for name, path in written.items():
                facts[name]["file"] = NEXT + name if name in before else name
                os.replace(path, self.output / facts[name]["file"])
        document = {"token": self.token, "ended": ended, "message": message, "files": facts}
        document |= {"finished": finished, "unfinished": unfinished, "place": describe_place()}
        write_json(self.output / OUTPUT, document)
        for name in before - {place_of(facts, name) for name in facts}:
            (self.output / name).unlink(missing_ok=True)
        sizes = ", ".join(f"{name} {facts[name]['size'] / 1e6:,.1f} MB" for name in written) or "nothing to pack"
        terminal.stage("packed", f"{terminal.count(len(finished), 'finished run')}; {sizes}")


def _list_results(prepared: Prepared, name: str) -> list[Result]:
    """Return what is finished of a run: itself, as far as it came, and its rounds."""
    results = []
    if result := find_result(prepared, name):
        results.append(result)
    with contextlib.suppress(TeacherMissing):
        results += made_rounds(prepared, prepared.competition.run(name))
    return list({(result.name, result.record.key): result for result in results}.values())


def _put(source: Path, target: Path) -> None:
    """Let weights that a run names by a whole path be found there."""
    target = target.expanduser()
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def _read(manifest: dict[str, Any], sent: Path, inputs: Path) -> Competition:
    """Return the competition with its data where they lie here, and without the solution, which did not come."""
    root = sent / "data"
    if manifest["slug"]:
        found = [path for depth in range(DEPTH) for path in sorted(inputs.glob("*/" * depth + manifest["slug"]))]
        if not found:
            raise InputError(f"{inputs}: the data of the competition {manifest['slug']} are not attached")
        root = found[0]
    workspace = Workspace(sent / "workspace")
    changes, seed = tuple(manifest["changes"]), manifest["seed"]
    competition = read_competition(manifest["competition"], workspace, changes, seed)
    root = _find_root(root, competition) if manifest["slug"] else root
    data = competition.data.model_copy(update={"root": str(root), "embedded": None, "solution": None})
    return competition.model_copy(update={"data": data})


def _find_root(folder: Path, competition: Competition) -> Path:
    """Return the folder of the competition's data that holds what ``[data]`` names: it may lie further below."""
    named = [
        each if isinstance(each, str) else each.csv or each.folders[0] for each in competition.data.labeled_sources
    ]
    places = (path for depth in range(1, DEPTH) for path in sorted(folder.glob("*/" * depth)))
    return next((path for path in chain([folder], places) if all((path / name).exists() for name in named)), folder)


def _list_begun(prepared: Prepared, names: Sequence[str]) -> list[Path]:
    """Return the folders of runs, and of their rounds, that are not finished now."""
    return [folder for folder in list_folders(prepared, names) if not (folder / "run.json").exists()]


def _pack_folders(prepared: Prepared, folders: Sequence[Path], file: Path) -> None:
    """Pack the files of runs in these folders; no file where there is nothing."""
    places = {f"runs/{place}": path for place, path in list_files(prepared, folders)}
    if places:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packing:
            for place, path in places.items():
                add_file(packing, zipfile.ZipInfo(place), path)


def main() -> None:
    """Do what the words of the call say; an error is told in what is left, too."""
    set_up_process()
    token, sent, inputs, output, what, word = sys.argv[1:]
    try:
        session = Session(token, Path(sent), Path(inputs), Path(output))
    except InputError as error:
        terminal.fail(str(error))
        facts = {"token": token, "ended": FAILED, "message": str(error), "files": {}, "finished": [], "unfinished": []}
        write_json(Path(output) / OUTPUT, facts)
        return
    if what == "train":
        session.train(float(word))
    else:
        session.pack(what, word)


if __name__ == "__main__":
    main()
