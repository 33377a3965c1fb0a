"""What samples cost without a store: read from ``cache()``, or saved once and loaded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeptool.codec.values import Leaves, rows

# Of the elements that an upload keeps: they are passed through Python once.
_MOST_BYTES = 16_000_000
_MOST_ELEMENTS = 300
_ROUNDS = 3


@dataclass(frozen=True)
class WayCosts:
    """CPU seconds per sample, measured in this process.

    Attributes
    ----------
    samples : int
        That were measured.
    cache_seconds : float or None
        For reading from ``cache()`` in memory; None where nothing could be measured.
    save_seconds, load_seconds : float or None
        For ``dataset.save()`` and ``Dataset.load()``; None where that failed.
    failed : str
        Why, if something did.
    """

    samples: int
    cache_seconds: float | None = None
    save_seconds: float | None = None
    load_seconds: float | None = None
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def way_costs(dataset: Any, samples: int) -> WayCosts:
    """Read all of a dataset from ``cache()``, save it, and load it again.

    Parameters
    ----------
    dataset : tf.data.Dataset
        What fits into memory. It is run once.
    samples : int
        How many it has.
    """
    cached = dataset.cache()
    _read(cached)
    saved, loaded, failed = _saved(cached)
    return WayCosts(
        samples,
        cache_seconds=best_cpu(lambda: _read(cached))[0] / samples,
        save_seconds=None if saved is None else saved / samples,
        load_seconds=None if loaded is None else loaded / samples,
        failed=failed,
    )


class FirstElements:
    """The first elements of a pipeline, kept in memory so that they can be measured at its end.

    They stay few: what is measured is a second or so, whatever the pipeline costs.
    """

    def __init__(self) -> None:
        self._elements: list[Any] = []
        self._samples = self._bytes = 0
        self._full = False

    def add(self, element: Any, leaves: Leaves) -> None:
        """Keep an element, as iterating yields it, unless there are enough.

        Parameters
        ----------
        element : structure of tensors
        leaves : tuple
            Its values.
        """
        size = sum(
            value.nbytes if isinstance(value, np.ndarray) else value.flat_values.nbytes
            for value in leaves
        )
        if len(self._elements) == _MOST_ELEMENTS or self._bytes + size > _MOST_BYTES:
            self._full = True
        if not self._full:
            self._elements.append(element)
            self._samples += rows(leaves)
            self._bytes += size

    def costs(self, spec: Any) -> WayCosts:
        """Measure them; whatever fails is said, not raised.

        Parameters
        ----------
        spec : structure of tf.TypeSpec
            The ``element_spec`` of their pipeline.
        """
        import tensorflow as tf

        elements, self._elements = self._elements, []
        if not elements:
            return WayCosts(0, failed=f"its first element has more than {_MOST_BYTES:,} bytes")
        try:
            dataset = tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=spec)
            return way_costs(dataset, self._samples)
        except Exception as error:
            return WayCosts(self._samples, failed=_first_line(error))


def best_cpu(work: Callable[[], Any], rounds: int = _ROUNDS) -> tuple[float, Any]:
    """CPU seconds of the quickest round, and its result."""
    best, result = float("inf"), None
    for _ in range(rounds):
        before = time.process_time()
        result = work()
        best = min(best, time.process_time() - before)
    return best, result


def _saved(dataset: Any) -> tuple[float | None, float | None, str]:
    """CPU seconds of saving and of loading; else why that failed."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="deeptool-plan-") as folder:
        path = str(Path(folder, "saved"))
        try:
            saved = best_cpu(lambda: dataset.save(path), rounds=1)[0]
            # Opened once: a loop of epochs does that, too.
            again = tf.data.Dataset.load(path)
            loaded = best_cpu(lambda: _read(again))[0]
        except Exception as error:
            return None, None, _first_line(error)
        return saved, loaded, ""


def _read(dataset: Any) -> None:
    for _ in dataset:
        pass


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}"
