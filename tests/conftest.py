"""What holds for the tests of all folders."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator

import pytest

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _local_copies_of_one_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not left on the machine, nor found by another test with uploads of the same ids."""
    folder = tmp_path_factory.getbasetemp() / f"copies-{next(_NUMBERS)}"
    monkeypatch.setenv("DEEPTOOL_COPIES", str(folder))


@pytest.fixture(autouse=True)
def _no_randomness_of_another_test() -> Iterator[None]:
    """Tests run in any order, in several processes: none may depend on what ran before it.

    Loading a settings file with a random_seed sets TensorFlow's global seed: it is forgotten. A
    client of kafka-python that a test gave up tries again from a thread for a while, and draws from
    Python's global generator, in the middle of another test's seeded trial: it gets one of its own.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("kafka.") and getattr(module, "random", None) is random:
            module.random = random.Random()  # type: ignore[attr-defined]
    yield
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.random.set_seed(None)
