"""Run the user's code as it was when a launch copied it, whatever becomes of the files since.

``DEEPTOOL_SNAPSHOT`` names a folder of copies. While it is set, the settings file, the model file
and the user's modules are read from the copies, under their original paths: ``__file__``, messages,
tracebacks and autograph's source lines are those of the original, and relative paths of data lead
where they led. No bytecode is cached for them, since that would outlive the snapshot.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from deeptool.errors import UserError
from deeptool.files import read_json, write_json

VARIABLE = "DEEPTOOL_SNAPSHOT"
MANIFEST = "snapshot.json"
FORMAT = 1


def write_snapshot(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Write copies of files, and a manifest that says where each is from.

    Parameters
    ----------
    folder : Path
        Made where it is not there; can be moved later.
    files : mapping
        Original absolute path -> contents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, (original, data) in enumerate(sorted(files.items())):
        copy = Path(f"{number:03d}", original.name)
        (folder / copy.parent).mkdir(exist_ok=True)
        (folder / copy).write_bytes(data)
        names[str(original)] = str(copy)
    # Last: a folder with a manifest is whole.
    write_json(folder / MANIFEST, {"format": FORMAT, "files": names})


class CodeSnapshot:
    """The copies in a snapshot folder.

    Parameters
    ----------
    folder : Path
        As `write_snapshot` made it.

    Raises
    ------
    UserError
        It is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise UserError(
                f"{VARIABLE} names no folder of copied code",
                seen=str(folder),
                valid=f"a folder with a {MANIFEST} of format {FORMAT}",
                next_step=f"unset {VARIABLE}, or launch the campaign again",
            )
        self._copies = {original: folder / copy for original, copy in manifest["files"].items()}

    def copy_of(self, path: str | os.PathLike[str]) -> Path | None:
        """The copy of a file; None where the snapshot has none."""
        path = os.path.abspath(path)
        return self._copies.get(path) or self._by_real_path.get(os.path.realpath(path))

    def is_folder(self, path: str | os.PathLike[str]) -> bool:
        """Whether a folder has copied files in it, at any depth."""
        path = os.path.abspath(path)
        return path in self._folders or os.path.realpath(path) in self._folders

    def has_module(self, name: str) -> bool:
        """Whether a module of this (dotted) name is among the files, wherever it lies."""
        ending = os.sep + name.replace(".", os.sep)
        endings = (f"{ending}.py", f"{ending}{os.sep}__init__.py")
        return any(original.endswith(endings) for original in self._copies)

    @cached_property
    def _by_real_path(self) -> dict[str, Path]:
        return {os.path.realpath(original): copy for original, copy in self._copies.items()}

    @cached_property
    def _folders(self) -> set[str]:
        originals = [*self._copies, *self._by_real_path]
        return {str(folder) for original in originals for folder in Path(original).parents}


_active: dict[str, CodeSnapshot] = {}


def active() -> CodeSnapshot | None:
    """The snapshot that ``DEEPTOOL_SNAPSHOT`` names, in use from now on; None where it is unset.

    Raises
    ------
    UserError
        It names no snapshot.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    folder = os.path.abspath(given)
    if folder not in _active:
        _active.clear()
        _active[folder] = CodeSnapshot(Path(folder))
        _install()
        # Python keeps the finder of each folder that it looked into.
        sys.path_importer_cache.clear()
    return _active[folder]


def is_file(path: Path) -> bool:
    """Whether a file is there, in the snapshot or on the disk."""
    snapshot = active()
    return (snapshot is not None and snapshot.copy_of(path) is not None) or path.is_file()


def is_folder(path: Path) -> bool:
    """Whether a folder is there, in the snapshot or on the disk."""
    snapshot = active()
    return (snapshot is not None and snapshot.is_folder(path)) or path.is_dir()


def read_bytes(path: Path) -> bytes:
    """The contents of a file: of its copy, where the snapshot has one.

    Raises
    ------
    OSError
        It cannot be read.
    """
    snapshot = active()
    copy = snapshot.copy_of(path) if snapshot is not None else None
    return (copy or path).read_bytes()


def keep_lines(path: str, text: str) -> None:
    """Let `linecache` show these lines of a file from now on, whatever becomes of the file."""
    _kept_lines[path] = text.splitlines(keepends=True)
    linecache.cache[path] = (len(text), None, _kept_lines[path], path)
    # TensorFlow's autograph has it read files again, whatever is in its cache.
    linecache.updatecache = _update


_kept_lines: dict[str, list[str]] = {}
_update_from_disk = linecache.updatecache


def _update(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    if filename not in _kept_lines:
        return _update_from_disk(filename, module_globals)
    lines = _kept_lines[filename]
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return lines


class _Finder:
    """Finds modules in one folder of ``sys.path`` or of a package: the copies come first."""

    def __init__(self, folder: str) -> None:
        snapshot = active()
        if snapshot is None or not snapshot.is_folder(folder or os.curdir):
            raise ImportError(f"no copied code of {folder}")
        details = (
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
        )
        self._disk = importlib.machinery.FileFinder(folder, *details)
        self._folder = self._disk.path

    def find_spec(self, fullname: str, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        snapshot = active()
        if snapshot is None:
            return self._disk.find_spec(fullname)
        base = os.path.join(self._folder, fullname.rpartition(".")[2])
        package = os.path.join(base, "__init__.py")
        for file, inside in ((package, [base]), (f"{base}.py", None)):
            if snapshot.copy_of(file) is not None:
                return importlib.util.spec_from_file_location(
                    fullname,
                    file,
                    loader=importlib.machinery.SourceFileLoader(fullname, file),
                    submodule_search_locations=inside,
                )
        if snapshot.is_folder(base):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [base]
            return spec
        # A file of this name that came later must not hide the copy in another folder.
        return None if snapshot.has_module(fullname) else self._disk.find_spec(fullname)

    def invalidate_caches(self) -> None:
        self._disk.invalidate_caches()


def _install() -> None:
    """Let Python's own loader read the copies, so that every way to load a file by path does."""
    if _Finder in sys.path_hooks:
        return
    loader = importlib.machinery.SourceFileLoader
    data_of, stats_of = loader.get_data, loader.path_stats

    def get_data(self: Any, path: Any) -> bytes:
        snapshot = active()
        copy = snapshot.copy_of(path) if snapshot is not None else None
        if copy is None:
            return data_of(self, path)
        data = copy.read_bytes()
        keep_lines(os.fsdecode(path), importlib.util.decode_source(data))
        return data

    def path_stats(self: Any, path: Any) -> Any:
        snapshot = active()
        if snapshot is not None and snapshot.copy_of(path) is not None:
            # Python then neither looks for cached bytecode nor writes it.
            raise FileNotFoundError(path)
        return stats_of(self, path)

    loader.get_data, loader.path_stats = get_data, path_stats  # type: ignore[method-assign]
    sys.path_hooks.insert(0, _Finder)
