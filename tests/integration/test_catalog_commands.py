"""`deeptool inspect` and `deeptool delete` against a real broker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from brokers import OwnBroker
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim
from deeptool.catalog.events import Begun, Completed, EpochStored, Failed, Progressed
from deeptool.catalog.fold import TopicState
from deeptool.cli import cli
from deeptool.client import admin
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import topic_name
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.store.deletion import delete_stored

pytestmark = pytest.mark.broker

SPEC = Spec({"image": Leaf("uint8", (None, 8, 8)), "label": Leaf("int64", (None,))})


class Store:
    """Uploads of one session, made by hand."""

    def __init__(self, connection: Connection, log: CatalogLog, session: str) -> None:
        self.connection, self.log, self.session = connection, log, session

    def begin(self, proc_id: int = 0, split: str = "train", **other: Any) -> Begun:
        topic = other.get("topic", topic_name(self.session, proc_id, split))
        admin.create_topic(self.connection, topic, partitions=2, config={})
        values: dict[str, Any] = {
            "topic": topic,
            "upload": f"{topic}-{time.time_ns()}",
            "owner": "node7:123",
            "session": self.session,
            "proc_id": proc_id,
            "num_procs": 1,
            "split": split,
            "codec": "arrow",
            "element_spec": SPEC,
            "batch_size": 4,
            "hparams": {"size": 8, "lr": 0.1},
            "data_hparams": {"size": 8},
            "settings_sha256": "abcdef0123456789",
            "raw_data": {"digest": "d", "files": 2, "bytes": 99, "newest": 1.5},
            "heartbeat_seconds": 10.0,
            "start": admin.end_offsets(self.connection, topic),
            "time": time.time() - 100,
        }
        return claim(self.log, Begun(**{**values, **other}))

    def write(self, topic: str, count: int) -> None:
        producer = Producer(self.connection.config())
        for _ in range(count):
            producer.produce(topic, b"r" * 100, partition=0)
        assert producer.flush(30) == 0

    def finish(self, begun: Begun, records: int = 3) -> Completed:
        self.write(begun.topic, records)
        first = begun.start.get(0, 0)
        epochs = tuple(
            EpochStored(count, records, 100 * records, {0: ((first, first + records),)}, {0: "e"})
            for count in (7, 8)
        )
        ways = {"samples": 15, "cache_seconds": 1e-6}
        spent = (9.0, 8.0, 6.5, time.time())
        end = Completed(begun.topic, begun.upload, epochs, {"size": 8}, *spent, other_ways=ways)
        self.log.append(end)
        return end

    def state(self, topic: str) -> TopicState:
        return self.log.read()[topic]


@pytest.fixture
def store(broker: str, session_name: str) -> Iterator[Store]:
    connection = connect(broker)
    with CatalogLog(connection) as log:
        yield Store(connection, log, session_name)


def run(broker: str, *args: str, answer: str | None = None) -> Result:
    command, *rest = args
    return CliRunner().invoke(cli, [command, "-s", broker, *rest], input=answer)


def error_of(result: Result) -> DeeptoolError:
    assert isinstance(result.exception, DeeptoolError)
    return result.exception


def rows_of(broker: str, *args: str) -> list[dict[str, Any]]:
    """The rows of `inspect`; none where nothing is stored under the name."""
    result = run(broker, "inspect", "--json", *args)
    if isinstance(result.exception, UserError):
        assert result.exception.what.startswith("nothing is stored under")
        return []
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.output)
    return rows


# inspect


def test_json_has_all_facts(broker: str, store: Store) -> None:
    begun = store.begin()
    end = store.finish(begun)
    (row,) = rows_of(broker, store.session)
    age = row.pop("age_seconds")
    assert 0 <= age < 60
    assert row == {
        "topic": begun.topic,
        "session": store.session,
        "proc_id": 0,
        "num_procs": 1,
        "split": "train",
        "state": "complete",
        "upload": begun.upload,
        "owner": "node7:123",
        "samples": 15,
        "records": 6,
        "bytes": 600,
        "partitions": 2,
        "epochs": [
            {"samples": 7, "records": 3, "bytes": 300},
            {"samples": 8, "records": 3, "bytes": 300},
        ],
        "begun": begun.time,
        "time": end.time,
        "heartbeat_seconds": 10.0,
        "reason": None,
        "codec": "arrow",
        "batch_size": 4,
        "element_spec": "{image: uint8[?, 8, 8], label: int64[?]}",
        "element_spec_json": SPEC.to_json(),
        "hparams": {"size": 8, "lr": 0.1},
        "data_hparams": {"size": 8},
        "settings_sha256": "abcdef0123456789",
        "raw_data": {"digest": "d", "files": 2, "bytes": 99, "newest": 1.5},
        "wall_seconds": 9.0,
        "cpu_seconds": 8.0,
        "pipeline_cpu_seconds": 6.5,
        "other_ways": {"samples": 15, "cache_seconds": 1e-6},
    }


def test_every_state_has_its_row(broker: str, store: Store) -> None:
    store.finish(store.begin(1, num_procs=3))
    replacing = store.begin(1, num_procs=3, replace=True)
    store.log.append(Progressed(replacing.topic, replacing.upload, 1, 1234, 5000, time.time()))
    broken = store.begin(0, "val")
    store.log.append(Failed(broken.topic, broken.upload, "no [file] found", time.time()))
    silent = store.begin(2, owner="slurm:77_2")
    rows = rows_of(broker, store.session)
    assert [(row["proc_id"], row["split"], row["state"]) for row in rows] == [
        (1, "train", "complete"),
        (1, "train", "uploading"),
        (2, "train", "uploading"),
        (0, "val", "failed"),
    ]
    assert (rows[1]["samples"], rows[1]["bytes"], rows[1]["cpu_seconds"]) == (1234, 5000, None)
    assert rows[3]["reason"] == "no [file] found"

    lines = run(broker, "inspect", store.session).output.splitlines()
    assert len(lines) == 5
    titles = ("topic", "state", "samples", "size", "partitions", "epochs", "age", "settings")
    assert lines[0].split() == [*titles, "data", "hparams"]
    complete, uploading, dead, failed = lines[1:]
    for part in ("complete, shard 1 of 3", " 15 ", "600 bytes", " 2 ", "abcdef01", "size=8"):
        assert part in complete
    assert re.search(r"uploading, shard 1 of 3 by node7:123 for 1\d\d s", uploading)
    assert "1,234" in uploading
    assert silent.topic in dead
    assert re.search(r"uploading by slurm:77_2, silent for 1\d\d s", dead)
    assert "failed: no [file] found" in failed


def test_one_session_or_one_topic(broker: str, store: Store) -> None:
    for proc_id in (0, 1):
        store.finish(store.begin(proc_id))
    store.finish(store.begin(5, topic=f"{store.session}-elsewhere"))
    assert [row["proc_id"] for row in rows_of(broker, store.session)] == [0, 1, 5]
    assert [row["proc_id"] for row in rows_of(broker, f"{store.session}.1.train")] == [1]
    assert [row["proc_id"] for row in rows_of(broker, f"{store.session}-elsewhere")] == [5]
    assert len(rows_of(broker)) >= 3
    error = error_of(run(broker, "inspect", "--json", f"{store.session}1"))
    assert (error.exit_code, error.next_step) == (
        2,
        f"upload with: deeptool produce --server {broker} --usersettings FILE",
    )
    assert error.what == (
        f"nothing is stored under {store.session}1 (did you mean {store.session}?)"
    )
    for command in ("view", "delete"):
        said = str(error_of(run(broker, command, f"{store.session}1")))
        assert f"(did you mean {store.session}?)" in said


def test_an_empty_catalog_says_so_in_one_line(own_broker: OwnBroker) -> None:
    address = own_broker("kraft").bootstrap
    result = run(address, "inspect")
    assert (result.exit_code, result.output) == (
        0,
        f"nothing is stored at {address}; upload with:"
        f" deeptool produce --server {address} --usersettings FILE\n",
    )
    assert rows_of(address) == []
    # Looking at a broker leaves nothing there.
    assert "deeptool.catalog" not in admin.topics(connect(address))
    error = error_of(run(address, "delete", "any", "--yes"))
    assert (error.exit_code, error.what) == (2, "nothing is stored under any")


def test_inspect_needs_no_tensorflow(broker: str, store: Store) -> None:
    store.finish(store.begin())
    code = (
        "import sys\n"
        "from deeptool.cli import cli\n"
        f"cli.main(['inspect', '{store.session}'], standalone_mode=False)\n"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    # The server is named by the environment, as in a Slurm job.
    environment = {**os.environ, "DEEPTOOL_SERVER": broker}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{store.session}.0.train" in result.stdout


def test_a_server_of_another_form_is_a_usage_error(broker: str) -> None:
    result = run("nonsense", "inspect")
    assert result.exit_code == 2
    assert "nonsense is not HOST:PORT" in result.output
    assert run(f"{broker},{broker}", "inspect", "--json", "-s", broker).exit_code == 0


# delete


def starts(store: Store, topic: str) -> dict[int, int]:
    return admin.start_offsets(store.connection, topic)


def test_delete_frees_the_records_and_keeps_the_empty_topic(broker: str, store: Store) -> None:
    begun = store.begin()
    store.finish(begun)
    result = run(broker, "delete", store.session, "--yes")
    assert result.exit_code == 0, result.output
    assert result.output == (
        f"{begun.topic}: 15 samples, 600 bytes\ndeleted {begun.topic}: freed 600 bytes\n"
    )
    assert rows_of(broker, store.session) == []
    assert starts(store, begun.topic) == admin.end_offsets(store.connection, begun.topic)
    # Of its three records, and of the one that makes Kafka free their segment.
    assert starts(store, begun.topic)[0] == 4
    # The next upload goes on behind it.
    again = store.begin()
    store.finish(again)
    assert again.start[0] == 4
    assert rows_of(broker, store.session)[0]["upload"] == again.upload


def test_delete_takes_what_was_named(broker: str, store: Store) -> None:
    for proc_id in (0, 1, 2):
        for split in ("train", "val"):
            store.finish(store.begin(proc_id, split))
    elsewhere = store.begin(7, topic=f"{store.session}-elsewhere")
    store.finish(elsewhere)

    def left() -> list[tuple[int, str]]:
        return [(row["proc_id"], row["split"]) for row in rows_of(broker, store.session)]

    assert run(broker, "delete", store.session, "-pid", "0", "--split", "val", "--yes").output
    assert left() == [
        (0, "train"),
        (1, "train"),
        (2, "train"),
        (7, "train"),
        (1, "val"),
        (2, "val"),
    ]
    run(broker, "delete", store.session, "--procID", "1", "--yes")
    assert left() == [(0, "train"), (2, "train"), (7, "train"), (2, "val")]
    run(broker, "delete", store.session, "--split", "train", "--yes")
    assert left() == [(7, "train"), (2, "val")]
    run(broker, "delete", elsewhere.topic, "--yes")
    assert left() == [(2, "val")]
    error = error_of(run(broker, "delete", store.session, "--procID", "9", "--yes"))
    assert error.what == f"nothing is stored under {store.session}"


def test_delete_asks_first(broker: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.finish(store.begin())
    error = error_of(run(broker, "delete", store.session))
    assert isinstance(error, UserError)
    assert "--yes" in str(error.next_step)

    class Terminal:
        def isatty(self) -> bool:
            return True

    stdin = type("sys", (), {"stdin": Terminal()})
    monkeypatch.setattr("deeptool.commands.delete.sys", stdin)
    result = run(broker, "delete", store.session, answer="n\n")
    assert "Delete? [y/N]: n" in result.output
    assert "nothing was deleted" in result.output
    assert len(rows_of(broker, store.session)) == 1
    assert "freed 600 bytes" in run(broker, "delete", store.session, answer="y\n").output
    assert rows_of(broker, store.session) == []


def test_delete_leaves_an_upload_alone_that_lives(broker: str, store: Store) -> None:
    other = store.begin(0)
    store.finish(other)
    begun = store.begin(1, heartbeat_seconds=1.0)
    beats = iter(range(1, 1000))

    class Living(CatalogLog):
        """Another producer's heartbeat comes in whenever the command looks."""

        def read(self, *, create: bool = False) -> dict[str, TopicState]:
            store.log.append(Progressed(begun.topic, begun.upload, next(beats), 5, 50, time.time()))
            return super().read(create=create)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deeptool.commands.delete.CatalogLog", Living)
        error = error_of(run(broker, "delete", store.session, "--yes"))
    assert error.exit_code == 2
    assert error.what == f"topic {begun.topic} is being uploaded to"
    assert "node7:123" in str(error.seen)
    # Nothing else was deleted either.
    assert [row["state"] for row in rows_of(broker, store.session)] == ["complete", "uploading"]
    assert starts(store, other.topic)[0] == 0


def test_delete_ends_an_upload_that_is_dead(broker: str, store: Store) -> None:
    begun = store.begin(heartbeat_seconds=0.3)
    store.write(begun.topic, 4)
    result = run(broker, "delete", store.session, "--yes")
    assert result.exit_code == 0, result.output
    assert "an upload by node7:123, unless it is still running" in result.output
    assert f"emptied {begun.topic}" in result.output
    assert starts(store, begun.topic) == admin.end_offsets(store.connection, begun.topic)
    assert starts(store, begun.topic)[0] >= 4
    (row,) = rows_of(broker, store.session)
    assert (row["state"], row["reason"]) == ("failed", "it was silent, and its topic was deleted")
    # It was only asleep, and is told so by the catalog.
    store.finish(begun)
    assert store.state(begun.topic).current is None


def test_an_interrupted_deletion_is_finished_by_the_next(broker: str, store: Store) -> None:
    begun = store.begin()
    store.finish(begun)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin, "delete_records", lambda *args: sys.exit("killed"))
        assert run(broker, "delete", store.session, "--yes").exit_code == 1
    assert rows_of(broker, store.session) == []
    assert starts(store, begun.topic)[0] == 0
    assert f"emptied {begun.topic}" in run(broker, "delete", store.session, "--yes").output
    assert starts(store, begun.topic) == admin.end_offsets(store.connection, begun.topic)
    assert starts(store, begun.topic)[0] >= 3


def test_a_dataset_that_came_while_the_question_was_open_is_kept(store: Store) -> None:
    begun = store.begin()
    store.finish(begun)
    shown = store.state(begun.topic)
    better = store.begin(replace=True)
    store.finish(better)
    with pytest.raises(WorkError, match="got another dataset meanwhile"):
        delete_stored(store.log, begun.topic, shown)
    current = store.state(begun.topic).current
    assert current is not None
    assert current.id == better.upload
    assert starts(store, begun.topic)[0] == 0


def test_a_topic_that_others_deleted_is_forgotten(broker: str, store: Store) -> None:
    begun = store.begin()
    store.finish(begun)
    from kafka.admin import KafkaAdminClient

    stranger = KafkaAdminClient(bootstrap_servers=broker)
    stranger.delete_topics([begun.topic])
    stranger.close()
    deadline = time.monotonic() + 20
    while admin.partitions(store.connection, begun.topic) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rows_of(broker, store.session)[0]["partitions"] is None
    assert run(broker, "delete", store.session, "--yes").exit_code == 0
    assert rows_of(broker, store.session) == []
