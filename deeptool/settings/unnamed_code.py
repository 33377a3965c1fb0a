"""Code of a settings file that its pipeline reaches without naming it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deeptool.settings import user_modules
from deeptool.settings.loaded_file import LoadedFile

# Code that uses one of these may reach any name of its file, by a text that is made up meanwhile.
_BY_TEXT = {"globals", "locals", "vars", "eval", "exec"}


def by_text(statements: Iterable[ast.stmt]) -> bool:
    """Whether code may look up top-level names by a text."""
    return not names(statements).isdisjoint(_BY_TEXT)


def filling_hparams(loaded: LoadedFile) -> list[ast.stmt]:
    """The statements that fill hparams, where these hold functions or classes of the user's.

    hparams are compared by key, but a function is compared by its name alone.
    """
    if not any(_is_users_code(value) for value in _values(loaded.hparams.unrecorded())):
        return []
    aliases = {name for name, value in vars(loaded.module).items() if value is loaded.hparams}
    return [
        statement
        for statement in loaded.source.tree.body
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not aliases.isdisjoint(_filled(statement))
    ]


def unused_imports(tree: ast.Module) -> list[ast.stmt]:
    """The imports at the top level that are there for what the imported module does."""
    looked_up = names(tree.body)
    return [
        statement
        for statement in tree.body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        and not any(
            alias.name == "*" or (alias.asname or alias.name.partition(".")[0]) in looked_up
            for alias in statement.names
        )
    ]


def names(statements: Iterable[ast.AST]) -> set[str]:
    """The names that code looks up."""
    nodes = (node for statement in statements for node in ast.walk(statement))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _filled(statement: ast.stmt) -> Iterator[str]:
    """Names that are bound, or assigned into."""
    for node in ast.walk(statement):
        if isinstance(getattr(node, "ctx", None), ast.Store):
            base: Any = node
            while isinstance(base, (ast.Subscript, ast.Attribute)):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id


def _is_users_code(value: Any) -> bool:
    if not callable(value):
        return False
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return user_modules.is_users(getattr(module, "__file__", None) or "")


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _values(inner)
    else:
        yield value
