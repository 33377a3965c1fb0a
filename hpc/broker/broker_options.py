"""What is asked of a broker, and what that comes to on a folder that was used before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import UserError
from hpc.broker import ports
from hpc.broker.broker_state import BrokerState
from hpc.broker.limits import BrokerLimits, check_heap
from hpc.broker.node import BrokerNode, Mode
from hpc.processes.apptainer import Images

# Below a broker's folder: files with a password, which are there only while it is up.
PRIVATE = "private"


@dataclass(frozen=True)
class Metadata:
    """Where a cluster keeps its metadata: what its other nodes need to join.

    Parameters
    ----------
    address : str
        ``host:port`` of ZooKeeper or of the KRaft controller.
    cluster_id : str
        Kafka's id of the cluster; empty in ZooKeeper mode, where ZooKeeper keeps it.
    """

    address: str
    cluster_id: str = ""


@dataclass(frozen=True)
class BrokerOptions:
    """What is asked of a broker; None is what its folder says, or else the default.

    Parameters
    ----------
    directory : Path
        Its folder: settings, data, logs and state.
    mode : str, optional
        ``zookeeper`` (default) or ``kraft``.
    host : str, optional
        The address to listen on, 127.0.0.1 by default.
    port : int, optional
        The port for clients, a free one by default.
    memory : str
        The broker's heap, as Java writes it.
    node : int
        Its number in the cluster, from 0; node 0 also keeps the cluster's metadata.
    nodes : int
        How many brokers the cluster has.
    replication : int
        How many brokers keep each record.
    metadata : Metadata, optional
        What node 0 announced; for all others.
    secret : Path, optional
        A file with a password (`hpc.broker.passwords`), which the broker then asks of everyone.
    images : Images, optional
        The images to run the servers in; else jars and a JRE from the cache are used.
    port_fixed : bool
        Whether a port that is taken is an error; else another one is chosen.
    limits : BrokerLimits, optional
        What its clients may take of it; by its memory and the open-files limit unless given.
    """

    directory: Path
    mode: Mode | None = None
    host: str | None = None
    port: int | None = None
    memory: str = "512m"
    node: int = 0
    nodes: int = 1
    replication: int = 1
    metadata: Metadata | None = None
    secret: Path | None = None
    images: Images | None = None
    port_fixed: bool = True
    limits: BrokerLimits | None = None


def settle(options: BrokerOptions, earlier: BrokerState | None = None) -> BrokerNode:
    """What `options` come to on a folder, with what an `earlier` start left there.

    Raises
    ------
    UserError
        When they contradict each other, or the port is taken.
    """
    if "," in str(options.directory):
        raise UserError(
            "the broker's folder has a comma in its path, where Kafka expects another folder",
            seen=str(options.directory),
            valid="a folder without commas in its path",
        )
    earlier = earlier or BrokerState()
    mode = chosen_mode(options, earlier)
    if mode != (earlier.mode or mode):
        raise UserError(
            "the broker of this folder, and so its data, was made in another mode",
            seen=f"--mode {mode} on {options.directory}",
            valid=f"--mode {earlier.mode}, or a new folder",
        )
    check_heap(options.memory, mode)
    _check_cluster(options, mode, earlier)
    host = options.host or earlier.host or "127.0.0.1"
    ports.check_host(host)
    port = options.port or earlier.port
    if port is not None and not ports.is_free(host, port):
        if options.port_fixed:
            kept = "" if options.port else ", which the clients of this folder's broker know"
            raise UserError(
                f"something else listens on the broker's port{kept}",
                seen=f"{host}:{port}",
                next_step="stop that program, or choose another port: --port P",
            )
        port = None
    metadata_host: str | None = None
    metadata_port: int | None
    if options.metadata:
        metadata_host, _, number = options.metadata.address.rpartition(":")
        metadata_port = int(number)
    else:
        metadata_port = earlier.metadata_port
        if metadata_port is None or not ports.is_free(host, metadata_port):
            (metadata_port,) = ports.free_ports(host, 1)
    while port is None or port == metadata_port:
        (port,) = ports.free_ports(host, 1)
    return BrokerNode(
        mode,
        host,
        port,
        metadata_port,
        options.directory / "data",
        options.node,
        options.replication,
        metadata_host,
        options.directory / PRIVATE / "jaas.conf" if options.secret else None,
    )


def chosen_mode(options: BrokerOptions, earlier: BrokerState | None) -> Mode:
    """The mode that is asked for, else that of the folder's `earlier` start, else the default."""
    return options.mode or (earlier and earlier.mode) or "zookeeper"


def _check_cluster(options: BrokerOptions, mode: str, earlier: BrokerState) -> None:
    """Whether this can be one node of a cluster."""
    if not 0 <= options.node < options.nodes:
        raise UserError(
            "there is no such node in this cluster",
            seen=f"node {options.node} of {options.nodes}",
            valid=f"0 to {options.nodes - 1}",
        )
    if not 1 <= options.replication <= options.nodes:
        raise UserError(
            "there are not enough brokers for this replication",
            seen=f"replication {options.replication}, {options.nodes} brokers",
            valid=f"1 to {options.nodes}",
        )
    if earlier.node not in (None, options.node):
        raise UserError(
            "the folder, and so its data, belongs to another node of its cluster",
            seen=f"node {options.node} on {options.directory}",
            valid=f"node {earlier.node}, or a new folder",
        )
    if (options.node > 0) != (options.metadata is not None):
        raise UserError(
            "every node but node 0 needs the address of node 0's metadata, and only those do",
            seen=f"node {options.node}, metadata {options.metadata}",
        )
    if options.metadata and (mode == "kraft") != bool(options.metadata.cluster_id):
        raise UserError(
            "node 0 of this cluster runs in another mode",
            seen=f"mode {mode}, cluster id {options.metadata.cluster_id!r}",
            valid="a cluster id in kraft mode, none in zookeeper mode",
        )
