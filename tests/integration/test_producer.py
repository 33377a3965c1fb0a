"""Uploads to a real broker, and what is there afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import pytest
import tensorflow as tf
import uploads
from click.testing import CliRunner
from settings_files import write

import deeptool
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Completed
from deeptool.client import admin, probe
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import topic_name
from deeptool.codec.records import Digest
from deeptool.commands.produce import command
from deeptool.errors import UserError, WorkError
from deeptool.progress import Progress

pytestmark = pytest.mark.broker


def numbers(count: int, batch: int = 8) -> tf.data.Dataset:
    return tf.data.Dataset.range(count).map(lambda i: (tf.cast(i, tf.float32) / 2, i)).batch(batch)


def test_every_sample_is_there_once_and_in_order(broker: str, session_name: str) -> None:
    completed = uploads.tuned_upload(numbers(1003), broker, session_name, record_bytes=2000)
    upload = uploads.current(broker, topic_name(session_name, 0, "train"))
    x, y = uploads.samples(broker, upload)
    assert list(y) == list(range(1003))
    assert list(x) == [i / 2 for i in range(1003)]
    assert upload.completed == completed
    (epoch,) = completed.epochs
    assert epoch.samples == 1003
    # Dealt out in turn: partitions differ by one record at most.
    counts = [sum(stop - start for start, stop in runs) for runs in epoch.runs.values()]
    assert len(counts) == 4
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == epoch.records > 4


def test_what_the_catalog_keeps(broker: str, session_name: str) -> None:
    read: dict[str, int] = {}

    def pipeline(epoch: int) -> tf.data.Dataset:
        read["size"] = 5
        return numbers(20)

    before = time.time()
    deeptool.upload(
        pipeline,
        broker,
        session_name,
        "val",
        proc_id=3,
        provenance=deeptool.Provenance(
            hparams={"size": 5, "lr": 0.1},
            data_hparams=lambda: dict(read),
            settings_sha256="a" * 64,
            raw_data={"digest": "d", "files": 1, "bytes": 2, "newest": 3.0},
            owner="me",
        ),
    )
    upload = uploads.current(broker, topic_name(session_name, 3, "val"))
    begun, completed = upload.begun, upload.completed
    assert (begun.session, begun.proc_id, begun.num_procs, begun.split) == (
        session_name,
        3,
        1,
        "val",
    )
    assert begun.hparams == {"size": 5, "lr": 0.1}
    assert upload.data_hparams == {"size": 5}
    assert (begun.settings_sha256, begun.owner) == ("a" * 64, "me")
    # The batches' axis 0 is unknown to the spec: the first batch tells.
    assert begun.batch_size == 8
    assert begun.element_spec.batched
    assert [leaf.dtype for leaf in begun.element_spec.leaves] == ["float32", "int64"]
    assert completed is not None
    assert 0 < completed.wall_seconds < time.time() - before + 1
    assert completed.pipeline_cpu_seconds is not None
    assert completed.pipeline_cpu_seconds < completed.cpu_seconds


def test_topics_are_made_to_last(broker: str, session_name: str) -> None:
    deeptool.upload(numbers(20), broker, session_name, partitions=3)
    connection = connect(broker)
    topic = topic_name(session_name, 0, "train")
    config = admin.topic_config(connection, topic)
    assert {k: config[k] for k in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
    }
    assert config["max.message.bytes"] == str(64 << 20)
    assert admin.partitions(connection, topic) == (0, 1, 2)


def test_an_independent_client_sees_what_the_catalog_says(broker: str, session_name: str) -> None:
    from kafka import KafkaConsumer
    from kafka import TopicPartition as Partition

    uploads.tuned_upload(numbers(200), broker, session_name, record_bytes=1000, partitions=2)
    upload = uploads.current(broker, topic_name(session_name, 0, "train"))
    assert upload.completed is not None
    (epoch,) = upload.completed.epochs
    consumer = KafkaConsumer(bootstrap_servers=[broker], enable_auto_commit=False)
    try:
        seen = {}
        for number, runs in epoch.runs.items():
            partition = Partition(upload.begun.topic, number)
            consumer.assign([partition])
            consumer.seek(partition, 0)
            digest, position = Digest(), 0
            while position < runs[-1][1]:
                for record in consumer.poll(10_000)[partition]:
                    headers = dict(record.headers)
                    assert headers["upload"].decode() == upload.id
                    crc = crc32c.crc32c(record.value)
                    assert int(headers["crc"]) == crc
                    digest.update(int(headers["first"]), int(headers["count"]), crc)
                    position = record.offset + 1
            assert runs == ((0, position),)
            seen[number] = digest.hexdigest()
        assert seen == epoch.digests
    finally:
        consumer.close()


def test_each_epoch_is_made_anew(broker: str, session_name: str) -> None:
    made = []

    def pipeline(epoch: int) -> tf.data.Dataset:
        made.append(epoch)
        return tf.data.Dataset.range(10 * epoch, 10 * epoch + 10 + epoch).batch(4)

    completed = deeptool.upload(pipeline, broker, session_name, epochs=3)
    assert made == [0, 1, 2]
    assert [epoch.samples for epoch in completed.epochs] == [10, 11, 12]
    upload = uploads.current(broker, topic_name(session_name, 0, "train"))
    for epoch in range(3):
        expected = list(range(10 * epoch, 10 * epoch + 10 + epoch))
        assert uploads.column(broker, upload, epoch) == expected


@pytest.mark.parametrize(
    ("codec", "compression", "batched"),
    [
        ("arrow", "lz4", True),
        ("arrow", "zstd", False),
        ("example", "none", True),
        ("example", "lz4", False),
    ],
)
def test_codecs_compressions_and_single_samples(
    broker: str, session_name: str, codec: str, compression: str, batched: bool
) -> None:
    images = np.arange(30 * 2 * 3, dtype=np.uint8).reshape(30, 2, 3)
    dataset = tf.data.Dataset.from_tensor_slices(({"image": images}, np.arange(30)))
    deeptool.upload(
        dataset.batch(7) if batched else dataset,
        broker,
        session_name,
        batched=batched,
        codec=codec,
        compression=compression,
    )
    upload = uploads.current(broker, topic_name(session_name, 0, "train"))
    x, y = uploads.samples(broker, upload)
    np.testing.assert_array_equal(x, images)
    assert list(y) == list(range(30))
    if codec == "example":
        assert upload.completed is not None
        assert upload.completed.epochs[0].records == 30


def test_the_limit_cuts_the_last_batch(broker: str, session_name: str) -> None:
    dataset = numbers(20).repeat()
    completed = deeptool.upload(dataset, broker, session_name, limit=21)
    assert completed.epochs[0].samples == 21
    upload = uploads.current(broker, topic_name(session_name, 0, "train"))
    assert upload.begun.limit == 21
    assert uploads.column(broker, upload, leaf=1) == [*range(20), 0]


def test_a_pipeline_that_ends_early_is_a_warning(
    broker: str, session_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    completed = deeptool.upload(numbers(20), broker, session_name, limit=100)
    assert completed.epochs[0].samples == 20
    assert "ended after 20 samples, before the limit of 100" in caplog.text


def test_replacing_deletes_the_old_records(broker: str, session_name: str) -> None:
    deeptool.upload(numbers(50), broker, session_name, partitions=2)
    topic = topic_name(session_name, 0, "train")
    with pytest.raises(UserError, match="complete dataset"):
        deeptool.upload(numbers(60), broker, session_name)
    old = uploads.current(broker, topic)
    assert uploads.column(broker, old, leaf=1) == list(range(50))
    deeptool.upload(numbers(60), broker, session_name, replace=True)
    upload = uploads.current(broker, topic)
    assert uploads.column(broker, upload, leaf=1) == list(range(60))
    starts = admin.start_offsets(connect(broker), topic)
    assert starts[0] == upload.first_offset(0) > 0


def test_auto_shards_are_the_whole(broker: str, session_name: str) -> None:
    def pipeline(epoch: int) -> tf.data.Dataset:
        return numbers(100).shuffle(5, seed=1)

    batches = [y.numpy().tolist() for _, y in pipeline(0)]
    for proc_id in range(3):
        deeptool.upload(
            pipeline,
            broker,
            session_name,
            proc_id=proc_id,
            num_procs=3,
            auto_shard=True,
            limit=77,
        )
    stored = []
    for proc_id in range(3):
        upload = uploads.current(broker, topic_name(session_name, proc_id, "train"))
        assert upload.begun.auto_shard
        stored.append(uploads.column(broker, upload, leaf=1))
    while sum(map(len, batches)) > 77:
        batches[-1].pop()
        batches = [batch for batch in batches if batch]
    for proc_id in range(3):
        assert stored[proc_id] == [i for batch in batches[proc_id::3] for i in batch]


def test_progress_is_told(broker: str, session_name: str) -> None:
    told: list[Progress] = []
    uploads.tuned_upload(
        numbers(64), broker, session_name, epochs=2, listener=told.append, record_bytes=1000
    )
    assert told[-1].state == "complete"
    assert (told[-1].samples, told[-1].total, told[-1].epochs) == (128, 128, 2)
    assert {progress.state for progress in told[:-1]} <= {"running"}


def test_records_of_strangers_are_no_part_of_the_dataset(broker: str, session_name: str) -> None:
    from confluent_kafka import Producer

    topic = topic_name(session_name, 0, "train")
    connection = connect(broker)
    admin.create_topic(connection, topic, partitions=1, config={})
    stranger = Producer(connection.config())

    def pipeline() -> object:
        for i in range(30):
            if i % 10 == 5:
                stranger.produce(topic, b"noise", partition=0)
                stranger.flush(10)
            yield np.full(400, i)

    dataset = tf.data.Dataset.from_generator(
        pipeline, output_signature=tf.TensorSpec([400], tf.int64)
    )
    completed = uploads.tuned_upload(
        dataset, broker, session_name, batched=False, record_bytes=2000, heartbeat_seconds=10
    )
    upload = uploads.current(broker, topic)
    (x,) = uploads.samples(broker, upload)
    assert [int(row[0]) for row in x] == list(range(30))
    stored = completed.epochs[0]
    assert sum(stop - start for start, stop in stored.runs[0]) == stored.records == 30
    assert admin.end_offsets(connection, topic)[0] == 33


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


@pytest.mark.timed
def test_the_pipeline_is_charged_with_its_own_cpu_time(broker: str, session_name: str) -> None:
    def generate() -> Iterator[np.ndarray]:
        for i in range(50):
            burn(0.02)
            yield np.full(250_000, i)

    signature = tf.TensorSpec([250_000], tf.int64)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).batch(5)
    # Compression is what takes librdkafka's threads the longest, lz4's estimate the main thread.
    completed = uploads.tuned_upload(
        dataset, broker, session_name, compression="lz4", limit=50, heartbeat_seconds=0.2
    )
    assert completed.pipeline_cpu_seconds == pytest.approx(1.0, rel=0.25)
    assert completed.cpu_seconds > completed.pipeline_cpu_seconds


SETTINGS = Path(__file__).with_name("produce_settings.py")


def produce(
    broker: str, session_name: str, *arguments: str
) -> tuple[int, str, BaseException | None]:
    result = CliRunner(env={"TEST_SESSION": session_name}).invoke(
        command, ["-u", str(SETTINGS), "-s", broker, *arguments]
    )
    return result.exit_code, result.stdout, result.exception


def test_the_command(broker: str, session_name: str, tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    arguments = ["--split", "both", "--json", "--progress-file", str(file), "--hparam", "size=3"]
    code, output, error = produce(broker, session_name, *arguments)
    assert code == 0, error
    val, train = json.loads(output)
    assert (train["topic"], train["samples"]) == (topic_name(session_name, 0, "train"), 40)
    assert (val["topic"], val["samples"]) == (topic_name(session_name, 0, "val"), 12)
    assert train["data_hparams"] == {"size": 3, "infinite": 0, "known": 40}
    assert json.loads(file.read_text())["state"] == "complete"
    assert json.loads(file.read_text())["samples"] == 40
    upload = uploads.current(broker, train["topic"])
    first = uploads.current(broker, val["topic"])
    assert first.completed is not None
    assert first.completed.time <= upload.begun.time
    assert upload.begun.hparams["lr"] == 0.1
    assert upload.begun.element_spec.leaves[0].shape == (None, 3)

    code, _, error = produce(broker, session_name, "--hparam", "size=3")
    assert isinstance(error, UserError)
    assert "--replace" in str(error)
    code, output, error = produce(broker, session_name, "--reuse", "--hparam", "size=3")
    assert code == 0, error
    assert "is there already" in output
    code, output, error = produce(
        broker, session_name, "--reuse", "--hparam", "size=3", "--hparam", "lr=3"
    )
    assert code == 0, error
    code, _, error = produce(broker, session_name, "--reuse")
    assert isinstance(error, UserError)
    assert "size = 3 stored, 2 now" in str(error)
    assert "--replace" in str(error)
    code, _, error = produce(broker, session_name, "--reuse", "--hparam", "size=3", "-e", "2")
    assert isinstance(error, UserError)
    assert "epochs: 1 stored, 2 now" in str(error)
    code, output, error = produce(broker, session_name, "--split", "both", "--check")
    assert code == 0, error
    assert output.count("as uploaded") == 2


def test_the_command_connects_once(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One probe of the broker and one catalog serve all that it does, in both splits."""
    made: list[str] = []
    check, init = probe.check_broker, CatalogLog.__init__

    def checked(*arguments: Any) -> None:
        made.append("probe")
        check(*arguments)

    def opened(log: CatalogLog, connection: Connection) -> None:
        made.append("catalog")
        init(log, connection)

    monkeypatch.setattr(probe, "check_broker", checked)
    monkeypatch.setattr(CatalogLog, "__init__", opened)
    code, _, error = produce(broker, session_name, "--split", "both", "--reuse")
    assert code == 0, error
    assert made == ["probe", "catalog"]


def test_the_first_names_of_the_options(broker: str, session_name: str) -> None:
    topic = f"{session_name}-queue"
    code, output, error = produce(
        broker, session_name, "-pid", "2", "-v", "-q", topic, "-e", "2", "--limit", "7"
    )
    assert code == 0, error
    upload = uploads.current(broker, topic)
    assert (upload.begun.proc_id, upload.begun.split) == (2, "val")
    assert upload.completed is not None
    assert [epoch.samples for epoch in upload.completed.epochs] == [7, 7]
    code, output, error = produce(broker, session_name, "-pid", "2", "-v", "-q", topic, "-c")
    assert code == 0, error
    assert "as uploaded" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--isvalidationdata", "--split", "train"], "disagree"),
        (["--split", "both", "-q", "t"], "names one topic"),
        (["--reuse-any", "--reuse"], "excludes"),
        (["--auto-shard"], "number of shards"),
        (["-q", "a/b"], "Kafka forbids"),
        (["--check"], "no complete dataset"),
        (["--hparam", "infinite=1", "--hparam", "known=0"], "infinite"),
    ],
)
def test_what_the_command_refuses(
    broker: str, session_name: str, arguments: list[str], message: str
) -> None:
    _, _, error = produce(broker, session_name, *arguments)
    assert isinstance(error, UserError)
    assert message in str(error)
    assert uploads.state(broker, topic_name(session_name, 0, "train")).current is None


def test_bad_arguments_of_the_function(broker: str, session_name: str) -> None:
    dataset = numbers(8)
    for arguments in (
        {"partitions": 0},
        {"epochs": 0},
        {"limit": 0},
        {"compression": "gzip"},
        {"codec": "avro"},
        {"split": "test"},
        {"num_procs": 2, "proc_id": 2},
        {"topic": "a b"},
    ):
        with pytest.raises(UserError):
            deeptool.upload(dataset, broker, session_name, **arguments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"not a tf\.data\.Dataset"):
        deeptool.upload(lambda epoch: [1, 2], broker, session_name)
    huge = tf.data.Dataset.from_tensors(tf.zeros([1, 1])).map(
        lambda x: tf.zeros([1, 17 << 20], tf.float32)
    )
    with pytest.raises(UserError, match="too large for one record") as caught:
        deeptool.upload(huge, broker, session_name)
    assert f"{17 * 4 << 20:,} bytes" in str(caught.value)
    assert uploads.state(broker, topic_name(session_name, 0, "train")).gave_up is None


def test_an_existing_topic_that_forgets_is_refused(broker: str, session_name: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = topic_name(session_name, 0, "train")
    stranger = AdminClient({"bootstrap.servers": broker})
    new = NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})
    stranger.create_topics([new])[topic].result(10)
    with pytest.raises(UserError, match="settings under which Kafka"):
        deeptool.upload(numbers(8), broker, session_name)


def completed_samples(completed: Completed) -> int:
    return sum(epoch.samples for epoch in completed.epochs)


def test_a_topic_with_a_lower_limit_takes_smaller_records(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a site's policy refuses topics with larger messages."""
    create = admin.create_topic

    def refusing(connection, topic, *, partitions, config, replication=-1):  # type: ignore[no-untyped-def]
        if topic.startswith(session_name) and "max.message.bytes" in config:
            raise UserError("POLICY_VIOLATION")
        site = {"max.message.bytes": "1000000"} if topic.startswith(session_name) else {}
        return create(connection, topic, partitions=partitions, config={**config, **site})

    monkeypatch.setattr(admin, "create_topic", refusing)
    rows = np.random.default_rng(1).random((40, 25_000))
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(4)
    completed = deeptool.upload(dataset, broker, session_name)
    assert completed_samples(completed) == 40
    limit = int(admin.topic_config(connect(broker), completed.topic)["max.message.bytes"])
    assert limit == 1_000_000
    large = tf.data.Dataset.from_tensors(np.zeros((1, 200_000)))
    with pytest.raises(WorkError, match="too large for one record") as caught:
        deeptool.upload(large, broker, session_name, replace=True)
    assert "1,6" in str(caught.value)


def test_json_alone_is_on_stdout(
    broker: str, session_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPTOOL_PROBE_SECONDS", "0")
    file = write(
        tmp_path,
        before="print('the file')",
        session_name=repr(session_name),
        get_input_pipeline="def get_input_pipeline(raw_data_files_folder, isTraining, batch_size,"
        " nbEpoch):\n    import tensorflow as tf\n    print('the pipeline')\n"
        "    return tf.data.Dataset.range(20).map(lambda x: (x, x)).batch(batch_size)\n",
    )
    (tmp_path / "model.py").write_text("def model(usersettings):\n    return None\n")
    done = CliRunner().invoke(command, ["-u", str(file), "-s", broker, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["samples"] == 20
    assert "the pipeline" in done.stderr
