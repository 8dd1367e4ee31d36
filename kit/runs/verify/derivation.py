"""What a run was made from, derived again: its ledgers, its pseudo labels, its rounds, its settings, its members."""

from __future__ import annotations

import numpy as np

from kit.config.runs import PseudoPlan
from kit.core.errors import LeakFound, some
from kit.core.shapes import Proba
from kit.data.images import ids_of, names_of
from kit.data.prepared import Prepared
from kit.runs.ensemble import combine
from kit.runs.fit.fold import read_sweep
from kit.runs.fit.restore import read_settled
from kit.runs.fit.sweep import choose_per_fold
from kit.runs.pseudo.rounds import choose_for_fold
from kit.runs.store.exclusion import leave_out
from kit.runs.store.pairs import BY_PAIRS, Apart, Pairs
from kit.runs.store.result import Result, fold_folder
from kit.runs.store.rounds import choose_rounds
from kit.runs.store.sent import describe_sent
from kit.runs.verify.pairs import check_sent, is_told
from kit.runs.verify.sources import REFIT_TOLERANCE, ReadRun, can_derive, differ, read_ledger


def verify_fold(prepared: Prepared, run: ReadRun, fold: int) -> None:
    """One fold's model must not have seen the fold, by its ledger, and the oof must be what it wrote."""
    labeled, held_out = read_ledger(run, fold)["labeled"], prepared.held_out(fold)
    if seen := sorted(set(labeled) & set(names_of(held_out))):
        raise LeakFound(f"{run.name} fold {fold}: fitted on {len(seen)} images of its own fold: {some(seen)}")
    if foreign := sorted(set(labeled) - set(names_of(prepared.training(fold)))):
        raise LeakFound(f"{run.name} fold {fold}: fitted on images outside the training folds: {some(foreign)}")
    _verify_whole(prepared, run, fold, labeled)
    of_fold = run.fold_predictions(fold, "oof")
    if set(of_fold.ids) != set(ids_of(held_out)):
        raise LeakFound(f"{run.name} fold {fold}: its predictions are of other images than the fold's")
    if not np.array_equal(of_fold.proba, run.predictions("oof").at(of_fold.ids).proba):
        raise LeakFound(f"{run.name} fold {fold}: oof.parquet is not what this fold's model said")


def _verify_whole(prepared: Prepared, run: ReadRun, fold: int, labeled: list[str]) -> None:
    """The ledger must name every training image of the fold, once."""
    settings = run.settings
    if settings is None and (run.record.rounds or run.record.exclude):
        return  # a run of rounds has the ledgers of its rounds; which images an old file left out is not known
    training = prepared.training(fold)
    wanted = names_of(training if settings is None else leave_out(prepared, settings, training))
    if missing := sorted(set(wanted) - set(labeled)):
        raise LeakFound(
            f"{run.name} fold {fold}: its ledger was cut short: {len(missing)} of {len(wanted)} training images are "
            f"not in it: {some(missing)}"
        )
    if len(labeled) != len(wanted):
        raise LeakFound(f"{run.name} fold {fold}: its ledger has {len(labeled)} images for {len(wanted)}: some twice")


def verify_pseudo(prepared: Prepared, runs: dict[tuple[str, str], ReadRun], run: ReadRun, fold: int) -> None:
    """Pseudo labels must be those that the models of the same fold of the run's teachers give."""
    ledger = read_ledger(run, fold)
    for teacher in ledger["teachers"]:
        if teacher["fold"] != fold:
            raise LeakFound(
                f"{run.name} fold {fold}: pseudo labels from {teacher['name']}'s model of fold {teacher['fold']}, "
                f"which was fitted on images of fold {fold}"
            )
    named = {teacher["name"]: teacher["key"] for teacher in ledger["teachers"]}
    if named != run.record.teachers:
        apart = sorted({name for name, _ in named.items() ^ run.record.teachers.items()})
        raise LeakFound(f"{run.name} fold {fold}: provenance.json and run.json name other teachers: {some(apart)}")
    written = list(zip(ledger["pseudo"]["ids"], ledger["pseudo"]["codes"], strict=True))
    teachers: list[ReadRun] = [runs[teacher] for teacher in run.record.teachers.items()]
    if teachers and not derives_cores(prepared, run):
        _verify_classes(prepared, teachers, run, fold, written)
        return
    given = _choose_again(prepared, teachers, run, fold)
    if written != given:
        names = sorted({name for name, _ in set(written) ^ set(given)})
        raise LeakFound(
            f"{run.name} fold {fold}: {len(names)} pseudo labels are not what the teachers' models of this fold give: "
            f"{some(names)}"
        )


def derives_cores(prepared: Prepared, run: ReadRun) -> bool:
    """Return whether what clusters of features vouch for can be derived again: rounded otherwise, clusters are others.

    True of a run without cores.
    """
    if not (run.record.pseudo or {}).get("cores"):
        return True
    return run.settings is None or can_derive(prepared, run.settings, run)


def _verify_classes(
    prepared: Prepared, teachers: list[ReadRun], run: ReadRun, fold: int, written: list[tuple[str, int]]
) -> None:
    """Every pseudo label must be what the teachers say of the image, whichever images the cores have left."""
    plan = PseudoPlan.model_validate(run.record.pseudo)
    whole = plan.model_copy(update={"cores": None, "strategy": "threshold", "threshold": 0.0})
    chosen = choose_for_fold(prepared, run.name, whole, run.record.use_test_images, teachers, fold)
    if odd := sorted({name for name, _ in set(written) - set(zip(chosen.ids, chosen.codes.tolist(), strict=True))}):
        raise LeakFound(
            f"{run.name} fold {fold}: {len(odd)} pseudo labels are not of the classes that the teachers' models of "
            f"this fold give: {some(odd)}"
        )


def _choose_again(prepared: Prepared, teachers: list[ReadRun], run: ReadRun, fold: int) -> list[tuple[str, int]]:
    """Return the pseudo labels that the teachers' models of a fold give: names and class codes."""
    if not teachers:
        return []
    plan = PseudoPlan.model_validate(run.record.pseudo)
    chosen = choose_for_fold(prepared, run.name, plan, run.record.use_test_images, teachers, fold)
    return list(zip(chosen.ids, chosen.codes.tolist(), strict=True))


def verify_rounds(prepared: Prepared, runs: dict[tuple[str, str], ReadRun], run: ReadRun) -> None:
    """A run of rounds must be those which the other folds choose, fold by fold."""
    made: list[Result] = [runs[round_made] for round_made in run.record.teachers.items()]
    teachers: list[Result] = [runs[teacher] for teacher in made[1].record.teachers.items()] if len(made) > 1 else []
    choice, noted = choose_rounds(prepared, made, teachers), run.record.rounds
    per_fold = {str(fold): number for fold, number in choice.per_fold.items()}
    if run.record.metric_key == prepared.metric.key and (noted["kept"], noted["per_fold"]) != (choice.kept, per_fold):
        raise LeakFound(
            f"{run.name}: run.json says that {noted['kept']} rounds are kept, by fold {noted['per_fold']}; the scored "
            f"images choose {choice.kept}, the other folds' {per_fold}"
        )
    for fold in prepared.scored:
        source = made[noted["per_fold"][str(fold)]]
        if read_ledger(run, fold) != read_ledger(source, fold):
            raise LeakFound(f"{run.name} fold {fold}: provenance.json is not that of {source.name}, the round it names")
        ours, theirs = run.fold_predictions(fold, "oof"), source.fold_predictions(fold, "oof")
        if not np.array_equal(ours.proba, theirs.at(ours.ids).proba):
            raise LeakFound(f"{run.name} fold {fold}: its oof is not that of {source.name}, the round that it names")
    if is_told(prepared, run):
        check_sent(run, describe_sent(prepared, run.predictions("oof"), run.predictions("test"), None))


def verify_settled(prepared: Prepared, run: ReadRun) -> None:
    """A swept setting of a fold must be what the other folds choose, and the fold's oof must be made with it."""
    if not (chosen := run.record.chosen):
        return
    sweeps = {fold: _read_sweep(prepared, run, fold) for fold in prepared.scored}
    apart = Pairs(prepared, run.folder).sweep if run.record.pairs else None
    best = choose_per_fold(prepared, chosen["values"], sweeps, chosen["default"], apart)
    for fold, value in best.items():
        where = f"{run.name} fold {fold}: {chosen['name']}"
        settled = read_settled(run.folder, fold)
        for noted in (settled, chosen["per_fold"].get(str(fold))):
            if noted != value:
                raise LeakFound(
                    f"{where} is {noted}, but the other folds' {'rows' if apart else 'oof rows'} choose {value}"
                )
        oof = run.fold_predictions(fold, "oof").at(ids_of(prepared.held_out(fold))).proba
        if value not in chosen["values"]:
            continue
        swept = sweeps[fold][chosen["values"].index(value)]
        swept = swept if prepared.hierarchy is None else prepared.hierarchy.make_consistent(swept)
        if differ(oof, swept, REFIT_TOLERANCE):
            raise LeakFound(f"{where} is {value}, but its oof is not what the model says with that")


def _read_sweep(prepared: Prepared, run: ReadRun, fold: int) -> Proba:
    """Return a fold's probabilities at every value, (n_values, n_images, n_classes)."""
    path = fold_folder(run.folder, fold) / "sweep.npy"
    if not path.exists():
        raise LeakFound(f"{run.name} fold {fold}: {path} is missing; on what its setting was chosen is unknown")
    sweep = read_sweep(run.folder, fold)
    wanted = (len(run.record.chosen["values"]), int((prepared.folds == fold).sum()), len(prepared.classes))
    if sweep.shape != wanted:
        raise LeakFound(f"{run.name} fold {fold}: {path} has shape {sweep.shape}, not {wanted}")
    return sweep


def verify_ensemble(prepared: Prepared, runs: dict[tuple[str, str], ReadRun], run: ReadRun) -> Apart | None:
    """The ensemble must be what its members give; return what chose its thresholds, where pairs of folds did."""
    members: list[Result] = [runs[member] for member in run.record.members.items()]
    oof, test, learned = combine(prepared, members, prepared.competition.ensemble.method)
    for split, again in (("oof", oof.predictions), ("test", test)):
        if differ(run.predictions(split).at(again.ids).proba, again.proba, REFIT_TOLERANCE):
            remedy = f"delete {run.folder} and {prepared.competition.command('ensemble')} makes it anew"
            cause = f"{split}.parquet is not what its members give: {some(run.record.members)}"
            raise LeakFound(f"{run.name}: {cause}; {remedy}")
    if is_told(prepared, run):
        check_sent(run, learned["sent"])
    thresholds = run.record.thresholds
    return oof.apart if thresholds is not None and thresholds.nested == BY_PAIRS else None
