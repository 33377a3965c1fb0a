"""A dict of hyperparameters that records which of them were looked up."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# What a pipeline that takes its share of the files finds where there are no shards: all is its own.
ALONE = {"procID": 0, "num_procs": 1}


class RecordingDict(dict[str, Any]):
    """A dict that records which keys are looked up, from any thread.

    Iterating, copying, comparing, printing and pickling count as a lookup of every key: what is
    done with the keys then cannot be seen. Copies and pickles are plain dicts.

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

    def take_lookups(self) -> frozenset[str]:
        """`looked_up`, which is emptied by it."""
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

    def __missing__(self, key: str) -> Any:
        return ALONE[key]

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
