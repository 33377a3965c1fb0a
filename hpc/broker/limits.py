"""How much memory and how many connections a broker may take. Nothing runs here.

Whoever can reach a broker's port can open connections and announce requests, also without a
password. What that costs the broker is bounded by what its heap and its open-files limit can bear.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from dataclasses import dataclass

from deeptool.errors import UserError

# deeptool's largest record, and what Kafka's own framing, keys and headers may add to it.
MAX_RECORD_BYTES = 64 << 20
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES + (1 << 20)
# A request may carry one message of the largest size, and names its topic beside it.
MAX_REQUEST_BYTES = MAX_MESSAGE_BYTES + (1 << 20)
# Threads that read requests and answer them, of each of the two servers that a KRaft node has.
NETWORK_THREADS = 3
IO_THREADS = 4
DIRECT_BYTES = 2 * (NETWORK_THREADS + IO_THREADS + 1) * MAX_REQUEST_BYTES
# SCRAM's and PLAIN's messages have some hundred bytes. Kafka's default lets each connection that
# has not logged in yet claim 512 KiB of the heap.
MAX_LOGIN_BYTES = 16 << 10
# Connections that never log in make room after this. Not less: librdkafka takes what is closed
# within the first minute of silence for a failure.
IDLE_MS = 75_000
# ZooKeeper's nodes hold some hundred bytes each; its heap is small.
ZOOKEEPER_REQUEST_BYTES = 256 << 10
ZOOKEEPER_CONNECTIONS = 200

# The least heap: Kafka's own, two requests of the largest size, and room to collect garbage. The
# server of a KRaft controller's port has two requests of its own.
_LEAST = {"zookeeper": 320 << 20, "kraft": 448 << 20}
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# Measured: an idle connection that has not logged in takes some 25 KB of the heap.
_HEAP_PER_CONNECTION = 128 << 10
_MOST_CONNECTIONS = 100_000
# A broker without clients has about 250 files open: jars, logs, sockets.
_OWN_FILES = 512
_FEW_FILES = 4096


@dataclass(frozen=True)
class BrokerLimits:
    """What one broker's clients may take of it together.

    Attributes
    ----------
    queued_bytes : int
        Requests that wait or are worked on, in bytes; one more of the largest size may be there.
    connections : int
        How many connections there may be.
    connections_per_address : int
        How many of them from one address: one machine leaves some to the others.
    idle_ms : int
        After how long a connection that nothing was sent on is closed.
    """

    queued_bytes: int
    connections: int
    connections_per_address: int
    idle_ms: int = IDLE_MS


def broker_limits(memory: str, open_files: int | None = None) -> BrokerLimits:
    """The limits of a broker.

    Parameters
    ----------
    memory : str
        Its heap, as Java writes it.
    open_files : int, optional
        How many files its process may have open; None: as many as it needs.
    """
    heap = heap_bytes(memory)
    connections = min(_MOST_CONNECTIONS, heap // _HEAP_PER_CONNECTION)
    if open_files is not None:
        # Half of them are for the data: a file for each segment.
        connections = max(16, min(connections, (open_files - _OWN_FILES) // 2))
    return BrokerLimits(max(MAX_REQUEST_BYTES, heap // 8), connections, connections * 3 // 4)


def heap_bytes(memory: str) -> int:
    """Bytes of a heap such as ``512m``.

    Raises
    ------
    UserError
        When it is not a size.
    """
    if not re.fullmatch(r"[1-9]\d*[kKmMgG]", memory):
        raise UserError(
            "the broker's memory is not a size",
            seen=memory,
            valid="a number and k, m or g, such as 512m",
        )
    return int(memory[:-1]) * _UNITS[memory[-1].lower()]


def check_heap(memory: str, mode: str) -> None:
    """Raise `UserError` unless a broker with this heap can take deeptool's largest records."""
    least = _LEAST[mode]
    if heap_bytes(memory) < least:
        raise UserError(
            "the broker's memory is too small for the largest records, and several producers"
            " would end it",
            seen=f"{memory} for records of up to {MAX_RECORD_BYTES >> 20} MiB",
            valid=f"{least >> 20}m or more in {mode} mode; 512m is the default",
        )


def limits_here(memory: str, progress: Callable[[str], None]) -> BrokerLimits:
    """The limits of a broker on this machine; `progress` is told where few files may be open."""
    # Java raises its limit to the hard one.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = None if hard == resource.RLIM_INFINITY else hard
    limits = broker_limits(memory, open_files)
    if open_files is not None and open_files < _FEW_FILES:
        segments = max(0, open_files - _OWN_FILES - limits.connections)
        progress(
            f"warning: a process may have only {open_files:,} files open here: the broker takes"
            f" {limits.connections:,} connections at once and about {segments // 4:,} GiB of data;"
            " raise the hard limit (ulimit -Hn) for more"
        )
    return limits
