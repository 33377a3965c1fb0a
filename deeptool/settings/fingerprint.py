"""Which code of the user's stands behind the samples, and behind the training: names and hashes.

A file is taken by its syntax: comments, docstrings, blank lines and formatting change nothing. Of
the settings file only the top-level statements count that are reached (see `lineage`); of the
user's modules that are reached, and of data files that the code reads, everything counts.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from deeptool.errors import UserError
from deeptool.files import sha256
from deeptool.settings import code_snapshot, unnamed_code, user_modules, usercode
from deeptool.settings.contract import FUNCTIONS, VARIABLES, in_file
from deeptool.settings.experiment import DATA_NAMES, Settings
from deeptool.settings.raw_data import folders_of
from deeptool.settings.syntax import label as label_of
from deeptool.settings.syntax import syntax

# The pipeline is seeded by it.
_PIPELINE_ROOTS = (*DATA_NAMES, "random_seed")
# Where a trial runs, where it reads from and writes to: another one trains just so.
_NOT_OF_TRAINING = {
    *("get_input_pipeline", "hparams", "declared_data_hparams", "model_file", "session_name"),
    *("workingFolder", "used_gpu_IDs", "use_profiling", "recoverFromCheckpoint"),
    *("raw_data_dir_train", "raw_data_dir_val", "raw_data_filename_extension"),
    *("nb_train_samples", "nb_val_samples"),
    *("consume_data_from_kafka", "kafka_bootstrap_servers"),
}
# Keys of whole files begin so; `changed_code` compares those only where both sides have them.
_FILE = "file:"
_ORDER = "order of statements"
_MOST_DATA_FILES = 500
# Of larger data files the size and the first bytes count.
_MOST_BYTES = 64 << 20
_NO_DATA = ("/proc/", "/sys/", "/dev/")


def pipeline_code(settings: Settings) -> dict[str, str]:
    """The code that the samples come from.

    Parameters
    ----------
    settings : Settings
        Where its pipeline has run, what it imported and opened meanwhile counts too.

    Returns
    -------
    dict
        Top-level name or statement of the settings file, or ``file:<path>`` relative to its folder
        -> hash. The same in every process with the same version of Python.
    """
    loaded = settings.loaded
    code = _Code(settings)
    filling = unnamed_code.filling_hparams(loaded)
    code.add_statements({*_PIPELINE_ROOTS, *unnamed_code.names(filling)})
    code.add_lambdas(filling)
    code.add_imports_for_effect()
    # Those that the file imports by a name made up meanwhile are nowhere in its text.
    named = user_modules.reached([(loaded.source.path, loaded.source.tree)])
    code.add_modules(loaded.imported_while_loading() - named.keys())
    code.add_modules(loaded.imported_by_pipeline())
    code.add_data_files(loaded.opened.by_pipeline)
    return code.hashes()


def training_code(settings: Settings) -> dict[str, str]:
    """The code that a trial runs on its samples: the model file, and the contract's functions.

    Returns
    -------
    dict
        As `pipeline_code`. The model file's key is ``model file``.

    Raises
    ------
    UserError
        The model file is not there, or is not Python.
    """
    model = usercode.read_source(settings.model_path, "model file")
    code = _Code(settings)
    code.add_tree("model file", model.path, model.tree)
    roots = {in_file(name) for name in (*FUNCTIONS, *VARIABLES) if name not in _NOT_OF_TRAINING}
    # A model reads the settings file's names as attributes of what it is given.
    roots |= code.attributes() & set(vars(settings.module)) - {"hparams"}
    code.add_statements(roots)
    return code.hashes()


def user_files(settings: Settings) -> list[Path]:
    """The files of code that the settings file may run: itself, the model file, user's modules.

    Returns
    -------
    list of Path
        Absolute; modules that are imported within functions are among them.

    Raises
    ------
    UserError
        The model file is not there, or is not Python.
    """
    source = settings.loaded.source
    model = usercode.read_source(settings.model_path, "model file")
    found = user_modules.reached([(source.path, source.tree), (model.path, model.tree)])
    loaded = settings.loaded
    found |= _trees(loaded.imported_by_pipeline() | loaded.imported_while_loading())
    first = (source.path, model.path)
    return [*dict.fromkeys(first), *sorted(set(found) - set(first))]


def changed_code(stored: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two results of `pipeline_code` or of `training_code`.

    How far a pipeline was read says which files it had opened by then: a file that one side has
    alone is no difference. What reads it is code, which is compared too.

    Returns
    -------
    list of str
        Names for people; empty where the code is the same.
    """
    both = stored.keys() & now.keys()
    alone = {key for key in stored.keys() ^ now.keys() if not key.startswith(_FILE)}
    different = {key for key in both if stored[key] != now[key]} | alone
    # Another statement is at another place as well.
    return sorted(key.removeprefix(_FILE) for key in different - {_ORDER} or different)


class _Code:
    """What is reached of a settings file and beside it, gathered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.path.parent
        self._named: dict[str, list[str]] = {}
        self._order: list[str] = []
        self._trees: list[tuple[Path, ast.AST]] = []
        self._imported: set[Path] = set()
        self._data: set[str] = set()

    def add_tree(self, name: str, file: Path, tree: ast.AST) -> None:
        self._named.setdefault(name, []).append(syntax(tree))
        self._trees.append((file, tree))

    def add_statements(self, roots: Iterable[str]) -> None:
        """The settings file's own statements behind `roots`, and the files that they read."""
        loaded = self._settings.loaded
        indices, names = loaded.reached(list(roots))
        if unnamed_code.by_text(loaded.source.tree.body[index] for index in indices):
            others = set(vars(loaded.module)) - {in_file(n) for n in (*FUNCTIONS, *VARIABLES)}
            indices, names = loaded.reached([*roots, *others])
        for index in sorted(indices):
            statement = _used(loaded.source.tree.body[index], names)
            self.add_tree(label := label_of(statement), loaded.source.path, statement)
            if not isinstance(statement, (ast.FunctionDef, ast.Import, ast.ImportFrom)):
                self._order.append(label)
            self._data |= loaded.opened.by_statement.get(index, set())
        values = (vars(loaded.module).get(name) for name in names)
        self._data |= {os.fspath(v) for v in values if isinstance(v, (str, Path))}

    def add_lambdas(self, statements: Iterable[ast.stmt]) -> None:
        for node in (node for statement in statements for node in ast.walk(statement)):
            if isinstance(node, ast.Lambda):
                self.add_tree("hparams", self._settings.path, node)

    def add_imports_for_effect(self) -> None:
        """The user's modules that the settings file imports and never uses by name."""
        source = self._settings.loaded.source
        for statement in unnamed_code.unused_imports(source.tree):
            if user_modules.reached([(source.path, statement)]):
                self.add_tree(label_of(statement), source.path, statement)

    def add_modules(self, files: Iterable[Path]) -> None:
        self._imported |= set(files)

    def add_data_files(self, paths: Iterable[str]) -> None:
        self._data |= set(paths)

    def attributes(self) -> set[str]:
        """The names that the code so far looks up as attributes, or by getattr."""
        nodes = [node for _, tree in self._all_trees() for node in ast.walk(tree)]
        asked = any(isinstance(node, ast.Name) and node.id in _BY_TEXT for node in nodes)
        found = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        return found | (set(_texts(nodes)) if asked else set())

    def hashes(self) -> dict[str, str]:
        named = {name: _short("\n".join(parts)) for name, parts in self._named.items()}
        if len(self._order) > 1:
            named[_ORDER] = _short("\n".join(self._order))
        own = {self._settings.path, *(file for file, _ in self._trees)}
        files = {
            file: _short(syntax(tree)) if tree else _content(str(file))
            for file, tree in self._modules().items()
            if file not in own
        }
        skipped = {str(file) for file in (*own, *files)}
        # A producer needs no model file.
        with contextlib.suppress(UserError):
            skipped.add(str(self._settings.model_path))
        for path in sorted(self._data_files() - skipped)[:_MOST_DATA_FILES]:
            files[Path(path)] = _content(path)
        shown = {_FILE + os.path.relpath(file, self._folder): text for file, text in files.items()}
        return {key: value for key, value in sorted((named | shown).items()) if value}

    def _modules(self) -> dict[Path, ast.Module | None]:
        return user_modules.reached(self._trees) | _trees(self._imported)

    def _all_trees(self) -> list[tuple[Path, ast.AST]]:
        return [*self._trees, *((file, tree) for file, tree in self._modules().items() if tree)]

    def _data_files(self) -> set[str]:
        """Files that were opened to be read, or that a text in the code names."""
        named = set(self._data)
        for file, tree in self._all_trees():
            for text in _texts(ast.walk(tree)):
                named |= {text, os.path.join(file.parent, text)}
        found = {os.path.abspath(text) for text in named if _is_file(text)}
        outside = (*_NO_DATA, *self._raw_data())
        own = {p for p in found if user_modules.is_users(p) and not p.startswith(outside)}
        return self._settings.loaded.opened.read_only(own)

    def _raw_data(self) -> Iterator[str]:
        """The raw data folders, whose listing is compared instead."""
        for given in (self._settings.raw_data_dir_train, self._settings.raw_data_dir_val):
            for folder in folders_of(given):
                for base in (os.curdir, self._folder):
                    path = os.path.join(os.path.abspath(os.path.join(base, folder)), "")
                    if not str(self._settings.path).startswith(path):
                        yield path


_BY_TEXT = ("getattr", "vars", "hasattr")


def _used(statement: ast.stmt, names: set[str]) -> ast.stmt:
    """`statement`; of an import only what is used of it."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return statement
    used = [
        alias
        for alias in statement.names
        if alias.name == "*" or (alias.asname or alias.name.partition(".")[0]) in names
    ]
    if isinstance(statement, ast.Import):
        return ast.Import(used or statement.names)
    return ast.ImportFrom(statement.module, used or statement.names, statement.level)


def _trees(files: Iterable[Path]) -> dict[Path, ast.Module | None]:
    own = {file: user_modules.parse(file) if file.suffix == ".py" else None for file in files}
    return own | user_modules.reached([(f, tree) for f, tree in own.items() if tree])


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            yield node.value


def _is_file(text: str) -> bool:
    try:
        return len(text) < 4096 and os.path.isfile(text)
    except ValueError:
        return False


def _content(path: str) -> str:
    try:
        size = os.path.getsize(path)
        if size <= _MOST_BYTES:
            return sha256(code_snapshot.read_bytes(Path(path)))[:16]
        with open(path, "rb") as file:
            return _short(f"{size} {sha256(file.read(1 << 20))}")
    except OSError:
        return ""


def _short(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass"))[:16]
