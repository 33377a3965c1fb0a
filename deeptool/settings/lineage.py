"""Which hyperparameters stand behind a top-level name of a settings file.

Two sources meet. What was looked up while each top-level statement ran is known exactly, whatever
it called. Which names a statement bound or changed, and which names the functions that it defines
refer to, is read from its syntax and its bytecode. Where that cannot be told, more is taken for
dependent than is, never less.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from deeptool.settings import side_effects
from deeptool.settings.recording_dict import RecordingDict

# What no statement can change in place: only binding the name again gives it another value.
_UNCHANGEABLE = (str, bytes, int, float, complex, bool, type(None), logging.Logger)
# Stands for what lies outside of the file and its helpers, where anything may look for it.
_ELSEWHERE = "<elsewhere>"


class Lineage:
    """What the top-level statements of one file did, told while they run.

    Parameters
    ----------
    tree : ast.Module
        The file's syntax.
    namespace : mapping
        The names of the module that it runs in.
    """

    def __init__(self, tree: ast.Module, namespace: Mapping[str, Any]) -> None:
        self._statements = tree.body
        self._namespace = namespace
        self._seen = dict(namespace)
        self._keys: dict[int, set[str]] = {}
        self._bound_by: dict[str, set[int]] = {}
        self._codes = [_compile(statement) for statement in tree.body]
        for index, code in enumerate(self._codes):
            for name in _stored(code):
                self._bound_by.setdefault(name, set()).add(index)

    def ran(self, index: int, keys: Iterable[str]) -> None:
        """Statement `index` ran, or a part of it, and looked up `keys`."""
        self._keys.setdefault(index, set()).update(keys)
        for name, value in list(self._namespace.items()):
            # By identity: comparing arrays or tensors of the user's would be slow, or fail.
            if self._seen.get(name, self) is not value:
                self._seen[name] = value
                self._bound_by.setdefault(name, set()).add(index)

    def behind(
        self, roots: Collection[str], hparams: RecordingDict, helpers: Collection[str]
    ) -> frozenset[str]:
        """The hparams that the values of `roots`, or what their functions do, may depend on.

        Parameters
        ----------
        roots : collection of str
            Top-level names.
        hparams : RecordingDict
            The file's hparams, after it ran.
        helpers : collection of str
            Names of the modules imported from the file's own folder.
        """
        scene = _Scene(self._namespace, hparams, frozenset(helpers))
        if self._imported(scene):
            return frozenset(hparams.unrecorded())
        keys: set[str] = set()
        for index in self._reach(roots, scene)[0]:
            uses = _Uses(self._statements[index], scene)
            keys |= self._keys.get(index, set()) | uses.keys
            if uses.whole:
                keys |= set(hparams.unrecorded())
        return frozenset(keys)

    def reached(
        self, roots: Collection[str], hparams: RecordingDict, helpers: Collection[str]
    ) -> tuple[set[int], set[str]]:
        """The statements that `behind` looks at, and the names that led to them.

        Returns
        -------
        set of int
            Indices of top-level statements.
        set of str
            Top-level names, `roots` among them.
        """
        return self._reach(roots, _Scene(self._namespace, hparams, frozenset(helpers)))

    def _reach(self, roots: Collection[str], scene: _Scene) -> tuple[set[int], set[str]]:
        changed_by = self._changed_by(scene)
        reached: set[int] = set()
        waiting = [*roots, _ELSEWHERE]
        # hparams itself is no dependency: which of its keys matter, their lookups say.
        visited = set(scene.aliases)
        while waiting:
            name = waiting.pop()
            if name in visited:
                continue
            visited.add(name)
            statements = self._bound_by.get(name, set()) | changed_by.get(name, set())
            if scene.from_helper(name):
                # Helper modules may share state, so a change to one may be a change to all.
                statements |= changed_by.get("", set())
            for index in statements - reached:
                reached.add(index)
                waiting.extend(_loaded(self._codes[index]))
        return reached, visited

    def _imported(self, scene: _Scene) -> bool:
        """Whether hparams came out of an import: what else that module made of it is unknown."""
        indices = {i for name in scene.aliases for i in self._bound_by.get(name, ())}
        return any(isinstance(self._statements[i], ast.ImportFrom) for i in indices)

    def _changed_by(self, scene: _Scene) -> dict[str, set[int]]:
        """Names whose value a statement may have changed in place.

        "" stands for the helpers, `_ELSEWHERE` for everything out of sight.
        """
        changed: dict[str, set[int]] = {}
        for index, statement in enumerate(self._statements):
            effects = [side_effects.of_running(statement, scene.value, scene.own)]
            names, near = self._made_from(effects[0].assigned), set[str]()
            if effects[0].calls:
                called, near = self._within_reach(index)
                effects += [
                    side_effects.of_calling(self._statements[each], scene.value, scene.own)
                    for each in called
                ]
            if any(effect.stores for effect in effects):
                names |= near
            if any(scene.from_helper(name) for name in names):
                changed.setdefault("", set()).add(index)
            if not any(effect.sets_attributes for effect in effects):
                # Functions and classes change by their attributes only.
                names = {name for name in names if not scene.is_code(name)}
            for name in names:
                for same in scene.names_of(name):
                    changed.setdefault(same, set()).add(index)
            assigned = set[str]().union(*(effect.assigned for effect in effects))
            if any(effect.elsewhere for effect in effects) or any(map(scene.foreign, assigned)):
                changed.setdefault(_ELSEWHERE, set()).add(index)
        return changed

    def _within_reach(self, index: int) -> tuple[set[int], set[str]]:
        """The functions of this file that a statement calls, and the names that they refer to."""
        loaded: set[str] = set()
        waiting = [index]
        done: set[int] = set()
        while waiting:
            current = waiting.pop()
            done.add(current)
            for name in _loaded(self._codes[current]):
                loaded.add(name)
                if isinstance(self._namespace.get(name), (FunctionType, type)):
                    waiting.extend(self._bound_by.get(name, set()) - done)
        return done - {index}, loaded

    def _made_from(self, names: Iterable[str]) -> set[str]:
        """`names`, and those that their values were made from and may hold."""
        waiting, found = list(names), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                for index in self._bound_by.get(name, ()):
                    waiting.extend(_loaded(self._codes[index]))
        return found


class _Scene:
    """The names of the executed file, and what they hold."""

    def __init__(
        self, namespace: Mapping[str, Any], hparams: RecordingDict, helpers: frozenset[str]
    ) -> None:
        self.namespace, self.helpers = namespace, helpers
        self.aliases = {name for name, value in namespace.items() if value is hparams}

    def from_helper(self, name: str) -> bool:
        value = self.namespace.get(name)
        if isinstance(value, ModuleType):
            return value.__name__ in self.helpers
        return getattr(value, "__module__", None) in self.helpers

    def changeable(self, name: str) -> bool:
        value = self.namespace.get(name)
        if isinstance(value, ModuleType) or name in self.aliases:
            return False
        return name in self.namespace and not isinstance(value, _UNCHANGEABLE)

    def names_of(self, name: str) -> list[str]:
        """All names of what `name` holds, where that can be changed in place."""
        if not self.changeable(name):
            return []
        value = self.namespace[name]
        return [other for other, held in self.namespace.items() if held is value]

    def is_code(self, name: str) -> bool:
        return isinstance(self.namespace.get(name), (FunctionType, type))

    def own(self, value: Any) -> bool:
        """Whether a value is of this file: what a call of another's changes is out of sight."""
        if isinstance(value, ModuleType):
            return False
        if isinstance(value, (FunctionType, BuiltinFunctionType, type)):
            return bool(getattr(value, "__module__", None) == self.namespace["__name__"])
        return value is not os.environ

    def foreign(self, name: str) -> bool:
        """Whether it is a part of another package, which others may use by another name."""
        value = self.namespace.get(name)
        own = self.own(value) or self.from_helper(name) or side_effects.records(value)
        return name in self.namespace and not own

    def visible(self, function: ast.expr, local: Collection[str]) -> bool:
        """Whether a called function is the file's own or a helper's: its lookups are watched."""
        if isinstance(function, ast.Name) and function.id in local:
            return True
        module = getattr(inspect.unwrap(self.value(function)), "__module__", None)
        return module == self.namespace["__name__"] or module in self.helpers

    def value(self, expression: ast.expr) -> Any:
        """What a dotted name holds at the top level; None for anything else."""
        if isinstance(expression, ast.Name):
            default = getattr(builtins, expression.id, None)
            return self.namespace.get(expression.id, default)
        if isinstance(expression, ast.Attribute):
            return inspect.getattr_static(self.value(expression.value), expression.attr, None)
        return None


class _Uses(ast.NodeVisitor):
    """How one statement refers to hparams, functions that it defines included.

    Attributes
    ----------
    keys : set of str
        Constant keys.
    whole : bool
        Whether hparams as a whole is handed to a function out of sight.
    """

    def __init__(self, statement: ast.stmt, scene: _Scene) -> None:
        self._scene = scene
        self._local = {n.name for n in ast.walk(statement) if isinstance(n, ast.FunctionDef)}
        self.keys: set[str] = set()
        self.whole = False
        self.visit(statement)

    def _is_hparams(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self._scene.aliases

    def _add(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.keys.add(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_hparams(node.value) and isinstance(node.ctx, ast.Load):
            self._add(node.slice)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(self._is_hparams(operand) for operand in node.comparators):
            self._add(node.left)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and self._is_hparams(function.value):
            for argument in node.args[:1]:
                self._add(argument)
        given = [a.value if isinstance(a, ast.Starred) else a for a in node.args]
        given += [keyword.value for keyword in node.keywords]
        if any(self._is_hparams(argument) for argument in given):
            self.whole = self.whole or not self._scene.visible(function, self._local)
        self.generic_visit(node)

    def _scope(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        if self._scene.aliases.isdisjoint(_locals(node)):
            self.generic_visit(node)
            return
        # A local of the same name hides hparams from the body, not from defaults.
        for outside in (node.args, *getattr(node, "decorator_list", ())):
            self.visit(outside)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _scope


def _compile(statement: ast.stmt) -> CodeType:
    return compile(ast.Module([statement], []), "<statement>", "exec", dont_inherit=True)


def _loaded(code: CodeType) -> Iterator[str]:
    """The top-level names that code and the functions within refer to."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _loaded(constant)


def _stored(code: CodeType, top: bool = True) -> Iterator[str]:
    """The top-level names that code binds, or functions within by way of ``global``."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_GLOBAL" or (top and instruction.opname == "STORE_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _stored(constant, top=False)


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[str]:
    """The parameters of a function and the names that it binds for itself."""
    yield from (node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg))
    body = function.body if isinstance(function.body, list) else []
    nodes = [node for statement in body for node in _top_level(statement)]
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in shared:
            yield node.id


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement that run at the top level: not those within functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _top_level(child)
