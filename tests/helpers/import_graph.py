"""What the packages' modules import of each other, read from their source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from paths import ROOT

Graph = Mapping[str, frozenset[str]]


@cache
def modules(package: str) -> dict[str, Path]:
    """Each module's dotted name and its file; a folder's ``__init__`` goes by the folder's name."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted((ROOT / package).rglob("*.py"))
    }


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def module_imports(package: str) -> Graph:
    """Which modules of its package each module imports, also where it does so inside a function.

    An import that is only for type checkers counts too: who reads a file has to know what it names.
    """
    known = modules(package)
    graph = {}
    for name, file in known.items():
        found = set()
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in known else node.module)
        graph[name] = frozenset((found & known.keys()) - {name})
    return graph


def room_of(module: str) -> str:
    """``deeptool.codec.arrow`` is in ``codec``, ``deeptool`` itself in ``deeptool``."""
    return module.split(".")[1] if "." in module else module


@cache
def room_imports(package: str) -> Graph:
    """Which rooms of its package each room imports. The package's own ``__init__`` is no room."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, imported in module_imports(package).items():
        if module != package:
            graph[room_of(module)] |= {room_of(other) for other in imported if other != package}
    return {room: frozenset(others - {room}) for room, others in graph.items()}


def reachable(graph: Graph, start: Iterable[str]) -> set[str]:
    """Everything that `start` imports, and what that imports, and so on."""
    found: set[str] = set()
    todo = list(start)
    while todo:
        for other in graph.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def circles(graph: Graph) -> list[list[str]]:
    """The groups of nodes that import each other, directly or through others."""
    below = {node: reachable(graph, [node]) for node in graph}
    groups = {
        tuple(sorted(other for other in below[node] if node in below.get(other, ())))
        for node in graph
        if node in below[node]
    }
    return [list(group) for group in sorted(groups)]


def essential(graph: Graph) -> set[tuple[str, str]]:
    """The arrows that do not follow from others: what a drawing needs (`graph` has no circle)."""
    return {
        (node, other)
        for node, others in graph.items()
        for other in others
        if other not in reachable(graph, others)
    }
