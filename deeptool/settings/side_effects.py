"""What a statement may change beyond the names that it binds, as far as its syntax tells."""

from __future__ import annotations

import ast
import builtins
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

Value = Callable[[ast.expr], Any]

# Packages that write down what they are given and change no samples.
_RECORDERS = (
    *("absl", "aim", "clearml", "comet_ml", "logging", "loguru", "matplotlib", "mlflow"),
    *("neptune", "pprint", "rich", "structlog", "tensorboard", "tqdm", "wandb", "warnings"),
)
_FOLDER_MAKERS = ("makedirs", "mkdir")
# Of the builtins, those that change what they are given, or run what cannot be seen.
_CHANGING = ("setattr", "delattr", "exec", "eval", "next")
# Ways to an attribute that are no assignment to it; ``__dict__`` and the like are others.
_ATTRIBUTE_WAYS = ("setattr", "delattr", "vars", "exec", "eval")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass
class Effects:
    """What a statement may change.

    Attributes
    ----------
    assigned : set of str
        Names whose attributes or items are assigned to.
    calls : bool
        Whether there is a call at all.
    for_effect : bool
        Whether a call is made for what it does, and not for its value.
    stores : bool
        Whether attributes or items of something are assigned to that others may see.
    sets_attributes : bool
        Whether some of these are attributes, or may be.
    elsewhere : bool
        Whether another package is called for what it does.
    """

    assigned: set[str] = field(default_factory=set)
    calls: bool = False
    for_effect: bool = False
    stores: bool = False
    sets_attributes: bool = False
    elsewhere: bool = False


def of_running(statement: ast.stmt, value: Value, own: Callable[[Any], bool]) -> Effects:
    """What a top-level statement may change by itself: functions that it defines do not run.

    Parameters
    ----------
    statement : ast.stmt
    value : callable
        What a dotted name holds at the top level, None where that is not known.
    own : callable
        Whether a value is of the file itself.
    """
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return Effects()
    return _effects(list(_running(statement)), value, own, frozenset())


def of_calling(statement: ast.stmt, value: Value, own: Callable[[Any], bool]) -> Effects:
    """What the functions that a statement defines may change when they are called."""
    nodes = list(ast.walk(statement))
    return _effects(nodes, value, own, _unshared(nodes))


def _effects(
    nodes: list[ast.AST], value: Value, own: Callable[[Any], bool], unshared: frozenset[str]
) -> Effects:
    effects = Effects()
    for node in nodes:
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            names = set(_names(node)) - unshared
            effects.assigned |= names
            if names:
                effects.stores = True
                effects.sets_attributes |= isinstance(node, ast.Attribute)
        if _reaches_attributes(node):
            effects.stores = effects.sets_attributes = True
        effects.calls |= isinstance(node, ast.Call)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if not _harmless(call, value) and not unshared.issuperset(_names(call.func)):
                effects.for_effect = effects.stores = True
                effects.elsewhere |= not own(_root_value(call.func, value))
    return effects


def _reaches_attributes(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr.startswith("__")
    return isinstance(node, ast.Name) and node.id in _ATTRIBUTE_WAYS


def _harmless(call: ast.Call, value: Value) -> bool:
    """Whether a call changes none of its arguments, and nothing that the samples come from."""
    function = call.func
    if isinstance(function, ast.Attribute):
        if function.attr in _FOLDER_MAKERS:
            return True
        if isinstance(value(function.value), logging.Logger):
            return True
    elif isinstance(function, ast.Name) and value(function) is getattr(builtins, function.id, call):
        return function.id not in _CHANGING
    return records(_root_value(function, value))


def records(value: Any) -> bool:
    """Whether it is of a package that writes down what it is given, and changes no samples."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(name, str) and name.partition(".")[0] in _RECORDERS


def _root_value(expression: ast.expr, value: Value) -> Any:
    """What the first name of ``a.b(c).d`` holds."""
    while isinstance(expression, (ast.Attribute, ast.Subscript, ast.Call)):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return value(expression)


def _names(expression: ast.expr) -> Iterator[str]:
    """The names that an expression begins with, and those handed to calls on the way."""
    while isinstance(expression, (ast.Attribute, ast.Subscript)):
        expression = expression.value
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            yield node.id


def _unshared(nodes: list[ast.AST]) -> frozenset[str]:
    """Names that functions bind for themselves: nobody else sees what is done to them.

    A parameter may hold what belongs to others, unless it is the new object of a method.
    """
    bound, parameters, shared = {"self"}, set(), set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg) and node.arg != "self":
            parameters.add(node.arg)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            shared.update(node.names)
    return frozenset(bound - parameters - shared)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement that run at the top level: not those within functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _FUNCTIONS):
            yield from _running(child)
