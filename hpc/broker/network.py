"""Which address of this machine a broker advertises."""

from __future__ import annotations

import socket

import psutil

from deeptool.errors import UserError


def address(interface: str | None) -> str:
    """The IPv4 address of a network interface, of the only one where none is said.

    Host names are not asked for: what they resolve to is often another network than the fast one,
    or loopback.

    Raises
    ------
    UserError
        When there is no such interface, or more than one to choose from.
    """
    known: dict[str, str] = {
        name: str(entry.address)
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET
    }
    valid = ", ".join(f"{name} ({ip})" for name, ip in known.items())
    if interface is not None:
        if interface in known:
            return known[interface]
        raise UserError(
            "there is no such network interface with an IPv4 address",
            seen=f"broker.interface = {interface!r} on {socket.gethostname()}",
            valid=valid,
        )
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    chosen = [ip for name, ip in known.items() if name in up and not ip.startswith("127.")]
    if len(chosen) == 1:
        return chosen[0]
    raise UserError(
        "choose the network interface that the broker is to use",
        seen=f"{len(chosen)} interfaces on {socket.gethostname()}",
        valid=valid,
        next_step='interface = "..." in [broker] of the campaign or the site file',
    )
