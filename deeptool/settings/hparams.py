"""Hyperparameters: values given on a command line, and a dict that knows what was looked up."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any

import numpy as np

from deeptool.errors import UserError

# Accepted as overrides even where the file's hparams lack them.
ALWAYS_VALID = ("procID", "num_procs")
_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class RecordingDict(dict[str, Any]):
    """A dict that records which keys are looked up, from any thread.

    Iterating, copying, comparing, printing and pickling count as a lookup of every key: what is
    done with the keys then is out of sight. Copies and pickles are plain dicts.

    Attributes
    ----------
    recording : bool
        Whether lookups are recorded now.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.recording = True
        self._lock = threading.Lock()
        self._looked_up: set[str] = set()
        self._here = threading.local()

    def _see(self, keys: Iterable[str]) -> None:
        if self.recording and not getattr(self._here, "quiet", False):
            with self._lock:
                self._looked_up.update(keys)

    def _see_all(self) -> None:
        self._see(dict.keys(self))

    @property
    def looked_up(self) -> frozenset[str]:
        """The keys looked up so far, also those that are not there."""
        with self._lock:
            return frozenset(self._looked_up)

    def take(self) -> frozenset[str]:
        """`looked_up`, which is empty afterwards."""
        with self._lock:
            taken, self._looked_up = frozenset(self._looked_up), set()
        return taken

    def unrecorded(self) -> dict[str, Any]:
        """A plain copy whose making is no lookup."""
        return dict(dict.items(self))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Lookups of this thread are not recorded in the block."""
        before = getattr(self._here, "quiet", False)
        self._here.quiet = True
        try:
            yield
        finally:
            self._here.quiet = before

    def __getitem__(self, key: str) -> Any:
        self._see((key,))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self._see((key,))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None, /) -> Any:
        self._see((key,))
        return super().get(key, default)

    def pop(self, key: str, /, *default: Any) -> Any:
        self._see((key,))
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        self._see((key,))
        return super().setdefault(key, default)

    # dict(), {**...}, f(**...) and update() read a subclass with an __iter__ of its own through
    # keys() and [], not behind its back.
    def __iter__(self) -> Iterator[str]:
        self._see_all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._see_all()
        return super().__reversed__()

    def keys(self) -> Any:
        self._see_all()
        return super().keys()

    def values(self) -> Any:
        self._see_all()
        return super().values()

    def items(self) -> Any:
        self._see_all()
        return super().items()

    def popitem(self) -> tuple[str, Any]:
        self._see_all()
        return super().popitem()

    def copy(self) -> dict[str, Any]:
        self._see_all()
        return self.unrecorded()

    def __repr__(self) -> str:
        self._see_all()
        return super().__repr__()

    def __eq__(self, other: object) -> bool:
        self._see_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self._see_all()
        return super().__ne__(other)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (self.copy(),)


def parse_overrides(pairs: Iterable[str]) -> dict[str, str]:
    """Split ``key=value`` texts, as ``--hparam`` takes them.

    Raises
    ------
    UserError
        A text without ``=`` or without a key, or a key given twice with two values.
    """
    overrides: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError("a hyperparameter is given as key=value", seen=pair)
        if overrides.get(key, value) != value:
            raise UserError(f"hyperparameter '{key}' is given twice", seen=pair)
        overrides[key] = value
    return overrides


def convert(key: str, given: object, replaced: object) -> Any:
    """Convert an override to the type of the value that it replaces.

    Parameters
    ----------
    key : str
        Named in errors.
    given : object
        Text from a command line, or a value from Python.
    replaced : object
        The file's own value. In the place of None, a text is read as a Python literal if it is
        one.

    Raises
    ------
    UserError
        The value cannot be what the file's own value is.
    """
    try:
        return _convert(given, replaced)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(
            f"hyperparameter '{key}' cannot be {given!r}",
            seen=given,
            valid=f"{type(replaced).__name__}, as the file's own value {replaced!r} is",
        ) from error


def _convert(given: Any, replaced: object) -> Any:
    if replaced is None:
        return _literal_or_text(given) if isinstance(given, str) else given
    if isinstance(replaced, np.generic):
        return type(replaced)(_convert(given, replaced.item()))
    kind = type(replaced)
    value = _parse(given, kind) if isinstance(given, str) and kind is not str else given
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and type(value) is int:
        return float(value)
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        return kind(value)  # type: ignore[call-arg]
    if isinstance(value, kind) and isinstance(value, bool) == isinstance(replaced, bool):
        return value
    raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")


def _parse(text: str, kind: type) -> Any:
    if issubclass(kind, bool):
        if text.strip().lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.strip().lower()]
    if issubclass(kind, (int, float)):
        return kind(text)
    return ast.literal_eval(text)


def _literal_or_text(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def plain(value: object) -> Any:
    """`value` as JSON has it: the catalog keeps hparams so, and compares them so.

    Tuples and sets become lists, NumPy's scalars and arrays numbers and lists, what JSON has no
    word for its name or its repr (without addresses, which differ from process to process).
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, RecordingDict):
        value = value.unrecorded()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"  # type: ignore[union-attr]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
