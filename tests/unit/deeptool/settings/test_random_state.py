"""What a trial draws is its own affair."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from deeptool.settings.random_state import kept_random_state


def drawn() -> list[float]:
    return [random.random(), np.random.rand(), float(tf.random.uniform([]))]


@pytest.mark.parametrize("fails", [False, True])
def test_the_generators_of_the_caller_are_as_they_were(fails: bool) -> None:
    def seed() -> None:
        random.seed(1)
        np.random.seed(1)
        tf.random.set_seed(1)

    seed()
    undisturbed = [drawn(), drawn()]
    seed()
    found = [drawn()]
    try:
        with kept_random_state():
            seed()
            drawn()
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert [*found, drawn()] == undisturbed
