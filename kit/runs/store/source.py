"""The code of a model, as far as it decides what the model predicts: part of a run's key.

Reads the source files of the model's class and of the classes that it derives from, but for `Model`, whose defaults the
kit's version stands for. Comments, docstrings, layout and the annotations of functions decide nothing, nor does the
room of the kit that something is imported from: a file may be moved and its prose be mended, and finished runs are
found again. Whatever else is changed is another model, what an imported name stands for included.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache

from kit.core.files import key_of
from kit.models.model import Model

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # what statements, and nothing else, stand in
IDLE_FIELDS = ("annotation", "returns", "type_comment")


def source_key(model_type: type[Model]) -> str:
    """Return the hash of the code of the modules that define a model's class and the classes it derives from."""
    modules = dict.fromkeys(base.__module__ for base in model_type.__mro__ if base not in (object, Model))
    return key_of([hash_code(inspect.getsource(sys.modules[name])) for name in modules])


@cache
def hash_code(source: str) -> str:
    """Return the hash of a module's code; of one that cannot be read, being saved just now, that of its text."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return key_of(source)
    values: set[str] = set()
    code = _spell(tree, False, values)
    return key_of(code, sorted(meaning for name, meaning in _imports(tree) if repr(name) in values))


def _imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Give each imported name, and what it stands for: of what is the kit's, whatever the room that it comes from."""
    statements: list[ast.AST] = [tree]
    for node in statements:
        statements += [part for block in BLOCKS for part in getattr(node, block, ())]
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                name = (alias.asname or alias.name).partition(".")[0]
                yield name, [name, "kit" if module.partition(".")[0] == "kit" else module, alias.name]


def _spell(node: object, in_class: bool, values: set[str]) -> object:
    """Return a part of a syntax tree as nested lists that are the same in every version of Python.

    Names and other values, as Python writes them, are added to `values`.
    """
    if isinstance(node, list):
        return [_spell(part, in_class, values) for part in node if not _is_idle(part, in_class)]
    if not isinstance(node, ast.AST):
        value = repr(node)
        values.add(value)
        return value
    if isinstance(node, ast.AnnAssign) and node.value is not None and not in_class:  # in a class it declares a field
        node = ast.Assign([node.target], node.value)
    within = isinstance(node, ast.ClassDef) or (in_class and not isinstance(node, FUNCTIONS))
    is_field = isinstance(node, ast.AnnAssign)
    code: list[object] = [type(node).__name__]
    for name in node._fields:
        value = getattr(node, name, None)
        if value is not None and value != [] and (is_field or name not in IDLE_FIELDS):
            code.append([name, _spell(value, within, values)])
    return code


def _is_idle(node: object, in_class: bool) -> bool:
    """Return whether a statement decides nothing: an import, a docstring, a bare annotation."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    is_bare = isinstance(node, ast.AnnAssign) and node.value is None and not in_class
    return is_bare or isinstance(node, ast.Import | ast.ImportFrom)
