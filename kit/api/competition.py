"""A competition as Python sees it: its images, its runs, what is done with them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.api.opened import Opened, as_names
from kit.api.place import computing, in_time
from kit.core.names import ENSEMBLE

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from kit.api.pictures import Mistakes, Page
    from kit.core.shapes import Pixels

    Picture = str | Path | Image.Image | Pixels


class Competition(Opened):
    """A competition, opened by `kit.open` or begun by `kit.new`.

    Its tables are pandas DataFrames, its mistakes InputError and its kin with the words of the command line. Stages and
    progress are told on stderr; with `quiet` nothing is. competition.toml is read on every call, the images once: open
    the competition again when files have changed.

    Parameters
    ----------
    name
        A name or the path of a folder that holds competition.toml.
    workspace
        Where data/, runs/, folds/ and submissions/ lie; the checkout by default, else the working folder.
    changes
        Keys to override, as ``--set`` does: ``{"runs.probe.C": 3}`` or ``["runs.probe.C=3"]``.
    seed
        Seed of every run.
    quiet
        Say nothing on stderr; may be set at any time.

    Examples
    --------
    >>> import kit
    >>> digits = kit.open("digits", workspace=folder, quiet=True)
    >>> digits
    <kit.Competition 'digits': 10 classes, 150 labeled, 850 unlabeled, 797 test>
    >>> digits.train("svm").round(2)
       run    cv    se
    0  svm  0.93  0.02
    >>> digits.leaderboard().loc[0, ["run", "verdict"]].tolist()
    ['svm', 'best']
    """

    @property
    def name(self) -> str:
        """Return the competition's name."""
        return self._settings().name

    @property
    def file(self) -> Path:
        """Return competition.toml."""
        return self._settings().file

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, in the order of all probabilities."""
        with self._looking("classes") as prepared:
            return prepared.classes

    @property
    def images(self) -> pd.DataFrame:
        """Return all usable images.

        Returns
        -------
        pandas.DataFrame
            Columns id, path, label, split (``"labeled"``, ``"unlabeled"``, ``"test"``) and fold; label and fold are
            missing where there is none. Several labels of an image stand in one cell, a ``|`` between two.

        Examples
        --------
        >>> digits.images["split"].value_counts().to_dict()
        {'unlabeled': 850, 'test': 797, 'labeled': 150}
        """
        from kit.api.tables import images_table

        with self._looking("images") as prepared:
            return images_table(prepared)

    @property
    def folds(self) -> pd.DataFrame:
        """Return the labelled images with their folds: columns id, label, fold and group; a group is never parted.

        Examples
        --------
        >>> digits.folds.groupby("fold").size().tolist()
        [30, 30, 30, 30, 30]
        """
        from kit.api.tables import folds_table

        with self._looking("folds") as prepared:
            return folds_table(prepared)

    @property
    def runs(self) -> pd.DataFrame:
        """Return the runs of competition.toml in its order: run, model, encoder, state, cv and se.

        Examples
        --------
        >>> digits.runs.set_index("run").loc["svm", "state"]
        'finished'
        """
        from kit.api.tables import runs_table
        from kit.runs.train import describe_unfinished, find_finished

        with self._looking("runs") as prepared:
            results = find_finished(prepared)
            return runs_table(prepared.competition, results, describe_unfinished(prepared, results))

    def train(
        self,
        runs: str | Sequence[str] = (),
        time_limit: str | float | None = None,
        note: str | None = None,
        engine: str | None = None,
        address: str | None = None,
    ) -> pd.DataFrame:
        """Cross-validate runs; what is finished already is re-used, what was stopped goes on.

        Parameters
        ----------
        runs
            A run or a grid, or several; all runs by default.
        time_limit
            Stop cleanly after this long: ``"9h"``, ``"30m"``, or seconds.
        note
            What these runs try, in your words; ``history`` shows it.
        engine, address
            Who computes: ``"local"``, this machine, or ``"ray"``, the nodes of the cluster at ``"HOST:PORT"`` or
            ``"auto"``, the one that this machine is a node of.

        Returns
        -------
        pandas.DataFrame
            Columns run, cv and se, one standard error.

        Raises
        ------
        InputError
            When there is no such run, an option is refused, weights cannot be had, or no cluster answers.
        TimeIsUp
            When the time limit is reached; what was computed is kept.

        Examples
        --------
        >>> digits.train(["svm"], time_limit="10m")["run"].tolist()
        ['svm']
        """
        import pandas as pd

        from kit.api.stages import names_of_runs, train_named

        named = as_names(runs, "runs", '"probe" or ["probe", "svm"]')
        with self._call("train()"), in_time(time_limit), computing(engine, address):
            names_of_runs(self._settings(), named)  # a name that is none is told before the images are read
            with self._holding() as prepared:
                results = train_named(prepared, named, note=note)
        rows = [(result.name, result.record.cv, result.record.se) for result in results]
        return pd.DataFrame(rows, columns=["run", "cv", "se"])

    def all(
        self,
        time_limit: str | float | None = None,
        note: str | None = None,
        engine: str | None = None,
        address: str | None = None,
    ) -> pd.DataFrame:
        """Do everything: all runs, the ensemble, one submission, the checks for leaks, the report.

        Returns the leaderboard, with the runs that were skipped and why. A run that the time limit left out is among
        them; the next call goes on with it. A `note` stays with every run that is finished; ``history`` shows it.
        `engine` and `address` are those of `train`.
        """
        from kit.api.stages import compare, do_all
        from kit.api.tables import board_table
        from kit.core.stopwatch import Stopwatch
        from kit.runs.store.ledger import noting

        there = computing(engine, address)
        with self._call("all()"), in_time(time_limit), there, noting(note), self._holding(look_again=True) as prepared:
            made = do_all(prepared, Stopwatch())
            return board_table(compare(prepared, made.finished, made.skipped).rows)

    def leaderboard(self) -> pd.DataFrame:
        """Compare the finished runs, the best first; runs that are not finished follow with their state.

        It reads the last finished state, also while another process trains.

        Returns
        -------
        pandas.DataFrame
            Columns run, model, encoder, cv, se, low and high (the 95 % interval), scores in other metrics with their
            standard errors, difference and difference_se (paired, to the best), verdict, local, local_se, public,
            private, seconds, round, test_images_used and remarks. Numbers are floats, NaN where not known.

        Examples
        --------
        >>> board = digits.leaderboard()
        >>> bool(board["cv"].dropna().is_monotonic_decreasing)
        True
        """
        from kit.api.stages import compare, list_finished
        from kit.api.tables import board_table

        with self._looking("leaderboard()", at_runs=True) as prepared:
            return board_table(compare(prepared, list_finished(prepared)).rows)

    def oof(self, run: str = ENSEMBLE) -> pd.DataFrame:
        """Return out-of-fold predictions: of each labelled image by models that did not see it.

        Returns
        -------
        pandas.DataFrame
            Columns id, label, fold, and a probability per class.

        Examples
        --------
        >>> digits.oof("svm").shape
        (150, 13)
        """
        from kit.api.tables import oof_table
        from kit.runs.train import find_trained

        with self._looking("oof()") as prepared:
            return oof_table(prepared, find_trained(prepared, run))

    def predict(self, images: Picture | Sequence[Picture], run: str = ENSEMBLE) -> pd.DataFrame:
        """Predict new images by a run's models, or the ensemble's: the mean of those of all folds.

        Models that keep no weights (forest, svm, label_spreading) are fitted anew first.

        Parameters
        ----------
        images
            A folder, or files, PIL images or arrays (height, width, 3) of 0..255; one or several.

        Returns
        -------
        pandas.DataFrame
            Columns id, label, and a probability per class. The id is the file's name without its suffix, with its
            folders where names repeat; of what is no file its place, from 0. An image that cannot be read has no label.

        Raises
        ------
        InputError
            When there is no image, or the run cannot predict new ones: it was imported, or refitted on everything.

        Examples
        --------
        >>> digits.predict(digits.images["path"].head(3), "svm").columns.tolist()[:4]
        ['id', 'label', '0', '1']
        """
        from kit.api.fresh import fresh_table
        from kit.api.tables import predictions_table
        from kit.kaggle.bundle import predict_fresh
        from kit.runs.train import find_members, find_trained

        with self._call("predict()"), fresh_table(images) as table, self._holding() as prepared:
            results = find_members(prepared) if run == ENSEMBLE else [find_trained(prepared, run)]
            return predictions_table(prepared, table["id"].tolist(), *predict_fresh(prepared, results, table))

    def submission(self, run: str = ENSEMBLE, to: str | Path | None = None) -> Path:
        """Write the next validated CSV of a run, with a row of the ledger; return its path.

        Parameters
        ----------
        to
            A copy for Kaggle's notebooks, which send ``submission.csv`` of the working folder; its path is returned.

        Examples
        --------
        >>> digits.submission("svm").name
        '001_svm.csv'
        """
        from kit.core.files import write_atomic
        from kit.kaggle.submission import make_submission
        from kit.runs.train import find_trained

        with self._looking("submission()") as prepared:
            path = make_submission(prepared, find_trained(prepared, run))
        if to is None:
            return path
        with write_atomic(Path(to)) as file:
            file.write(path.read_bytes())
        return Path(to)

    def submit(
        self,
        run: str = ENSEMBLE,
        message: str = "",
        *,
        wait: bool = False,
        dry_run: bool = False,
        again: bool = False,
        kernel: str | None = None,
        version: int | None = None,
    ) -> dict[str, Any]:
        """Send a run's submission to Kaggle: checked before, sent once, believed when Kaggle lists it.

        Nobody is asked: the call is the yes. A cell that is run twice spends no second submission: what was sent before
        is refused. Of a practice competition nothing is sent; its solution scores the file here.

        Parameters
        ----------
        message
            What Kaggle's list shows of it.
        wait
            Wait for the score.
        dry_run
            Do all but send.
        again
            Send also what was sent before.
        kernel, version
            ``"OWNER/KERNEL"`` and its version, for code competitions.

        Returns
        -------
        dict
            The row of the ledger: file, run, cv, se, ref, public, private, ...; ``local`` of a practice competition.

        Examples
        --------
        >>> round(digits.submit("svm")["local"], 2)
        0.94
        """
        from kit.api.sending import Given, check_kernel, submit_run

        consent = Given(again)
        with self._call("submit()"):
            check_kernel(self._settings(), kernel, version)
            with self._holding() as ready:
                prepared = ready
            options = {"wait": wait, "dry_run": dry_run, "kernel": kernel, "version": version}
            return submit_run(prepared, run, message, consent, **options).document(prepared.competition)

    def mistakes(self, run: str | None = None) -> Mistakes:
        """Return the labelled images that a run mistakes out of fold, those that it is surest of first.

        A notebook shows a contact sheet, as the report does (``report``); `table` has them all. A wrong label is often
        among the first: ``triage`` looks for those. `run` is the best by default.

        Examples
        --------
        >>> mistakes = digits.mistakes("svm")
        >>> mistakes
        <svm: 11 of 150 labelled images mistaken out of fold; .table lists them, .save(PNG) draws them>
        >>> mistakes.table.columns.tolist()
        ['id', 'label', 'said', 'sureness', 'fold', 'path']
        """
        from kit.api.pictures import gather_mistakes
        from kit.api.stages import list_finished
        from kit.runs.train import find_trained

        with self._looking("mistakes()") as prepared:
            if run is not None:
                return gather_mistakes(prepared, find_trained(prepared, run))
            sign, results = prepared.metric.sign, list_finished(prepared)
            return gather_mistakes(prepared, max(results, key=lambda result: sign * result.record.cv))

    def report(self, png: bool = False) -> Page:
        """Write one HTML page of what is finished; a notebook shows it in a frame. `png` writes its charts too."""
        from kit.api.pictures import Page
        from kit.api.stages import write_page

        with self._looking("report()") as prepared:
            return Page(write_page(prepared, png)[0])

    def __repr__(self) -> str:
        return f"<kit.Competition {self.name!r}: {self._count()}>"

    def _repr_html_(self) -> str:
        """Return the title, what there is of images, and the runs, as a notebook shows them."""
        title = html.escape(self._settings().facts.title)
        return f"<b>{title}</b><br>{html.escape(self._count())}{self.runs.to_html(index=False, na_rep='')}"

    def _count(self) -> str:
        """Return how many classes and images there are."""
        with self._looking("images") as prepared:
            counts = (f"{len(prepared.split(split)):,} {split}" for split in ("labeled", "unlabeled", "test"))
            return f"{len(prepared.classes)} classes, {', '.join(counts)}"
