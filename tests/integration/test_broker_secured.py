"""A broker that asks for a password: who gets in, and where the password can be seen."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.errors import UserError
from deeptool.files import read_json
from hpc.broker import passwords
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker
from hpc.broker.node import MODES, Mode

pytestmark = pytest.mark.broker


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    mode: Mode = request.param
    made = EmbeddedBroker(
        BrokerOptions(tmp_path / "b", mode, secret=passwords.create(tmp_path / "secret"))
    )
    made.start()
    yield made
    made.stop()


def secret_of(server: EmbeddedBroker) -> Path:
    return server.directory.parent / "secret" / passwords.NAME


def login(password: str, mechanism: str = passwords.MECHANISM) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": passwords.USER,
        "sasl_plain_password": password,
    }


def test_only_who_knows_the_password_gets_in(server: EmbeddedBroker, tmp_path: Path) -> None:
    secret = secret_of(server)
    password = passwords.read(secret)
    connection = connect(server.bootstrap, passwords.write_client_properties(secret))
    admin.create_topic(connection, "mine", partitions=1, config={})
    producer = KafkaProducer(bootstrap_servers=server.bootstrap, **login(password))
    producer.send("mine", b"a record").get(timeout=20)
    producer.close()

    with pytest.raises(UserError, match="does not accept this client"):
        connect(server.bootstrap, timeout=2)
    guessed = passwords.create(tmp_path / "guessed")
    for properties in (
        passwords.client_properties(guessed),
        passwords.client_properties(secret) | {"sasl.username": "somebody"},
        passwords.client_properties(secret) | {"sasl.mechanism": "PLAIN"},
        passwords.client_properties(secret) | {"sasl.mechanism": "SCRAM-SHA-256"},
    ):
        with pytest.raises(UserError, match="rejects this client"):
            connect(server.bootstrap, properties, timeout=3)
    consumer = KafkaConsumer(
        bootstrap_servers=server.bootstrap, consumer_timeout_ms=10_000, **login(password)
    )
    consumer.assign([TopicPartition("mine", 0)])
    consumer.seek_to_beginning()
    assert next(consumer).value == b"a record"
    consumer.close()


def test_the_password_is_nowhere_to_be_seen(server: EmbeddedBroker) -> None:
    password = passwords.read(secret_of(server)).encode()
    for pid in (os.getpid(), *server.pids.values()):
        for name in ("cmdline", "environ"):
            seen = Path(f"/proc/{pid}/{name}").read_bytes()
            assert seen
            assert password not in seen
    holders = {
        path.relative_to(server.directory).as_posix()
        for path in server.directory.rglob("*")
        if path.is_file() and password in path.read_bytes()
    }
    assert holders == {"private/jaas.conf"}, "neither logs, state nor properties"
    for path, mode in (
        ("private", 0o700),
        ("private/jaas.conf", 0o600),
        ("data", 0o700),
        ("data/user.sha256", 0o600),
    ):
        assert stat.S_IMODE((server.directory / path).stat().st_mode) == mode, path
    assert read_json(server.directory / "state.json")["secured"] is True
    server.stop()
    assert not (server.directory / "private").exists()
    for log in (server.directory / "logs").iterdir():
        assert password not in log.read_bytes(), log


@pytest.mark.parametrize("mode", MODES)
def test_nor_while_the_user_is_written(mode: Mode, tmp_path: Path) -> None:
    """The tools that do it are gone when a broker is ready: it is watched while it starts."""
    secret = passwords.create(tmp_path / "secret")
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(os.getpid()), str(secret)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    watcher.stdout.readline()
    with EmbeddedBroker(BrokerOptions(tmp_path / "b", mode, secret=secret)):
        watcher.terminate()
    watcher.stdout.close()
    assert watcher.wait(10) == 42, "it saw the tool and no password"


# Exit code 42 when a tool's command line was seen, 1 as soon as one with the password was.
WATCH = """
import signal, sys, time
from pathlib import Path
import psutil
tool = False
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42 if tool else 3))
password = Path(sys.argv[2]).read_text().strip().encode()
print(flush=True)
while True:
    for child in psutil.Process(int(sys.argv[1])).children():
        try:
            files = [Path(f"/proc/{child.pid}/{name}") for name in ("cmdline", "environ")]
            lines = [file.read_bytes() for file in files]
        except OSError:
            continue
        tool = tool or b"StorageTool" in lines[0] or b"ConfigCommand" in lines[0]
        if any(password in line for line in lines):
            sys.exit(1)
    time.sleep(0.01)
"""


def test_another_password_on_a_kept_folder(server: EmbeddedBroker, tmp_path: Path) -> None:
    secret = secret_of(server)
    before = passwords.client_properties(secret)
    admin.create_topic(connect(server.bootstrap, before), "kept", partitions=1, config={})
    server.stop()
    secret.unlink()
    after = passwords.client_properties(passwords.create(secret.parent))
    assert before != after
    for _ in ("changed", "known by now"):
        server.start()
        assert "kept" in admin.topics(connect(server.bootstrap, after))
        with pytest.raises(UserError, match="rejects this client"):
            connect(server.bootstrap, before, timeout=3)
        server.stop()
    server.start()
    with pytest.raises(UserError, match="rejects this client"):
        connect(server.bootstrap, after | {"sasl.mechanism": "PLAIN"}, timeout=3)


def test_a_secret_that_others_can_read_starts_nothing(tmp_path: Path) -> None:
    secret = passwords.create(tmp_path / "secret")
    secret.chmod(0o644)
    with pytest.raises(UserError, match="by other users"):
        EmbeddedBroker(BrokerOptions(tmp_path / "b", secret=secret)).start()
    assert not (tmp_path / "b").exists()


def children_of_root(port: int) -> str:
    """What a ZooKeeper client without a password is told of ``/``: "ok", or why not."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:

        def ask(body: bytes) -> bytes:
            connection.sendall(struct.pack(">i", len(body)) + body)
            size = connection.recv(4, socket.MSG_WAITALL)
            if len(size) < 4:
                return b""
            return connection.recv(struct.unpack(">i", size)[0], socket.MSG_WAITALL)

        # Protocol 0, nothing seen, 10 s, no session, an empty password of 16 bytes, not read-only.
        assert ask(struct.pack(">iqiqi16s?", 0, 0, 10_000, 0, 16, b"", False))
        # getChildren (8) of a path, without a watch.
        answer = ask(struct.pack(">iii1s?", 1, 8, 1, b"/", False))
    if not answer:
        return "hung up"
    (error,) = struct.unpack_from(">i", answer, 12)
    return "ok" if error == 0 else f"error {error}"


@pytest.mark.parametrize("secured", [False, True])
def test_a_secured_brokers_zookeeper_is_closed_to_others(tmp_path: Path, secured: bool) -> None:
    secret = passwords.create(tmp_path / "secret") if secured else None
    with EmbeddedBroker(BrokerOptions(tmp_path / "b", "zookeeper", secret=secret)) as server:
        answer = children_of_root(server.config.metadata_port)
    # -124: this session is closed, for it has not said who it is.
    assert answer == ("error -124" if secured else "ok")
