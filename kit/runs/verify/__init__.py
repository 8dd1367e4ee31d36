"""Verify: re-derive what every finished run claims; a leak is named.

Reads everything under ``runs/NAME`` that the leaderboard would show, and what that was made from; writes nothing.
Re-derived are: that no fold's model was fitted on the fold's own images, as far as the ledger that it left tells; that
pseudo labels are those which the teachers' models *of the same fold* give; that a swept setting of a fold is the one
which the other folds choose, and that the models of pairs of folds saw neither; that oof and test are the folds'
predictions, which are as they were written, and the ensemble's what its members give; that CV and standard error follow
from the oof, and what is expected of what is sent from those and the test predictions. That groups do not straddle
folds is checked whenever the fold file is read. Nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence

from kit.core.names import ENSEMBLE
from kit.core.terminal import Progress
from kit.data.prepared import Prepared
from kit.runs.store.result import Result
from kit.runs.store.score import apart_of
from kit.runs.verify.claims import (
    verify_coverage,
    verify_features,
    verify_files,
    verify_identity,
    verify_score,
    verify_test_mean,
)
from kit.runs.verify.derivation import (
    verify_ensemble,
    verify_fold,
    verify_pseudo,
    verify_rounds,
    verify_settled,
)
from kit.runs.verify.log import verify_log
from kit.runs.verify.pairs import verify_pairs, verify_sent
from kit.runs.verify.predictions import verify_predictions
from kit.runs.verify.sentences import describe_checks
from kit.runs.verify.sources import is_fitted, with_sources


def verify(prepared: Prepared, results: Sequence[Result], with_weights: bool = True) -> list[str]:
    """Return one sentence for the folds, for every run, and all that it was made from, and for the log of looks.

    `with_weights` lets heads predict again from the weights that they have kept, which takes about as long as fitting
    them did.

    Raises
    ------
    LeakFound
        Naming the run, the fold and the images, at the first check that did not hold.
    InputError
        When a file is missing or cannot be read.
    """
    runs = with_sources(prepared, results)
    for run in runs.values():
        verify_identity(prepared, run, run.settings)
        verify_coverage(prepared, run)
        verify_features(prepared, run)
    fitted = [run for run in runs.values() if is_fitted(run)]
    with Progress("verify", len(prepared.scored) * len(fitted)) as progress:
        for fold in prepared.scored:  # outside the loop over runs: teachers' predictions of the pool are read once
            for run in fitted:
                verify_fold(prepared, run, fold)
                if not run.record.rounds:
                    verify_pseudo(prepared, runs, run, fold)
                progress.advance()
    sentences = [f"folds: {len(prepared.folds)} labelled images, checked on reading"]
    for run in runs.values():
        apart = apart_of(prepared, run)
        if is_fitted(run):
            if run.record.rounds:
                verify_rounds(prepared, runs, run)
            else:
                verify_pairs(prepared, run, with_weights)
                verify_settled(prepared, run)
                if with_weights:
                    verify_predictions(prepared, run)
            verify_test_mean(prepared, run)
            verify_files(prepared, run)
            if not run.record.rounds:
                verify_sent(prepared, run)  # last: an edited file is told as that
        elif run.name == ENSEMBLE:
            apart = verify_ensemble(prepared, runs, run)
        else:
            verify_sent(prepared, run)
        verify_score(prepared, run, apart)
        sentences.append(describe_checks(prepared, run, with_weights))
    return [*sentences, verify_log(prepared, runs.values())]
