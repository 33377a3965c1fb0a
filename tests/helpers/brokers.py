"""The type of the fixture ``own_broker``, for the tests that annotate it."""

from __future__ import annotations

from collections.abc import Callable

from hpc.broker.embedded import EmbeddedBroker

OwnBroker = Callable[..., EmbeddedBroker]
