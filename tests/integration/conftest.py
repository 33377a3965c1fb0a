"""Fixtures for tests against a real, embedded Kafka broker."""

from __future__ import annotations

import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from brokers import OwnBroker

from deeptool.pipelines.split_probe import SECONDS_VARIABLE
from deeptool.store import read_shutdown
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.broker.node import Mode


@pytest.fixture(scope="session", autouse=True)
def _uploads_compared_by_their_code_alone() -> Iterator[None]:
    """A probe needs a process of its own, which takes seconds where TensorFlow runs already.

    The tests of the probe set it for themselves.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECONDS_VARIABLE, "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _coverage_of_tensorflows_threads() -> Iterator[None]:
    """Let coverage see what TensorFlow's own threads run: Python knows no such thread before."""
    hook = threading.gettrace()
    if hook is None:
        yield
        return
    plain = read_shutdown.working

    @contextmanager
    def traced() -> Iterator[None]:
        sys.settrace(hook)
        with plain():
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_shutdown, "working", traced)
        yield


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one broker (ZooKeeper mode) for all tests; do not stop it.

    DEEPTOOL_TEST_BROKER names one that runs already.
    """
    if running := os.environ.get("DEEPTOOL_TEST_BROKER"):
        yield running
        return
    with EmbeddedBroker(BrokerOptions(tmp_path_factory.mktemp("broker"), "zookeeper")) as server:
        yield server.bootstrap


@pytest.fixture
def session_name(request: pytest.FixtureRequest) -> str:
    """A session name that no other test has: what is in the broker already is not this test's."""
    return f"{re.sub(r'[^a-zA-Z0-9]+', '-', request.node.name)[:60]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """Make a broker for this test alone, to kill, stop or corrupt.

    ``own_broker(mode="zookeeper", **options) -> EmbeddedBroker`` with ``bootstrap``,
    ``directory`` (logs of topics are in ``.config.log_dir``), ``pids``, ``kill()``, ``restart()``
    and ``stop()``; a stopped one can be started again with ``start()``. One that
    was killed is back when its session has ended, some 7 seconds later.
    """
    brokers: list[EmbeddedBroker] = []

    def make(mode: Mode = "zookeeper", **options: object) -> EmbeddedBroker:
        directory = tmp_path / f"broker{len(brokers)}"
        brokers.append(EmbeddedBroker(BrokerOptions(directory, mode, **options)))  # type: ignore[arg-type]
        brokers[-1].start()
        return brokers[-1]

    yield make
    for made in brokers:
        made.stop()
