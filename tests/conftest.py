"""What holds for the tests of all folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_seed_of_another_test() -> Iterator[None]:
    """Forget TensorFlow's global seed, which loading a settings file with a random_seed sets.

    Tests run in any order, in several processes: none may depend on what ran before it.
    """
    yield
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.random.set_seed(None)
