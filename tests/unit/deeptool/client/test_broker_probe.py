"""What `connect` says where there is no Kafka, and of client properties that cannot be used."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deeptool.client.connection import Connection, connect
from deeptool.client.probe import parse_addresses, read_properties
from deeptool.errors import UserError


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that treats each connection with `serve`, until it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            held = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def http_address() -> Iterator[str]:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.timed
def test_nothing_listens(closed_port: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=f"no Kafka broker answers at {closed_port}") as caught:
        connect(closed_port)
    assert time.monotonic() - began < 3
    assert caught.value.seen == f"{closed_port}: Connection refused"
    assert "--server" in str(caught.value.next_step)
    assert capfd.readouterr() == ("", "")


def test_the_name_is_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"no Kafka broker answers at nowhere\.invalid:9092"):
        connect("nowhere.invalid:9092")
    assert capfd.readouterr() == ("", "")


@pytest.mark.timed
def test_a_web_server_is_not_kafka(http_address: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=f"what listens at {http_address} is not Kafka") as caught:
        connect(http_address)
    assert time.monotonic() - began < 3
    assert "HTML" in str(caught.value.seen)
    assert capfd.readouterr() == ("", "")


@pytest.mark.timed
def test_what_never_answers_is_not_kafka() -> None:
    with listening(lambda connection: None) as address:
        began = time.monotonic()
        with pytest.raises(UserError, match="is not Kafka") as caught:
            connect(address, timeout=1.0)
        assert 0.9 < time.monotonic() - began < 3
    assert "accepts connections, but does not answer" in str(caught.value.seen)


def test_what_hangs_up_may_expect_tls() -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.close()

    with listening(hang_up) as address, pytest.raises(UserError, match="is not Kafka") as caught:
        connect(address)
    assert "it may expect TLS" in str(caught.value.seen)
    assert "--client-properties" in str(caught.value.next_step)


def test_all_servers_are_named(closed_port: str, http_address: str) -> None:
    with pytest.raises(UserError) as caught:
        connect([closed_port, http_address])
    assert f"{closed_port}: Connection refused" in str(caught.value.seen)
    assert f"{http_address}: answers" in str(caught.value.seen)


def test_addresses() -> None:
    assert parse_addresses("a:1") == ("a:1",)
    assert parse_addresses(" a:1, b.c-d:65535,") == ("a:1", "b.c-d:65535")
    assert parse_addresses(["a:1,b:2", "[::1]:3"]) == ("a:1", "b:2", "[::1]:3")


@pytest.mark.parametrize(
    "wrong", ["", [], "a", "a:", ":1", "a:0", "a:65536", "http://a:1", "a b:1"]
)
def test_addresses_of_another_form(wrong: str | list[str]) -> None:
    with pytest.raises(UserError, match="not the address of a Kafka broker") as caught:
        parse_addresses(wrong)
    assert caught.value.valid == "HOST:PORT"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_client_properties(tmp_path: Path) -> None:
    text = "# who\nsasl.username = me\n\n! and how\nsasl.password=a=b #c \n"
    properties = read_properties(write(tmp_path / "p", text))
    assert properties == {"sasl.username": "me", "sasl.password": "a=b #c"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_client_properties_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "p", "sasl.password=x", mode)
    with pytest.raises(UserError, match="readable by other users") as caught:
        read_properties(path)
    assert caught.value.seen == f"mode {mode:04o}"
    assert caught.value.next_step == f"chmod 600 {path}"


def test_client_properties_of_another_form_do_not_show_their_content(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "a=b\nthe password\n")
    with pytest.raises(UserError, match=f"line 2 of {path}") as caught:
        read_properties(path)
    assert "the password" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        read_properties(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.chmod(tmp_path / "binary", 0o600)
    with pytest.raises(UserError, match="cannot be read"):
        read_properties(tmp_path / "binary")


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("sasl.jaas.config", "x", "Java JAAS configuration is not supported"),
        ("ssl.truststore", "x", 'No such configuration property: "ssl.truststore"'),
        ("security.protocol", "SECRET", 'Invalid value "SECRET"'),
    ],
)
def test_properties_that_librdkafka_does_not_know(name: str, value: str, seen: str) -> None:
    with pytest.raises(UserError, match="are not settings of librdkafka") as caught:
        connect("localhost:9092", {name: value})
    assert seen in str(caught.value.seen)


def test_a_connection_does_not_show_its_password() -> None:
    connection = Connection(("a:1", "b:2"), {"sasl.password": "secret", "log_level": "7"})
    assert "secret" not in repr(connection)
    config = connection.config({"group.id": "g", "sasl.password": "other"})
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert (config["sasl.password"], config["group.id"], config["log_level"]) == ("other", "g", "7")
    assert config["allow.auto.create.topics"] is False
