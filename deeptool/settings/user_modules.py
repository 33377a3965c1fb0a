"""Which Python files are the user's own, and which of them a file imports: read, never run."""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deeptool.settings import code_snapshot

_SUFFIXES = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
# Autograph's own copies of functions, under another name in every process.
_GENERATED = "__autograph_generated_file"
_INSTALLED = ("site-packages", "dist-packages")
# Packages that load what they find in their own folder are taken whole, up to so many files.
_MOST_FILES = 500


@functools.cache
def _system_folders() -> tuple[str, ...]:
    """Folders of the standard library, of installed packages, and of deeptool itself."""
    paths = sysconfig.get_paths()
    folders = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]}
    folders |= {os.path.dirname(os.__file__), *site.getsitepackages(), site.getusersitepackages()}
    folders.add(str(Path(__file__).parents[1]))
    return tuple(
        {os.path.join(f(folder), "") for folder in folders for f in (str, os.path.realpath)}
    )


@functools.lru_cache(maxsize=4096)
def is_users(file: str) -> bool:
    """Whether a file is the user's: no standard library, no installed package, not deeptool."""
    if not file or file.startswith("<"):
        return False
    file = os.path.abspath(file)
    if os.path.basename(file).startswith(_GENERATED):
        return False
    return not file.startswith(_system_folders()) and not any(
        part in _INSTALLED for part in Path(file).parts
    )


def parse(file: Path) -> ast.Module | None:
    """A Python file's syntax; None where it is no Python (an extension, or a broken file)."""
    try:
        text = importlib.util.decode_source(code_snapshot.read_bytes(file))
        return ast.parse(text, str(file))
    except (OSError, SyntaxError, ValueError):
        return None


def reached(trees: Iterable[tuple[Path, ast.AST]]) -> dict[Path, ast.Module | None]:
    """The user's files that code imports, and those that these import in turn.

    Imports within functions count, whether they are ever run or not.

    Parameters
    ----------
    trees : iterable of (Path, ast.AST)
        The file that code is in (relative imports start there), and the code.

    Returns
    -------
    dict
        File -> its syntax, None for an extension module.
    """
    found: dict[Path, ast.Module | None] = {}
    waiting = list(trees)
    while waiting:
        file, tree = waiting.pop()
        for imported in _imported_by(file, tree):
            if imported not in found and is_users(str(imported)):
                found[imported] = parse(imported) if imported.suffix == ".py" else None
                if (inner := found[imported]) is not None:
                    waiting.append((imported, inner))
    return found


def _imported_by(file: Path, tree: ast.AST) -> Iterator[Path]:
    by_name = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from located(alias.name, sys.path)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(file, node)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield from located(first.value.lstrip("."), sys.path)
            by_name = True
        elif isinstance(node, ast.Call) and _called(node) in ("iter_modules", "walk_packages"):
            by_name = True
    if by_name and code_snapshot.is_file(file.parent / "__init__.py"):
        yield from sorted(file.parent.rglob("*.py"))[:_MOST_FILES]


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _from(file: Path, node: ast.ImportFrom) -> Iterator[Path]:
    if node.level:
        folders = [str(file.parents[node.level - 1])] if node.level <= len(file.parents) else []
        own = Path(*folders) / "__init__.py"
        if code_snapshot.is_file(own):
            yield own
    else:
        folders = sys.path
    for alias in node.names:
        # What is imported may be a module of the package, or a name within it.
        parts = [node.module or "", "" if alias.name == "*" else alias.name]
        yield from located(".".join(part for part in parts if part), folders)


def located(name: str, folders: Sequence[str]) -> Iterator[Path]:
    """The files that importing `name` runs: of each package on the way, and of the module.

    As Python finds them: the first folder that has a module or a package of this name counts;
    folders without ``__init__.py`` together only where none has.
    """
    for part in name.split("."):
        portions: list[str] = []
        for folder in folders:
            base = os.path.join(os.path.abspath(folder), part)
            package = Path(base, "__init__.py")
            if code_snapshot.is_file(package):
                yield package
                portions = [base]
                break
            files = (Path(base + suffix) for suffix in _SUFFIXES)
            if (file := next(filter(code_snapshot.is_file, files), None)) is not None:
                yield file
                return
            if code_snapshot.is_folder(Path(base)):
                portions.append(base)
        if not portions:
            return
        folders = portions
