"""One broker of a cluster, as a value: what its files and command lines are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["zookeeper", "kraft"]
MODES: tuple[Mode, ...] = ("zookeeper", "kraft")
VERSION = "3.9.2"


@dataclass(frozen=True)
class BrokerNode:
    """One node of a cluster of brokers.

    Parameters
    ----------
    mode : str
        Whether metadata is kept by a ZooKeeper or by a broker itself (KRaft): on node 0.
    host : str
        The address that the broker listens on and advertises.
    port : int
        The port for clients.
    metadata_port : int
        ZooKeeper's port, or that of the KRaft controller.
    data : Path
        The folder for everything that is to survive a restart.
    node : int
        Its number, from 0.
    replication : int
        How many brokers keep each record.
    metadata_host : str, optional
        Where node 0 listens; None on node 0.
    jaas : Path, optional
        The JAAS file of a broker that asks for a password; None for one that does not.
    """

    mode: Mode
    host: str
    port: int
    metadata_port: int
    data: Path
    node: int = 0
    replication: int = 1
    metadata_host: str | None = None
    jaas: Path | None = None

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def metadata(self) -> str:
        """The address of ZooKeeper or the KRaft controller."""
        return f"{self.metadata_host or self.host}:{self.metadata_port}"

    @property
    def node_id(self) -> int:
        """What Kafka knows this node by."""
        return self.node + 1

    @property
    def log_dir(self) -> Path:
        return self.data / "kafka"
