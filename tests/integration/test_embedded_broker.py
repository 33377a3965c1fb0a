"""The embedded broker as its user runs it, seen by an independent client (kafka-python)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from deeptool.errors import UserError
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.broker.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES
from hpc.broker.node import MODES, Mode

pytestmark = pytest.mark.broker
TOPIC = "own.topic"
READY_SECONDS = 4.0


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "hpc.cli", "broker", *map(str, arguments)]


def hpc(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)


def status(directory: Path) -> dict[str, Any]:
    done = hpc("status", "--dir", directory, "--json")
    assert done.returncode == 0, done.stderr
    state: dict[str, Any] = json.loads(done.stdout)
    return state


def pids(directory: Path) -> list[int]:
    state = status(directory)
    processes = [state["supervisor"], *state["processes"].values()]
    return [int(process["pid"]) for process in processes]


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and that init has yet to reap does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(numbers: list[int], timeout: float = 20) -> bool:
    deadline = time.monotonic() + timeout
    while any(map(runs, numbers)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def create(bootstrap: str, topic: str = TOPIC) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()


def produce(bootstrap: str, values: list[bytes], topic: str = TOPIC) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, max_request_size=1 << 27)
    for future in [producer.send(topic, value) for value in values]:
        future.get(timeout=30)
    producer.close()


def consume(bootstrap: str, count: int, topic: str = TOPIC) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=20_000)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    values = [message.value for _, message in zip(range(count), consumer, strict=False)]
    consumer.close()
    return values


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A folder for one broker, down at the end whatever happens; its name has a space."""
    path = tmp_path / "a broker"
    yield path
    hpc("down", "--dir", path, "--timeout", "5")


@pytest.mark.parametrize("mode", MODES)
def test_up_and_down(mode: Mode, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    up = hpc("up", "--dir", directory, "--mode", mode, "--detach")
    seconds = time.monotonic() - began
    assert up.returncode == 0, up.stderr
    (bootstrap,) = up.stdout.splitlines()
    assert re.fullmatch(r"127\.0\.0\.1:\d+", bootstrap)
    assert f"starting Kafka 3.9.2 ({mode} mode) on {bootstrap}" in up.stderr
    with capsys.disabled():
        print(f"\n{mode}: ready in {seconds:.1f} s (aim: {READY_SECONDS:.0f} s)")

    create(bootstrap)
    produce(bootstrap, [b"one", b"two"])
    assert consume(bootstrap, 2) == [b"one", b"two"]

    state = status(directory)
    assert (state["state"], state["mode"], state["bootstrap"]) == ("ready", mode, bootstrap)
    names = {"zookeeper": {"zookeeper", "broker"}, "kraft": {"broker"}}[mode]
    assert state["processes"].keys() == state["logs"].keys() == names
    assert 0 < state["data_bytes"] < 10_000_000
    assert all(Path(log).stat().st_size > 0 for log in state["logs"].values())
    text = hpc("status", "--dir", directory).stdout
    assert re.search(rf"state +ready\nbootstrap +{re.escape(bootstrap)}\n", text)

    for detach in ([], ["--detach"]):
        second = hpc("up", "--dir", directory, *detach)
        assert second.returncode == 2
        assert f"ready, at {bootstrap}" in second.stderr
        assert f"deeptool-hpc broker down --dir {directory}" in second.stderr

    running = pids(directory)
    assert all(map(runs, running))
    down = hpc("down", "--dir", directory, "--json")
    assert down.returncode == 0, down.stderr
    assert not any(map(runs, running)), "down returns when all have ended"
    ended = json.loads(down.stdout)
    assert (ended["state"], ended["processes"], ended["error"]) == ("stopped", {}, None)
    assert ended["cpu_seconds"] >= state["cpu_seconds"] > 0.5
    assert hpc("down", "--dir", directory).returncode == 0, "twice does no harm"

    again = hpc("up", "--dir", directory, "--detach", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["bootstrap"] == bootstrap
    assert json.loads(again.stdout)["mode"] == mode
    produce(bootstrap, [b"three"])
    assert consume(bootstrap, 3) == [b"one", b"two", b"three"]
    assert status(directory)["cpu_seconds"] > ended["cpu_seconds"], "of all its starts"


def test_a_supervisor_killed_leaves_no_process(directory: Path) -> None:
    assert hpc("up", "--dir", directory, "--detach").returncode == 0
    running = pids(directory)
    os.kill(running[0], signal.SIGKILL)
    assert gone(running)
    state = status(directory)
    assert (state["state"], state["error"]) == ("failed", "its supervisor was killed")


def test_a_broker_killed_ends_its_supervisor_with_a_word_and_comes_back(directory: Path) -> None:
    with open(directory.parent / "err", "w+") as errors:
        up = subprocess.Popen(
            command("up", "--dir", directory), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert up.stdout is not None
        bootstrap = up.stdout.readline().strip()
        create(bootstrap)
        produce(bootstrap, [b"one"])
        running = pids(directory)
        os.kill(int(status(directory)["processes"]["broker"]["pid"]), signal.SIGKILL)
        assert up.wait(30) == 1
        up.stdout.close()
        errors.seek(0)
        message = errors.read()
    assert "error: broker has ended (SIGKILL)" in message
    assert str(directory / "logs" / "broker.log") in message
    assert gone(running), "its ZooKeeper too"
    assert status(directory)["state"] == "failed"
    assert "SIGKILL" in status(directory)["error"]

    # At once: ZooKeeper still holds the session of the broker that was killed.
    again = hpc("up", "--dir", directory, "--detach")
    assert again.stdout.strip() == bootstrap, again.stderr
    assert consume(bootstrap, 1) == [b"one"]


@pytest.mark.parametrize(
    ("signum", "seen", "code"),
    [
        (signal.SIGINT, "ready", 130),
        (signal.SIGTERM, "starting Kafka", 143),
        (signal.SIGHUP, "starting Kafka", 129),
        (None, "ready", 0),
    ],
)
def test_a_foreground_broker_is_ended_by_signals_and_down(
    signum: int | None, seen: str, code: int, directory: Path
) -> None:
    up = subprocess.Popen(
        command("up", "--dir", directory, "--mode", "kraft"), stderr=subprocess.PIPE, text=True
    )
    assert up.stderr is not None
    lines = iter(up.stderr.readline, "")
    assert any(seen in line for line in lines)
    deadline = time.monotonic() + 10
    while not (running := [child.pid for child in psutil.Process(up.pid).children()]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if signum is None:
        assert hpc("down", "--dir", directory).returncode == 0
    else:
        up.send_signal(signum)
    assert up.wait(30) == code
    up.stderr.close()
    assert gone(running)
    assert status(directory)["state"] == "stopped"


def test_a_broker_that_cannot_start_says_why_at_once(directory: Path) -> None:
    began = time.monotonic()
    up = hpc("up", "--dir", directory, "--mode", "kraft", "--memory", "900000g", "--detach")
    assert up.returncode == 1
    assert "error: broker has ended (exit code 1)" in up.stderr
    assert "heap" in up.stderr
    assert str(directory / "logs" / "broker.log") in up.stderr
    assert time.monotonic() - began < 20
    assert status(directory)["state"] == "failed"


def test_of_two_started_at_once_one_is_up(directory: Path) -> None:
    both = [
        subprocess.Popen(
            command("up", "--dir", directory, "--mode", "kraft", "--detach"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], outputs
    (bootstrap,) = {out for out, _ in outputs if out}
    assert status(directory)["bootstrap"] == bootstrap.strip()
    assert any("a broker is up on" in error for _, error in outputs)


def test_a_taken_port_a_wrong_size_and_a_file_for_a_folder_are_the_users_to_correct(
    directory: Path,
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        up = hpc("up", "--dir", directory, "--port", str(port), "--detach")
    assert up.returncode == 2
    assert f"127.0.0.1:{port}" in up.stderr
    for memory, said in (("lots", "not a size"), ("2k", "too small for the largest records")):
        up = hpc("up", "--dir", directory, "--memory", memory, "--detach")
        assert up.returncode == 2
        assert said in up.stderr
        assert memory in up.stderr
    assert hpc("down", "--dir", directory).returncode == 2, "nothing was ever started there"
    (directory.parent / "file").touch()
    for detach in ([], ["--detach"]):
        up = hpc("up", "--dir", directory.parent / "file" / "broker", *detach)
        assert up.returncode == 2
        assert "cannot be written" in up.stderr


def test_a_broker_of_this_process_killed_and_restarted(
    own_broker: Callable[..., EmbeddedBroker],
) -> None:
    server = own_broker("kraft")
    with pytest.raises(UserError, match="is up on"):
        EmbeddedBroker(BrokerOptions(server.directory)).start()
    create(server.bootstrap)
    producer = KafkaProducer(
        bootstrap_servers=server.bootstrap, retries=1000, reconnect_backoff_max_ms=500
    )
    producer.send(TOPIC, b"before").get(timeout=30)
    before = server.pids
    server.kill()
    assert not runs(before["broker"])
    during = producer.send(TOPIC, b"during")
    server.restart()
    during.get(timeout=30)
    producer.close()
    assert server.pids["broker"] != before["broker"]
    assert consume(server.bootstrap, 2) == [b"before", b"during"]
    server.stop()
    assert gone(list(before.values()))
    server.start()
    assert consume(server.bootstrap, 2) == [b"before", b"during"]


def test_the_largest_record_of_the_design_is_taken(broker: str, session_name: str) -> None:
    create(broker, session_name)
    record = os.urandom(MAX_RECORD_BYTES)
    produce(broker, [record], session_name)
    consumer = KafkaConsumer(
        bootstrap_servers=broker,
        max_partition_fetch_bytes=1 << 27,
        fetch_max_bytes=1 << 27,
        consumer_timeout_ms=20_000,
    )
    consumer.assign([TopicPartition(session_name, 0)])
    consumer.seek_to_beginning()
    assert next(consumer).value == record
    consumer.close()


def test_topics_are_kept_for_ever_and_made_by_nobody_by_accident(
    broker: str, session_name: str
) -> None:
    create(broker, session_name)
    admin = KafkaAdminClient(bootstrap_servers=broker)
    resource = ConfigResource(ConfigResourceType.TOPIC, session_name)
    described = admin.describe_configs([resource], config_filter="all")["topic"][session_name]
    settings = {name: setting["value"] for name, setting in described.items()}
    assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
    assert settings["max.message.bytes"] == str(MAX_MESSAGE_BYTES)
    producer = KafkaProducer(bootstrap_servers=broker, max_block_ms=1500)
    with pytest.raises(Exception, match=r"(?i)metadata|unknown ?topic|timeout|timed out"):
        producer.send(f"{session_name}-misspelt", b"value").get(timeout=5)
    producer.close()
    assert f"{session_name}-misspelt" not in admin.list_topics()
    admin.close()
