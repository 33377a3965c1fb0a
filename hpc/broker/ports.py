"""TCP ports that a server can be given, and that stay its own."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from deeptool.errors import UserError, WorkError

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
_ATTEMPTS = 1_000


def candidates(ephemeral: str) -> range:
    """The ports to choose from, given the text of the kernel's range of ephemeral ports.

    Those below that range: out of it, any outgoing connection may take a port while its server is
    down, and a client that keeps trying to reconnect over loopback may even connect to itself.
    """
    first = int(ephemeral.split()[0])
    return range(_LOWEST, first) if first > _LOWEST + _ATTEMPTS else range(_LOWEST, 65_536)


def free_ports(host: str, count: int) -> tuple[int, ...]:
    """`count` different ports of `host` on which nothing listens now.

    Raises
    ------
    WorkError
        Where a thousand ports were tried in vain.
    """
    ephemeral = _EPHEMERAL.read_text() if _EPHEMERAL.exists() else "32768 60999"
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(candidates(ephemeral), _ATTEMPTS):
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return tuple(ports)
    raise WorkError("no free port found", seen=f"{_ATTEMPTS} ports of {host} tried")


def check_host(host: str) -> None:
    """Raise `UserError` unless `host` is an address of this machine that clients can be given."""
    if host in ("", "0.0.0.0", "::", "*"):
        raise UserError(
            "a broker gives its clients one address, and this one stands for all interfaces",
            seen=host,
            valid="the address or name of one network interface of this machine",
        )
    try:
        with socket.socket() as listener:
            listener.bind((host, 0))
    except OSError as error:
        raise UserError(
            "the broker cannot listen there",
            seen=f"{host}: {error}",
            valid="the address or name of one network interface of this machine",
        ) from error


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port` of `host` now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def answers(host: str, port: int) -> bool:
    """Whether a server listens on `port` of `host` now."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
