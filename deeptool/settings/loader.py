"""Execute a settings file as if it had been written with other hyperparameters."""

from __future__ import annotations

import ast
import copy
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from deeptool.client.topic_names import variant_name
from deeptool.errors import UserError, did_you_mean
from deeptool.settings import usercode
from deeptool.settings.contract import DEFAULT_SEED, misspelt, read_contract
from deeptool.settings.experiment import Settings
from deeptool.settings.hparams import ALWAYS_VALID, convert
from deeptool.settings.lineage import Lineage
from deeptool.settings.loaded_file import LoadedFile
from deeptool.settings.opened_files import OpenedFiles
from deeptool.settings.recording_dict import RecordingDict

# The name under which the executed file reaches `_FileRun.checkpoint`.
_CHECKPOINT = "__deeptool_checkpoint__"
_WATCHED = ("hparams", "random_seed")


def load_settings(
    path: str | PathLike[str],
    *,
    proc_id: int | None = None,
    num_procs: int | None = None,
    variant: int | None = None,
    hparams: Mapping[str, Any] | None = None,
    seed: bool = True,
) -> Settings:
    """Execute a settings file and check it by the contract.

    Whenever a top-level statement has bound hparams, the overrides are applied before the next
    one runs: what the file derives from them follows. Nothing of one call is shared with another.

    Parameters
    ----------
    path : path
        The file.
    proc_id, num_procs : int, optional
        Override hparams' procID and num_procs; put there where the file has none.
    variant : int, optional
        The variant whose shards are meant, which has a dataset's name of its own: see
        `deeptool.client.topic_names.variant_name`.
    hparams : mapping, optional
        Overrides: texts are converted to the type of the value that they replace, other values
        have to be of that type.
    seed : bool
        Whether to seed Python, NumPy and TensorFlow with the file's random_seed before it runs
        (right after it is bound where it is no constant).

    Raises
    ------
    UserError
        The file is not there, is not Python, or raises (with file and line); names of the
        contract are missing or of a wrong type (all in one error); an override is unknown or
        cannot be converted.
    """
    overrides = _overrides(proc_id, num_procs, hparams or {})
    source = usercode.read_source(Path(path), "settings file")
    code = usercode.compiled(_watched(source.tree), source.path, "settings file")
    _draw_without_display()
    usercode.forget_helpers()
    module = usercode.new_module(source, "usersettings")
    imports = usercode.Imports(source.path.parent)
    lineage = Lineage(source.tree, vars(module))
    opened = OpenedFiles()
    run = _FileRun(vars(module), imports, lineage, overrides, _seed if seed else None, opened)
    vars(module)[_CHECKPOINT] = run.checkpoint
    # Known before the file runs: then what stands above the line with the seed is seeded too.
    if seed and (constant := _constant_seed(source.tree)) is not None:
        run.seed_with(constant)
    with opened.loading():
        usercode.run(module, code, source.path, imports)
    del vars(module)[_CHECKPOINT]
    # Not before: it imports TensorFlow, and a file may set variables that this reads.
    run.seed_by_default()
    values = read_contract(vars(module), Path(usercode.shown_path(source.path)))
    if variant is not None:
        values["session_name"] = variant_name(values["session_name"], variant)
    run.check_overrides()
    recording = values["hparams"]
    _check_declared(values.get("declared_data_hparams"), recording, source.path)
    loaded = LoadedFile(source, module, lineage, recording, imports, opened, run.replaced)
    return Settings(loaded, values, misspelt(vars(module), usercode.shown_path(source.path)))


def _overrides(
    proc_id: int | None, num_procs: int | None, hparams: Mapping[str, Any]
) -> dict[str, Any]:
    """All overrides in one mapping, procID and num_procs as whole numbers that fit together."""
    overrides = dict(hparams)
    for key, given in (("procID", proc_id), ("num_procs", num_procs)):
        if key in overrides:
            overrides[key] = convert(key, overrides[key], 0)
            if given is not None and given != overrides[key]:
                raise UserError(f"{key} is given twice", seen=f"{given} and {overrides[key]}")
        elif given is not None:
            overrides[key] = given
    procs, proc = overrides.get("num_procs", 1), overrides.get("procID", 0)
    if proc < 0 or procs < 1 or (procs > 1 and proc >= procs):
        raise UserError(
            "procID and num_procs do not fit together",
            seen=f"procID {proc}, num_procs {procs}",
            valid="procID 0 to num_procs - 1",
        )
    return overrides


class _FileRun:
    """One execution of a file: what is done between its statements."""

    def __init__(
        self,
        namespace: dict[str, Any],
        imports: usercode.Imports,
        lineage: Lineage,
        overrides: Mapping[str, Any],
        seed: Callable[[int], None] | None,
        opened: OpenedFiles,
    ) -> None:
        self._namespace, self._imports, self._lineage = namespace, imports, lineage
        self._overrides, self._seed, self._opened = overrides, seed, opened
        self._seeded: int | None = None
        self._recording: RecordingDict | None = None
        self._applied: dict[str, Any] = {}
        # The file's own values of what was overridden.
        self.replaced: dict[str, Any] = {}

    def checkpoint(self, index: int) -> None:
        """Top-level statement `index`, or a part of it, has run."""
        self._lineage.ran(
            index, self._recording.take_lookups() if self._recording is not None else ()
        )
        self._opened.statement_ran(index)
        bound = self._namespace.get("hparams")
        if isinstance(bound, dict) and bound is not self._recording:
            self._watch(bound)
        if self._recording is not None:
            self._override(self._recording)
        value = self._namespace.get("random_seed")
        if type(value) is int and 0 <= value < 2**32 and value != self._seeded:
            self.seed_with(value)

    def seed_by_default(self) -> None:
        """Seed what the file calls later, where it names no random_seed."""
        if "random_seed" not in self._namespace:
            self.seed_with(DEFAULT_SEED)

    def seed_with(self, value: int) -> None:
        if self._seed is not None:
            self._seed(value)
        self._seeded = value

    def check_overrides(self) -> None:
        """Reject overrides of keys that no hparams of the file ever had.

        Raises
        ------
        UserError
            An override names an unknown key.
        """
        unknown = sorted(set(self._overrides) - set(self._applied))
        if unknown:
            known = dict.keys(self._recording or {})
            names = ", ".join(f"{key}{did_you_mean(key, known)}" for key in unknown)
            raise UserError(
                f"unknown hyperparameter{'s' * (len(unknown) > 1)}: {names}",
                seen=", ".join(f"{key}={self._overrides[key]}" for key in unknown),
                valid=", ".join(dict.fromkeys([*known, *ALWAYS_VALID])),
            )

    def _watch(self, bound: dict[str, Any]) -> None:
        """Put a recording dict in the place of `bound`, under each name that it goes by."""
        self._recording = RecordingDict(bound)
        self._applied = {}
        # The dict may come from a helper module, which keeps a name for it as well.
        for names in (self._namespace, *map(vars, self._imports.modules().values())):
            for name, value in list(names.items()):
                if value is bound:
                    names[name] = self._recording

    def _override(self, recording: RecordingDict) -> None:
        values = recording.unrecorded()
        for key, given in self._overrides.items():
            if key not in values and key not in ALWAYS_VALID:
                # A file may fill hparams step by step: `check_overrides` rejects it at the end.
                continue
            if key in self._applied and values.get(key) is self._applied[key]:
                # Applied, and not bound again since.
                continue
            if key in values:
                self.replaced[key] = values[key]
            self._applied[key] = convert(key, given, values.get(key))
            recording[key] = self._applied[key]


def _watched(tree: ast.Module) -> ast.Module:
    """A copy of the file's syntax with a checkpoint after every statement of the top level.

    Statements within top-level blocks get one where they concern hparams or the seed. The source
    text, its lines and its names stay as they are.
    """
    # `Lineage` reads the original, and counts its statements as they are numbered here.
    tree = copy.deepcopy(tree)
    body: list[ast.stmt] = []
    for index, statement in enumerate(tree.body):
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        body.append(statement)
        # These two have to stay the first statements of the file.
        if not docstring and not future:
            _watch_blocks(statement, index)
            body.append(_checkpoint(statement, index))
    tree.body = body
    return tree


def _watch_blocks(statement: ast.AST, index: int) -> None:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        # What a function does is seen after the statement that calls it.
        return
    for field in ("body", "orelse", "finalbody"):
        block = getattr(statement, field, None)
        if not isinstance(block, list):
            continue
        watched: list[ast.stmt] = []
        for inner in block:
            _watch_blocks(inner, index)
            watched.append(inner)
            if _concerns(inner):
                watched.append(_checkpoint(inner, index))
        setattr(statement, field, watched)
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        _watch_blocks(part, index)


def _concerns(statement: ast.stmt) -> bool:
    """Whether a statement within a block may bind what is watched."""
    if isinstance(statement, (ast.Break, ast.Continue, ast.Return, ast.Raise)):
        return False
    return any(
        (isinstance(node, ast.Name) and node.id in _WATCHED) or (isinstance(node, ast.ImportFrom))
        for node in ast.walk(statement)
    )


def _checkpoint(after: ast.stmt, index: int) -> ast.stmt:
    call = ast.Call(ast.Name(_CHECKPOINT, ast.Load()), [ast.Constant(index)], [])
    expression = ast.Expr(call)
    # Its line is that of the statement before, so that tracebacks point into the user's file.
    for node in ast.walk(expression):
        if isinstance(node, (ast.expr, ast.stmt)):
            node.lineno = node.end_lineno = after.end_lineno or after.lineno
            node.col_offset = node.end_col_offset = after.end_col_offset or 0
    return expression


def _constant_seed(tree: ast.Module) -> int | None:
    """The value of the file's ``random_seed = <constant>``, None where there is none."""
    for statement in tree.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        if any(isinstance(target, ast.Name) and target.id == "random_seed" for target in targets):
            value = getattr(statement, "value", None)
            constant = value.value if isinstance(value, ast.Constant) else None
            return constant if type(constant) is int and 0 <= constant < 2**32 else None
    return None


def _seed(value: int) -> None:
    # The base install has no TensorFlow, and a file can be loaded without it.
    if importlib.util.find_spec("tensorflow") is not None:
        import tensorflow as tf

        tf.random.set_seed(value)
    random.seed(value)
    np.random.seed(value)


def _draw_without_display() -> None:
    """Let the file import pyplot where no window can open."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    # A backend that the user chose stays.
    os.environ.setdefault("MPLBACKEND", "Agg")
    if "matplotlib" in sys.modules:
        import matplotlib

        matplotlib.use(os.environ["MPLBACKEND"])


def _check_declared(declared: list[str] | None, recording: RecordingDict, path: Path) -> None:
    known = recording.unrecorded()
    unknown = sorted(set(declared or ()) - set(known) - set(ALWAYS_VALID))
    if unknown:
        raise UserError(
            f"data_hparams of {usercode.shown_path(path)} names keys that hparams does not have",
            seen=", ".join(unknown),
            valid=", ".join(known),
        )
