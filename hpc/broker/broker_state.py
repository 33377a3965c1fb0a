"""What the broker of a folder says of itself: ``state.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpc.broker.node import Mode
from hpc.processes.versioned import known, read_versioned, write_versioned

STATE_FILE = "state.json"
FORMAT = 1


@dataclass(frozen=True)
class BrokerState:
    """A broker, as its supervisor last wrote it.

    Attributes
    ----------
    state : str
        ``starting``, ``ready``, ``stopped`` or ``failed``.
    error : str or None
        Why it has failed.
    disk_full : bool
        Whether that was because its disk is full: a producer on the same node looks here.
    bootstrap : str
        ``host:port`` for clients.
    mode, host, port, metadata_port, node
        What a later start on the folder keeps (`hpc.broker.node.BrokerNode`); None where an
        earlier one had not come so far.
    nodes, replication : int
        Of its cluster.
    secured : bool
        Whether it asks for a password.
    memory, version : str
        Its heap, and Kafka's version.
    supervisor : mapping or None
        The identity of the process that keeps it up (`hpc.processes.identity.identity`).
    processes : mapping
        Name (``broker``, ``zookeeper``) -> identity, of those that run.
    cpu_seconds : float
        What its servers have cost, those of earlier starts included.
    started, updated : float
        Unix times.
    logs : mapping
        Name -> path.
    """

    state: str = "starting"
    error: str | None = None
    disk_full: bool = False
    bootstrap: str = ""
    mode: Mode | None = None
    host: str | None = None
    port: int | None = None
    metadata_port: int | None = None
    node: int | None = None
    nodes: int = 1
    replication: int = 1
    secured: bool = False
    memory: str = ""
    version: str = ""
    supervisor: Mapping[str, float] | None = None
    processes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    started: float = 0.0
    updated: float = 0.0
    logs: Mapping[str, str] = field(default_factory=dict)


def read_broker_state(directory: Path) -> BrokerState | None:
    """What the file of a folder says; None where no broker was ever started.

    Raises
    ------
    UserError
        When the file is damaged or of a newer format.
    """
    return read_versioned(
        directory / STATE_FILE, "broker", FORMAT, lambda values: known(BrokerState, values)
    )


def write_broker_state(directory: Path, state: BrokerState) -> None:
    """Replace the file."""
    write_versioned(directory / STATE_FILE, "broker", FORMAT, asdict(state))
