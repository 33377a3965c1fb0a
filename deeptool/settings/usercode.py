"""Run a user's Python file, and say where it failed."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from deeptool.errors import DeeptoolError, UserError, did_you_mean
from deeptool.settings import code_snapshot
from deeptool.settings.user_modules import is_users

# The user's modules that user files imported: each load gets fresh ones.
_helpers: set[str] = set()


@dataclass(frozen=True)
class UserSource:
    """A Python file as it was read once: what runs, what is hashed and what is shown is the same.

    Attributes
    ----------
    path : Path
        Absolute.
    data : bytes
        The file's bytes.
    text : str
        `data`, decoded as Python does.
    tree : ast.Module
        `text`, parsed.
    """

    path: Path
    data: bytes
    text: str
    tree: ast.Module


def shown_path(path: Path) -> str:
    """`path` for people: relative to the working directory where it lies under it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_source(path: Path, what: str) -> UserSource:
    """Read and parse a Python file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is, for the errors ("settings file").

    Raises
    ------
    UserError
        It is not there, cannot be read, or is not Python (with the line).
    """
    path = Path(os.path.abspath(path))
    try:
        data = code_snapshot.read_bytes(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"cannot read the {what}: {reason}",
            seen=f"{shown_path(path)}{did_you_mean(path.name, _python_files(path.parent))}",
            valid="a Python file, relative to the working directory",
        ) from error
    try:
        text = importlib.util.decode_source(data)
        return UserSource(path, data, text, ast.parse(text, str(path)))
    except SyntaxError as error:
        raise _not_python(error, path, what) from error
    except ValueError as error:
        raise UserError(f"the {what} is not Python: {error}", seen=shown_path(path)) from error


def _python_files(folder: Path) -> list[str]:
    with suppress(OSError):
        return [each.name for each in folder.iterdir() if each.suffix == ".py"]
    return []


def compiled(tree: ast.Module, path: Path, what: str) -> CodeType:
    """The code of a parsed file.

    Raises
    ------
    UserError
        It is grammatical, but no Python all the same (``return`` outside a function, say).
    """
    try:
        return compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _not_python(error, path, what) from error


def _not_python(error: SyntaxError, path: Path, what: str) -> UserError:
    line = (error.text or "").strip()
    where = f"{shown_path(path)}:{error.lineno}" if error.lineno else shown_path(path)
    return UserError(f"the {what} is not Python: {where}: {error.msg}", seen=line or None)


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Turn what user code raises in the block into a UserError that names file and line.

    The place is the innermost one in `path` or another file of its folder. Errors of this
    package, KeyboardInterrupt and the like pass.
    """
    try:
        yield
    except DeeptoolError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        near = [frame for frame in frames if Path(frame.filename).parent == path.parent]
        place = next(reversed(near or own), None)
        where = f"{shown_path(Path(place.filename))}:{place.lineno}" if place else shown_path(path)
        text = f": {error}" if str(error) else ""
        raise UserError(
            f"{where}: {type(error).__name__}{text}",
            seen=place.line if place else None,
            next_step="correct the file; --debug shows the whole traceback",
        ) from error


@contextmanager
def calling(path: Path) -> Iterator[None]:
    """`blamed_on` around a call of user code; what it imports of the user's is a helper too."""
    before = set(sys.modules)
    try:
        with blamed_on(path):
            yield
    finally:
        since = {name: sys.modules.get(name) for name in set(sys.modules) - before}
        _helpers.update(n for n, m in since.items() if is_users(getattr(m, "__file__", None) or ""))


def new_module(source: UserSource, prefix: str) -> ModuleType:
    """An empty module for a file, known to `sys.modules`, its lines to `linecache`.

    Each gets a name of its own (``<prefix>_<stem>``, numbered where it is taken), so that nothing
    of an earlier load of the same file is shared. The lines stay those that ran, whatever becomes
    of the file: TensorFlow's autograph reads them much later.
    """
    stem = "".join(c if c.isalnum() else "_" for c in source.path.stem)
    names = itertools.chain(
        [f"{prefix}_{stem}"], (f"{prefix}_{stem}_{n}" for n in itertools.count(2))
    )
    name = next(name for name in names if name not in sys.modules)
    module = ModuleType(name)
    module.__file__ = str(source.path)
    sys.modules[name] = module
    code_snapshot.keep_lines(str(source.path), source.text)
    return module


class Imports:
    """The user's own modules that a file imports (helpers), wherever they are.

    Parameters
    ----------
    folder : Path
        Comes first on ``sys.path`` from now on, as Python does for a script, so that functions
        which import when they are called find the same.
    """

    def __init__(self, folder: Path) -> None:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        sys.path.insert(0, str(folder))
        self._before = {name.partition(".")[0] for name in sys.modules}

    def modules(self) -> dict[str, ModuleType]:
        """The helpers imported since this object was made, by name."""
        tops: dict[str, bool] = {}
        for name in list(sys.modules):
            top = name.partition(".")[0]
            if top not in self._before and top not in tops:
                tops[top] = self._is_here(top)
        return {
            name: module
            for name, module in list(sys.modules.items())
            if tops.get(name.partition(".")[0])
        }

    def _is_here(self, top: str) -> bool:
        module = sys.modules.get(top)
        # multiprocessing gives the program itself a second name, whenever it is imported.
        if module is sys.modules.get("__main__"):
            return False
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(is_users(os.path.join(place, "")) for place in places if place)


def forget_helpers() -> None:
    """Drop the helpers of earlier loads from ``sys.modules``: the next load imports its own.

    Two loads never share a helper's state, and files of two folders never get each other's.
    """
    for name in _helpers:
        sys.modules.pop(name, None)
    _helpers.clear()


def run(module: ModuleType, code: CodeType, path: Path, imports: Imports) -> None:
    """Execute a file's code in its module.

    Raises
    ------
    UserError
        The file raised; the module is forgotten then.
    """
    try:
        with blamed_on(path):
            exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    finally:
        _helpers.update(imports.modules())
