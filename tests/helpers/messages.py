"""The texts that the packages can print, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from import_graph import modules, tree

# Stands for what an f-string fills in. No text of the packages holds it.
FILLED = "\0"


def text_of(node: ast.AST) -> str | None:
    """The text of a string literal, an f-string or a sum of them; other parts are `FILLED`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or FILLED for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text_of(node.left), text_of(node.right)
        if left is not None or right is not None:
            return (left or FILLED) + (right or FILLED)
    return None


def texts_in(node: ast.AST) -> Iterator[str]:
    """Every text below `node` but docstrings, the largest that each belongs to."""
    for child in ast.iter_child_nodes(node):
        text = text_of(child)
        if text is None:
            yield from texts_in(child)
        elif not isinstance(node, ast.Expr):
            yield text


@cache
def texts() -> frozenset[str]:
    """The texts in all modules of both packages."""
    files = [file for package in ("deeptool", "hpc") for file in modules(package).values()]
    return frozenset(text for file in files for text in texts_in(tree(file)))
