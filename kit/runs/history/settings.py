"""How the settings of two runs differ, option by option; what is not written counts with its default."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from kit.config.competition import Run
from kit.config.toml import toml_value
from kit.data.prepared import Prepared
from kit.models import MODELS
from kit.runs.store.build import build_model, default_of

OF_RUN = ("bags", "seeds", "use_test_images", "refit", "exclude")  # beside the model's options and the pseudo labels

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Hold one key of which two runs have other values, each as TOML writes it; None where the key is not there."""

    key: str
    ours: str | None
    theirs: str | None


def values_today(prepared: Prepared, run: Run) -> Values:
    """Return every value that a run of competition.toml has today; InputError where its model refuses one."""
    options = build_model(prepared.competition, run).options()
    pseudo = run.pseudo.model_dump() if run.pseudo else None
    return flatten(run.model, options, pseudo, run.model_dump(include=set(OF_RUN)))


def values_then(line: Values) -> Values:
    """Return every value that a finished run had, from its line of the ledger or its run.json."""
    written = line.get("settings") or {}
    defaults = {key: Run.model_fields[key].default for key in OF_RUN}
    of_run = {key: written.get(key, default) for key, default in defaults.items()}
    of_run |= {key: bool(line.get(key)) for key in ("use_test_images", "refit")}
    if of_run["exclude"] is None and line.get("exclude"):  # of an earlier kit, which kept the file's name alone
        of_run["exclude"] = line["exclude"].get("file")
    return flatten(line.get("model", ""), line.get("options") or {}, line.get("pseudo"), of_run)


def flatten(model: str, options: Values, pseudo: Values | None, of_run: Values) -> Values:
    """Return settings as one table of plain values; those of inner tables by their path."""
    whole = {"model": model, **options, "pseudo": pseudo or {}, **of_run}
    return dict(_leaves(json.loads(json.dumps(whole, default=str))))


def _leaves(table: Values, path: str = "") -> list[tuple[str, Any]]:
    """Return the values of a table with their paths, tables in it opened."""
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{path}{key}.")
        elif value is not None:
            found.append((f"{path}{key}", value))
    return found


def differences(ours: Values, theirs: Values) -> list[Difference]:
    """Return the keys whose values differ, the model first."""
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return [
        Difference(key, _spell(ours.get(key)), _spell(theirs.get(key)))
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]


def _spell(value: Any) -> str | None:
    return None if value is None else toml_value(value)


def written_settings(line: Values) -> Values:
    """Return the table that makes a run again: as it was written, else what differs from the model's defaults.

    An earlier kit did not keep the table: bags and seeds are not known of its runs.
    """
    if written := line.get("settings"):
        return dict(written)
    model, options = line["model"], line.get("options") or {}
    fields = dataclasses.fields(MODELS[model]) if model in MODELS else ()
    defaults = {field.name: default_of(field) for field in fields}
    table = {"model": model}
    table |= {key: value for key, value in options.items() if value is not None and value != defaults.get(key)}
    table |= {key: True for key in ("use_test_images", "refit") if line.get(key)}
    pseudo = {key: value for key, value in (line.get("pseudo") or {}).items() if value is not None}
    return table | ({"pseudo": pseudo} if pseudo else {})
