"""The text of a syntax tree that stays the same while only places and comments change."""

from __future__ import annotations

import ast
from typing import Any

# Nothing that runs; the same in every version of Python.
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}


def syntax(tree: ast.AST) -> str:
    """A tree without places, comments and docstrings, and without what only a script runs.

    Unlike ``ast.dump`` it is the same in all versions of Python, and takes trees of any depth.
    """
    parts: list[str] = []
    # A text is written as it is; anything else is still to be looked at.
    waiting: list[tuple[Any, bool]] = [(tree, False)]
    while waiting:
        item, written = waiting.pop()
        if written:
            parts.append(item)
        elif isinstance(item, ast.AST):
            if not _unseen(item):
                waiting.append((")", True))
                for name in reversed(item._fields):
                    value = getattr(item, name, None)
                    constant = isinstance(item, ast.Constant) and name == "value"
                    if name not in _LEFT_OUT and (constant or value not in (None, [])):
                        waiting += [(value, False), (f" {name}=", True)]
                waiting.append((f"({type(item).__name__}", True))
        elif isinstance(item, list):
            waiting += [("]", True), *((inner, False) for inner in reversed(item)), ("[", True)]
        else:
            parts.append(repr(item))
    return "".join(parts)


def _unseen(node: ast.AST) -> bool:
    """Whether no run can tell that a statement is there."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.If) and not node.orelse:
        return ast.unparse(node.test) == "__name__ == '__main__'"
    return isinstance(node, ast.Pass)


def label(statement: ast.stmt) -> str:
    """How people would call a top-level statement."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return statement.name
    if isinstance(statement, ast.Assign):
        return ", ".join(ast.unparse(target) for target in statement.targets)
    if isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        return ast.unparse(statement.target)
    line = ast.unparse(statement).splitlines()[0]
    return line if len(line) <= 60 else f"{line[:57]}..."
