"""What goes wrong during an upload: nothing is lost, nothing is twice there, and it is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import uploads

import deeptool
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Begun
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.client.topic_names import topic_name
from deeptool.errors import UserError, WorkError
from deeptool.producer import commit, disk_space
from deeptool.progress import Progress
from deeptool.store.check import check_upload
from hpc.broker.embedded import EmbeddedBroker

pytestmark = pytest.mark.broker

OwnBroker = Callable[..., EmbeddedBroker]


def rows(count: int, width: int = 1000, pause: float = 0.0) -> tf.data.Dataset:
    """Row i is `width` times i; `pause` seconds before each."""

    def generate() -> Iterator[np.ndarray]:
        for i in range(count):
            time.sleep(pause)
            yield np.full(width, i)

    signature = tf.TensorSpec([width], tf.int64)
    return tf.data.Dataset.from_generator(generate, output_signature=signature).batch(4)


def first_column(server: str, topic: str) -> list[int]:
    (x,) = uploads.samples(server, uploads.current(server, topic))
    return [int(row[0]) for row in np.asarray(x)]


def test_no_server() -> None:
    with pytest.raises(UserError, match="no Kafka broker answers"):
        deeptool.upload(rows(4), "127.0.0.1:1", "s")


def test_a_pipeline_that_raises_in_the_middle(broker: str, session_name: str) -> None:
    def generate() -> Iterator[np.ndarray]:
        yield from (np.full(10, i) for i in range(8))
        raise FileNotFoundError("image_0008.png")

    signature = tf.TensorSpec([10], tf.int64)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    with pytest.raises(WorkError, match="failed after 8 samples") as caught:
        deeptool.upload(dataset.batch(2), broker, session_name)
    assert "image_0008.png" in str(caught.value)
    state = uploads.state(broker, topic_name(session_name, 0, "train"))
    assert (state.current, state.pending) == (None, None)
    assert state.failed is not None
    assert "failed after 8 samples" in state.failed.reason
    # The same topic is free again at once, and what was left there is deleted.
    deeptool.upload(rows(8), broker, session_name)
    assert first_column(broker, topic_name(session_name, 0, "train")) == list(range(8))


@pytest.mark.parametrize("batched", [True, False])
def test_an_empty_pipeline(broker: str, session_name: str, batched: bool) -> None:
    dataset = tf.data.Dataset.range(4).filter(lambda i: i > 9)
    with pytest.raises(WorkError, match="is empty"):
        deeptool.upload(
            dataset.batch(2) if batched else dataset, broker, session_name, batched=batched
        )
    assert uploads.state(broker, topic_name(session_name, 0, "train")).failed is not None


def test_an_infinite_pipeline(broker: str, session_name: str) -> None:
    with pytest.raises(UserError, match="infinite"):
        deeptool.upload(rows(4).repeat(), broker, session_name)
    topic = topic_name(session_name, 0, "train")
    assert topic not in admin.topics(connect(broker))


def test_an_epoch_of_another_spec(broker: str, session_name: str) -> None:
    with pytest.raises(WorkError, match="another element_spec"):
        deeptool.upload(lambda epoch: rows(4, width=5 + epoch), broker, session_name, epochs=2)
    assert uploads.state(broker, topic_name(session_name, 0, "train")).failed is not None


def test_a_sample_above_the_cap(broker: str, session_name: str) -> None:
    dataset = tf.data.Dataset.from_tensors("x").map(
        lambda x: (
            tf.strings.join([x] * 2)
            if x == "y"
            else tf.strings.reduce_join(
                tf.fill([65], tf.strings.reduce_join(tf.fill([1 << 20], x)))
            )
        )
    )
    with pytest.raises(WorkError, match="too large for one record") as caught:
        deeptool.upload(dataset.batch(1), broker, session_name)
    assert f"{65 << 20:,}"[:6] in str(caught.value)
    assert "67,0" in str(caught.value)


def test_a_record_that_the_broker_refuses(broker: str, session_name: str) -> None:
    """A compressed record: only the broker can tell whether it takes it."""
    topic = topic_name(session_name, 0, "train")

    def generate() -> Iterator[np.ndarray]:
        # Lowered behind the upload's back, once it has begun.
        connection = connect(broker)
        admin.alter_topic_config(connection, topic, {"max.message.bytes": "200000"})
        time.sleep(1)
        yield np.random.default_rng(0).random(100_000)

    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=tf.TensorSpec([100_000], tf.float64)
    )
    with pytest.raises(WorkError, match="rejects a record as too large") as caught:
        deeptool.upload(dataset, broker, session_name, batched=False, compression="lz4")
    assert "a record of 800," in str(caught.value)
    assert "max.message.bytes" in str(caught.value)
    assert uploads.state(broker, topic).failed is not None


def test_not_enough_space(broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    free = disk_space.free_bytes(connect(broker))
    assert free is not None
    assert all(amount > 1 << 20 for amount in free.values())
    monkeypatch.setattr(disk_space, "free_bytes", lambda connection: dict.fromkeys(free, 500_000))
    with pytest.raises(WorkError, match="will not fit") as caught:
        uploads.tuned_upload(rows(200), broker, session_name, limit=200, record_bytes=40_000)
    needed = int(str(caught.value).split("about ")[1].split(" bytes")[0].replace(",", ""))
    assert 200 * 8000 < needed < 200 * 8000 * 1.2
    assert "500,000 are free" in str(caught.value)
    # Half of it fits: known before everything is there.
    uploads.tuned_upload(rows(50), broker, session_name, limit=50, record_bytes=40_000)


def test_a_second_producer_is_refused_by_name(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topic_name(session_name, 0, "train")
    first = Upload(rows(40, pause=0.1), broker, session_name, heartbeat_seconds=1.0)
    first.wait_for(lambda: uploads.state(broker, topic).pending is not None)
    monkeypatch.setenv("DEEPTOOL_OWNER", "the-second-one")
    mine = uploads.state(broker, topic).pending
    assert mine is not None
    with pytest.raises(UserError) as caught:
        uploads.tuned_upload(rows(4), broker, session_name, heartbeat_seconds=1.0)
    assert mine.begun.owner in str(caught.value)
    first.join()
    assert first.error is None
    assert first_column(broker, topic) == list(range(40))


@pytest.mark.timed
def test_a_producer_that_lost_its_topic_stops(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = topic_name(session_name, 0, "train")
    first = Upload(rows(200, pause=0.05), broker, session_name, heartbeat_seconds=0.5)
    first.wait_for(lambda: uploads.state(broker, topic).pending is not None)
    monkeypatch.setenv("DEEPTOOL_OWNER", "the-second-one")
    taken = uploads.state(broker, topic).pending
    assert taken is not None
    with CatalogLog(connect(broker)) as log:
        values = {**vars(taken.begun), "upload": "second", "owner": "the-second-one"}
        log.append(Begun(**{**values, "takes_over": taken.id}))
        began = time.monotonic()
        first.join()
        assert time.monotonic() - began < 6
    assert isinstance(first.error, WorkError)
    assert "the-second-one" in str(first.error)
    end = admin.end_offsets(connect(broker), topic)
    time.sleep(1)
    assert admin.end_offsets(connect(broker), topic) == end
    # The same owner again: taken over at once.
    deeptool.upload(rows(20), broker, session_name)
    assert first_column(broker, topic) == list(range(20))


def test_a_commit_that_the_catalog_does_not_take(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the answer is lost, once the event: the upload is complete all the same, once."""
    append = CatalogLog.append
    failures = iter(["before", "after"])

    def unreliable(log: CatalogLog, event: object) -> object:
        failure = next(failures, None) if type(event).__name__ == "Completed" else None
        if failure == "before":
            raise WorkError("no answer")
        catalog = append(log, event)  # type: ignore[arg-type]
        if failure == "after":
            raise WorkError("no answer")
        return catalog

    monkeypatch.setattr(CatalogLog, "append", unreliable)
    deeptool.upload(rows(20), broker, session_name)
    assert first_column(broker, topic_name(session_name, 0, "train")) == list(range(20))


def test_garbage_that_cannot_be_deleted_is_a_warning(
    broker: str,
    session_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(*_: object) -> int:
        raise WorkError("not authorized")

    monkeypatch.setattr(commit, "clean_up", refused)
    deeptool.upload(rows(8), broker, session_name)
    assert "old records" in caplog.text
    assert first_column(broker, topic_name(session_name, 0, "train")) == list(range(8))


def test_the_broker_is_killed_and_restarted(own_broker: OwnBroker, session_name: str) -> None:
    server = own_broker()
    told: list[Progress] = []
    upload = Upload(
        rows(400, width=20_000, pause=0.02),
        server.bootstrap,
        session_name,
        record_bytes=200_000,
        heartbeat_seconds=1.0,
        listener=told.append,
    )
    upload.wait_for(lambda: bool(told) and told[-1].samples > 50)
    server.kill()
    time.sleep(10)
    assert upload.alive
    server.restart()
    upload.join(120)
    assert upload.error is None
    topic = topic_name(session_name, 0, "train")
    assert first_column(server.bootstrap, topic) == list(range(400))
    stored = uploads.current(server.bootstrap, topic)
    checked = check_upload(connect(server.bootstrap), stored)
    assert (checked.damages, checked.samples) == ((), 400)


PRODUCER = """
import os, sys, time
import numpy as np, tensorflow as tf, click
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.errors import run_command
from deeptool.producer.upload_request import UploadRequest, UploadTuning
from deeptool.producer.upload_run import run_upload

def rows():
    for i in range(300):
        time.sleep(float(os.environ["PAUSE"]))
        yield np.full(1000, i)

@click.command()
def produce():
    dataset = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec([1000], tf.int64))
    tuning = UploadTuning(
        record_bytes=20_000, heartbeat_seconds=1.0, listener=lambda p: print(p, flush=True)
    )
    log = CatalogLog(connect(os.environ["SERVER"]))
    run_upload(log, dataset.batch(4), UploadRequest(os.environ["SESSION"]), tuning)

run_command(produce, [])
"""


@pytest.fixture
def started(
    broker: str, session_name: str, tmp_path: Path
) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    script = tmp_path / "producer.py"
    script.write_text(PRODUCER)
    processes = []

    def start(pause: float) -> subprocess.Popen[str]:
        values = {"SERVER": broker, "SESSION": session_name, "PAUSE": str(pause)}
        environment = {**os.environ, **values, "DEEPTOOL_OWNER": "the-same"}
        errors = open(tmp_path / f"errors{len(processes)}", "w+")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def read_until_stored(process: subprocess.Popen[str], least: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split(" ")[0].replace(",", "")) >= least:
            return
    raise AssertionError("the producer ended early")


MOMENTS = [100, *(pytest.param(n, marks=pytest.mark.soak) for n in range(5, 241, 15))]


@pytest.mark.parametrize("stored", MOMENTS)
def test_a_producer_that_is_killed_and_run_again(
    started: Callable[[float], subprocess.Popen[str]], broker: str, session_name: str, stored: int
) -> None:
    topic = topic_name(session_name, 0, "train")
    first = started(0.02)
    read_until_stored(first, stored)
    first.kill()
    first.wait(30)
    assert sum(admin.end_offsets(connect(broker), topic).values()) > stored // 10
    state = uploads.state(broker, topic)
    assert state.current is None
    assert state.pending is not None
    second = started(0.0)
    second.communicate(timeout=120)
    assert second.returncode == 0
    assert first_column(broker, topic) == list(range(300))
    # What the first one left is no part of it, and gone.
    starts = admin.start_offsets(connect(broker), topic)
    assert any(start > 0 for start in starts.values())


@pytest.mark.parametrize(
    "signum", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM]
)
def test_a_signal_leaves_a_failed_entry(
    started: Callable[[float], subprocess.Popen[str]],
    broker: str,
    session_name: str,
    signum: signal.Signals,
) -> None:
    # Far from its end, however slowly this test gets to see where it is.
    process = started(0.3)
    read_until_stored(process, 5)
    process.send_signal(signum)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    state = uploads.state(broker, topic_name(session_name, 0, "train"))
    assert (state.current, state.pending) == (None, None)
    assert state.failed is not None
    assert state.failed.reason.split()[0] in ("KeyboardInterrupt", "Terminated")


class Upload:
    """An upload in a thread."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.error: BaseException | None = None

        def run() -> None:
            try:
                uploads.tuned_upload(*arguments, **options)
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.alive, self.error
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def join(self, timeout: float = 60.0) -> None:
        self._thread.join(timeout)
        assert not self.alive
