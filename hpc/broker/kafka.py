"""What Kafka and ZooKeeper are told: properties and command lines, as text. Nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpc.broker.passwords import MECHANISM, USER

Mode = Literal["zookeeper", "kraft"]
MODES: tuple[Mode, ...] = ("zookeeper", "kraft")
VERSION = "3.9.2"

# deeptool's largest record, and what Kafka's own framing, keys and headers may add to it.
MAX_RECORD_BYTES = 64 << 20
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES + (1 << 20)
# A broker that was killed can only come back when its session has ended: 18 and 9 s by default.
SESSION_MS = 6000

BROKER_MAIN = "kafka.Kafka"
STORAGE_MAIN = "kafka.tools.StorageTool"
ZOOKEEPER_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
CONFIG_MAIN = "kafka.admin.ConfigCommand"


@dataclass(frozen=True)
class Runtime:
    """What a JVM with Kafka on its class path needs.

    Parameters
    ----------
    java : Path
        The ``java`` to run.
    jars : Path
        The folder of Kafka's jars.
    archive : Path, optional
        The archive of classes to start with; Java does without one that is not there.
    """

    java: Path
    jars: Path
    archive: Path | None = None


# Where the images of recipes/ have it.
IN_IMAGE = Runtime(
    Path("/opt/java/bin/java"), Path("/opt/kafka/libs"), Path("/opt/kafka/classes.jsa")
)


@dataclass(frozen=True)
class Kafka:
    """One node of a cluster of brokers.

    Parameters
    ----------
    mode : str
        Whether metadata is kept by a ZooKeeper or by a broker itself (KRaft): on node 0.
    host : str
        The address that the broker listens on and that clients are told.
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


def properties(values: Mapping[str, object]) -> str:
    """Java's properties format (ASCII keys; backslashes in values escaped)."""
    return "".join(
        f"{key}={str(value).replace(chr(92), chr(92) * 2)}\n" for key, value in values.items()
    )


def broker_properties(kafka: Kafka, renew: bool = False) -> str:
    """The broker's properties file; nothing in it is secret.

    Parameters
    ----------
    kafka : Kafka
        The broker.
    renew : bool
        Whether clients may also prove by another mechanism than SCRAM that they know the password:
        what SCRAM compares it with is in the data (KRaft), and can be that of an earlier one.
    """
    protocol = "SASL_PLAINTEXT" if kafka.jaas else "PLAINTEXT"
    client = f"{protocol}://{kafka.bootstrap}"
    values: dict[str, object] = {}
    if kafka.mode == "zookeeper":
        values |= {
            "broker.id": kafka.node_id,
            "listeners": client,
            "zookeeper.connect": kafka.metadata,
            "zookeeper.session.timeout.ms": SESSION_MS,
            # The last of a cluster asks three times to be relieved by those that left before it.
            "controlled.shutdown.retry.backoff.ms": 1000,
        }
    else:
        controls = kafka.node == 0
        values |= {
            "process.roles": "broker,controller" if controls else "broker",
            "node.id": kafka.node_id,
            "controller.quorum.voters": f"1@{kafka.metadata}",
            "controller.listener.names": "CONTROLLER",
            "broker.session.timeout.ms": SESSION_MS,
            "broker.heartbeat.interval.ms": SESSION_MS // 4,
            "listeners": f"{client},CONTROLLER://{kafka.metadata}" if controls else client,
            "listener.security.protocol.map": f"{protocol}:{protocol},CONTROLLER:{protocol}",
        }
    if kafka.jaas:
        values |= {
            "security.inter.broker.protocol": protocol,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.enabled.mechanisms": f"{MECHANISM},PLAIN" if renew else MECHANISM,
        }
        if kafka.mode == "kraft":
            # Brokers must reach the controller to learn what SCRAM needs.
            values |= {
                "sasl.mechanism.controller.protocol": "PLAIN",
                "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            }
    values |= {
        "advertised.listeners": client,
        "log.dirs": kafka.log_dir,
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "num.partitions": 1,
        "default.replication.factor": kafka.replication,
        "offsets.topic.replication.factor": kafka.replication,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": kafka.replication,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        # Kafka's default would delete a dataset after seven days.
        "log.retention.ms": -1,
        "log.retention.bytes": -1,
        # Deleted records give their space back by whole segments.
        "log.segment.bytes": 256 << 20,
        "log.retention.check.interval.ms": 30_000,
        # The catalog is compacted. It is small, and the default buffer takes 128 MiB of the heap.
        "log.cleaner.enable": "true",
        "log.cleaner.dedupe.buffer.size": 16 << 20,
    }
    return properties(values)


def zookeeper_properties(kafka: Kafka) -> str:
    """ZooKeeper's properties file."""
    values: dict[str, object] = {
        "dataDir": kafka.data / "zookeeper",
        "clientPort": kafka.metadata_port,
        "clientPortAddress": kafka.host,
        "maxClientCnxns": 0,
        "tickTime": 1000,
        # Its default port, 8080, is everybody's.
        "admin.enableServer": "false",
        "autopurge.snapRetainCount": 3,
        "autopurge.purgeInterval": 24,
    }
    if kafka.jaas:
        values |= {
            "authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
            "enforce.auth.enabled": "true",
            "enforce.auth.schemes": "sasl",
        }
    return properties(values)


def format_arguments(kafka: Kafka, cluster_id: str, file: Path, password: str | None) -> str:
    """The storage tool's arguments, one a line, to be read from a file: a password may be there."""
    lines = ["format", f"--cluster-id={cluster_id}", f"--config={file}"]
    if password and kafka.node == 0:
        lines.append(f"--add-scram={MECHANISM}=[name={USER},password={password}]")
    return "".join(f"{line}\n" for line in lines)


def user_properties(password: str) -> str:
    """The properties file from which Kafka's configuration tool learns the user's password."""
    return properties({MECHANISM: f"password={password}"})


def log4j_properties() -> str:
    """Logging to standard output, which whoever starts the process sends to a file."""
    return properties(
        {
            "log4j.rootLogger": "INFO, out",
            "log4j.appender.out": "org.apache.log4j.ConsoleAppender",
            "log4j.appender.out.layout": "org.apache.log4j.PatternLayout",
            "log4j.appender.out.layout.ConversionPattern": "[%d] %p %m (%c)%n",
        }
    )


def java_argv(
    runtime: Runtime,
    main: str,
    arguments: Sequence[str | Path],
    *,
    home: Path,
    heap: str,
    jaas: Path | None = None,
) -> list[str]:
    """The command line of one JVM.

    Parameters
    ----------
    runtime : Runtime
        Java, jars and archive.
    main : str
        The class to run.
    arguments : sequence
        Its arguments.
    home : Path
        The folder with ``log4j.properties``, ``logs`` and ``tmp``.
    heap : str
        The most heap it may take, as Java writes it: ``512m``, ``2g``.
    jaas : Path, optional
        Its JAAS file.
    """
    return [
        str(runtime.java),
        f"-Xmx{heap}",
        # Measured, for records of 1 MiB: half the CPU of G1, to which each is a humongous object,
        # and no slower than with the second compiler, whose work a short life never pays back.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        *([f"-XX:SharedArchiveFile={runtime.archive}"] if runtime.archive else []),
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={home / 'logs' / 'hs_err_%p.log'}",
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={home / 'tmp'}",
        "-Dzookeeper.jmx.log4j.disable=true",
        f"-Dlog4j.configuration=file:{home / 'log4j.properties'}",
        *([f"-Djava.security.auth.login.config={jaas}"] if jaas else []),
        "-cp",
        f"{runtime.jars}/*",
        main,
        *map(str, arguments),
    ]
