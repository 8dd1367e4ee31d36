"""What a command of the kit imports sooner or later; imported by the server of `support.warm`, never by tests."""

from __future__ import annotations

import os
import pkgutil
import sys
from contextlib import suppress
from importlib import import_module

import kit

LIBRARIES = "matplotlib.figure open_clip pandas pyarrow.parquet scipy.optimize sklearn.ensemble sklearn.svm timm"
ROOMS = "cli config core curate data features models report runs scoring"

sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 -- what is imported here must not take us for a terminal
for room in ROOMS.split():
    for module in pkgutil.walk_packages([f"{kit.__path__[0]}/{room}"], f"kit.{room}."):
        import_module(module.name)
for library in LIBRARIES.split():
    with suppress(ModuleNotFoundError):  # open_clip may be absent
        import_module(library)
