from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from deeptool.errors import UserError, WorkError
from hpc.broker import ports


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_candidates_lie_below_the_ephemeral_ports() -> None:
    assert ports.candidates("32768\t60999\n") == range(20_000, 32_768)


def test_candidates_where_the_ephemeral_ports_leave_no_room_below() -> None:
    assert ports.candidates("1024 65535") == range(20_000, 65_536)


def test_free_ports_are_different_and_can_be_listened_on() -> None:
    found = ports.free_ports("127.0.0.1", 5)
    assert len(set(found)) == 5
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
            server.listen()


def test_free_ports_passes_over_those_in_use(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "candidates", lambda text: range(listening, listening + 2))
    monkeypatch.setattr(ports, "_ATTEMPTS", 2)
    if ports.is_free("127.0.0.1", listening + 1):
        assert ports.free_ports("127.0.0.1", 1) == (listening + 1,)
    with pytest.raises(WorkError, match="no free port"):
        ports.free_ports("127.0.0.1", 2)


def test_is_free(listening: int) -> None:
    assert not ports.is_free("127.0.0.1", listening)
    assert ports.is_free("127.0.0.1", ports.free_ports("127.0.0.1", 1)[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_check_host_takes_addresses_of_this_machine(host: str) -> None:
    ports.check_host(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no-such-host.invalid"])
def test_check_host_refuses_others(host: str) -> None:
    with pytest.raises(UserError, match=r"address|listen") as caught:
        ports.check_host(host)
    assert "network interface" in str(caught.value)
