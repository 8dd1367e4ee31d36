"""The key of a model's source: a move or another docstring keeps it, any change of code does not."""

from __future__ import annotations

import inspect
import sys
import types

import pytest

from kit.models import MODELS
from kit.runs.store.source import source_key

SOURCE = '''
"""A model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from kit.models.model import Model

if TYPE_CHECKING:
    from kit.data.images import Images

SCALE = 20  # of the cosines


@dataclass
class Nearest(Model):
    """Choose the nearest."""

    tasks: ClassVar[tuple[str, ...]] = ("multiclass",)

    centre: bool = True
    seed: int = 0

    def fit(self, labeled: Images, unlabeled: Images) -> Nearest:
        """Learn."""
        from sklearn.svm import SVC

        rows: list[int] = [3, 1]
        self.rows, self.machine = rows, SVC()
        return self


def scaled(values: np.ndarray) -> np.ndarray:
    """Scale."""
    return SCALE * values
'''
IDLE = {
    "a module's docstring": ('"""A model."""', '"""Another sentence."""'),
    "no docstring": ('    """Scale."""\n', ""),
    "a comment": ("20  # of the cosines", "20"),
    "a moved import": ("from kit.models.model import Model", "from kit.models.base import Model"),
    "an import inside a function": ("from sklearn.svm import SVC", "from sklearn.svm import SVC, NuSVC"),
    "another import for types": ("    from kit.data.images import Images", "    from kit.data.images import Pool"),
    "an annotation": ("values: np.ndarray) -> np.ndarray:", "values: Vectors) -> Logits:"),
    "an annotated constant": ("SCALE = 20", "SCALE: int = 20"),
    "a local annotation": ("rows: list[int] = [3, 1]", "rows = [3, 1]"),
    "layout": ("return SCALE * values", "return (\n        SCALE\n        * values\n    )"),
    "quotes": ('("multiclass",)', "('multiclass',)"),
}
TELLING = {
    "a constant": ("SCALE = 20", "SCALE = 21"),
    "a number of another type": ("SCALE = 20", "SCALE = 20.0"),
    "a default": ("centre: bool = True", "centre: bool = False"),
    "a field's type": ("centre: bool", "centre: int"),
    "a field": ("    seed: int = 0\n", "    seed: int = 0\n    scale: float\n"),
    "an operator": ("SCALE * values", "SCALE + values"),
    "an order": ("[3, 1]", "[1, 3]"),
    "a decorator": ("@dataclass\n", "@dataclass(kw_only=True)\n"),
    "a base": ("Nearest(Model)", "Nearest(Model, Other)"),
    "a method": ("        self.rows, self.machine = rows, SVC()\n", ""),
    "what an imported name stands for": ("import SVC", "import NuSVC as SVC"),
    "the library of an imported name": ("from sklearn.svm", "from cuml.svm"),
    "a name": ("def scaled", "def rescaled"),
}


def key_of_source(monkeypatch, source: str) -> str:
    module = types.ModuleType("nearest")
    model = type("Nearest", (), {"__module__": "nearest"})
    monkeypatch.setitem(sys.modules, "nearest", module)
    monkeypatch.setattr(inspect, "getsource", lambda _: source)
    return source_key(model)


@pytest.mark.parametrize("change", IDLE)
def test_what_decides_nothing_keeps_the_key(monkeypatch, change):
    old, new = IDLE[change]
    assert old in SOURCE
    assert key_of_source(monkeypatch, SOURCE.replace(old, new)) == key_of_source(monkeypatch, SOURCE)


@pytest.mark.parametrize("change", TELLING)
def test_any_change_of_code_changes_the_key(monkeypatch, change):
    old, new = TELLING[change]
    assert old in SOURCE
    assert key_of_source(monkeypatch, SOURCE.replace(old, new)) != key_of_source(monkeypatch, SOURCE)


def test_every_model_has_a_key_of_its_own():
    assert len({source_key(model) for model in MODELS.values()}) == len(MODELS)


def test_what_a_class_derives_from_is_in_its_key(monkeypatch):
    model, getsource = MODELS["linear_probe"], inspect.getsource
    before = source_key(model)
    head = sys.modules["kit.models.heads.head"]
    monkeypatch.setattr(inspect, "getsource", lambda module: getsource(module) + "X = 1\n" * (module is head))
    assert source_key(model) != before


def test_what_the_base_class_of_all_cannot_do_is_in_no_key(monkeypatch):
    model, getsource = MODELS["linear_probe"], inspect.getsource
    before = source_key(model)
    base = sys.modules["kit.models.model"]
    monkeypatch.setattr(inspect, "getsource", lambda module: getsource(module) + "X = 1\n" * (module is base))
    assert source_key(model) == before


def test_a_module_that_is_being_saved_has_another_key(monkeypatch):
    half = SOURCE[: SOURCE.index("labeled: Images")]
    assert key_of_source(monkeypatch, half) != key_of_source(monkeypatch, SOURCE)
