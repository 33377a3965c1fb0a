"""The configuration files of Kafka and ZooKeeper, as text. Nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpc.broker.limits import (
    IO_THREADS,
    MAX_LOGIN_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_BYTES,
    NETWORK_THREADS,
    ZOOKEEPER_CONNECTIONS,
    BrokerLimits,
)
from hpc.broker.node import BrokerNode
from hpc.broker.passwords import MECHANISM, USER

# A broker that was killed can only come back when its session has ended: 18 and 9 s by default.
SESSION_MS = 6000


def java_properties(values: Mapping[str, object]) -> str:
    """Java's properties format (ASCII keys; backslashes in values escaped)."""
    return "".join(
        f"{key}={str(value).replace(chr(92), chr(92) * 2)}\n" for key, value in values.items()
    )


def broker_properties(node: BrokerNode, limits: BrokerLimits, renew: bool = False) -> str:
    """The broker's properties file; nothing in it is secret.

    Parameters
    ----------
    node : BrokerNode
        The broker.
    limits : BrokerLimits
        What its clients may take of it.
    renew : bool
        Whether clients may also prove by another mechanism than SCRAM that they know the password:
        what SCRAM compares it with is in the data (KRaft), and can be that of an earlier one.
    """
    protocol = "SASL_PLAINTEXT" if node.jaas else "PLAINTEXT"
    client = f"{protocol}://{node.bootstrap}"
    values: dict[str, object] = {}
    if node.mode == "zookeeper":
        values |= {
            "broker.id": node.node_id,
            "listeners": client,
            "zookeeper.connect": node.metadata,
            "zookeeper.session.timeout.ms": SESSION_MS,
            # The last of a cluster asks three times to be relieved by those that left before it.
            "controlled.shutdown.retry.backoff.ms": 1000,
        }
    else:
        controls = node.node == 0
        values |= {
            "process.roles": "broker,controller" if controls else "broker",
            "node.id": node.node_id,
            "controller.quorum.voters": f"1@{node.metadata}",
            "controller.listener.names": "CONTROLLER",
            "broker.session.timeout.ms": SESSION_MS,
            "broker.heartbeat.interval.ms": SESSION_MS // 4,
            "listeners": f"{client},CONTROLLER://{node.metadata}" if controls else client,
            "listener.security.protocol.map": f"{protocol}:{protocol},CONTROLLER:{protocol}",
        }
    if node.jaas:
        values |= {
            "security.inter.broker.protocol": protocol,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.enabled.mechanisms": f"{MECHANISM},PLAIN" if renew else MECHANISM,
            "sasl.server.max.receive.size": MAX_LOGIN_BYTES,
        }
        if node.mode == "kraft":
            # Brokers must reach the controller to learn what SCRAM needs.
            values |= {
                "sasl.mechanism.controller.protocol": "PLAIN",
                "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            }
    values |= {
        "advertised.listeners": client,
        "log.dirs": node.log_dir,
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "num.partitions": 1,
        "default.replication.factor": node.replication,
        "offsets.topic.replication.factor": node.replication,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": node.replication,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "num.network.threads": NETWORK_THREADS,
        "num.io.threads": IO_THREADS,
        # A connection claims what its next request announces, before it sends any of it.
        "socket.request.max.bytes": MAX_REQUEST_BYTES,
        "queued.max.request.bytes": limits.queued_bytes,
        # A thousand trials may start at once; one that finds the default of 50 full waits a second.
        "socket.listen.backlog.size": 1024,
        "max.connections": limits.connections,
        "max.connections.per.ip": limits.connections_per_address,
        "connections.max.idle.ms": limits.idle_ms,
        # Kafka's default would delete a dataset after seven days.
        "log.retention.ms": -1,
        "log.retention.bytes": -1,
        # Deleted records give their space back by whole segments.
        "log.segment.bytes": 256 << 20,
        "log.retention.check.interval.ms": 10_000,
        # From this long after its start on; by default half a minute, for which a broker that was
        # started on a full disk to delete something would stay full.
        "log.initial.task.delay.ms": 5000,
        "log.segment.delete.delay.ms": 10_000,
        # The catalog is compacted. It is small, and the default buffer takes 128 MiB of the heap.
        "log.cleaner.enable": "true",
        "log.cleaner.dedupe.buffer.size": 16 << 20,
    }
    return java_properties(values)


def zookeeper_properties(node: BrokerNode) -> str:
    """ZooKeeper's properties file."""
    values: dict[str, object] = {
        "dataDir": node.data / "zookeeper",
        "clientPort": node.metadata_port,
        "clientPortAddress": node.host,
        # Of one address, and of all: those without a session end after ten seconds.
        "maxClientCnxns": ZOOKEEPER_CONNECTIONS // 2,
        "maxCnxns": ZOOKEEPER_CONNECTIONS,
        "tickTime": 1000,
        # Its default port, 8080, is everybody's.
        "admin.enableServer": "false",
        "autopurge.snapRetainCount": 3,
        "autopurge.purgeInterval": 24,
    }
    if node.jaas:
        values |= {
            "authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
            "enforce.auth.enabled": "true",
            "enforce.auth.schemes": "sasl",
        }
    return java_properties(values)


def format_arguments(node: BrokerNode, cluster_id: str, file: Path, password: str | None) -> str:
    """The storage tool's arguments, one a line, to be read from a file: a password may be there."""
    lines = ["format", f"--cluster-id={cluster_id}", f"--config={file}"]
    if password and node.node == 0:
        lines.append(f"--add-scram={MECHANISM}=[name={USER},password={password}]")
    return "".join(f"{line}\n" for line in lines)


def user_properties(password: str) -> str:
    """The properties file from which Kafka's configuration tool learns the user's password."""
    return java_properties({MECHANISM: f"password={password}"})


def log4j_properties() -> str:
    """Logging to standard output, which whoever starts the process sends to a file."""
    return java_properties(
        {
            "log4j.rootLogger": "INFO, out",
            "log4j.appender.out": "org.apache.log4j.ConsoleAppender",
            "log4j.appender.out.layout": "org.apache.log4j.PatternLayout",
            "log4j.appender.out.layout.ConversionPattern": "[%d] %p %m (%c)%n",
        }
    )
