"""A broker's processes: their files and command lines, in the order of a start. Nothing runs here.

`hpc.broker.embedded` starts what this module says, and ``deeptool-hpc render`` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc.broker import passwords, properties
from hpc.broker.broker_options import PRIVATE
from hpc.broker.limits import DIRECT_BYTES, ZOOKEEPER_REQUEST_BYTES, BrokerLimits, broker_limits
from hpc.broker.node import VERSION, BrokerNode
from hpc.processes import apptainer
from hpc.processes.apptainer import Images

# How files end in which processes note the names of the classes that they load.
CLASSES = ".classes"
# Of ZooKeeper and of Kafka's tools.
_SMALL_HEAP = "128m"

_BROKER = "kafka.Kafka"
_ZOOKEEPER = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_STORAGE_TOOL = "kafka.tools.StorageTool"
_CONFIG_TOOL = "kafka.admin.ConfigCommand"


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
    class_names : Path, optional
        Where the names of the classes that a start loads are to be kept, for a later archive
        (`hpc.broker.class_archive`).
    """

    java: Path
    jars: Path
    archive: Path | None = None
    class_names: Path | None = None


# Where the images of recipes/ have it.
IN_IMAGE = Runtime(
    Path("/opt/java/bin/java"), Path("/opt/kafka/libs"), Path("/opt/kafka/classes.jsa")
)


@dataclass(frozen=True)
class BrokerSetup:
    """All that the files and command lines of one broker depend on, but for its data.

    Attributes
    ----------
    node : BrokerNode
        Mode, addresses, data folder.
    home : Path
        The broker's folder.
    runtime : Runtime
        Where Java and Kafka are, in the images if there are any.
    memory : str
        The broker's heap, as Java writes it.
    images : Images or None
        The images that servers run in.
    password : str or None
        What clients have to know, where the node has a JAAS file.
    limits : BrokerLimits or None
        What clients may take of the broker; None: by its memory alone.
    """

    node: BrokerNode
    home: Path
    runtime: Runtime
    memory: str
    images: Images | None = None
    password: str | None = None
    limits: BrokerLimits | None = None


@dataclass(frozen=True)
class DataState:
    """What the data folder holds before a start.

    Attributes
    ----------
    formatted : bool
        Whether it was used before.
    user_missing : bool
        Whether this node has to write the user, because its data knows none or another password.
    new_cluster_id : str
        The cluster's id, should the folder have to be formatted.
    """

    formatted: bool
    user_missing: bool
    new_cluster_id: str


@dataclass(frozen=True)
class ServerFile:
    """A file that a process reads: whether others may read it, and whether it goes when it ends."""

    path: Path
    text: str
    private: bool = False
    passing: bool = False


@dataclass(frozen=True)
class ServerProcess:
    """One process of a broker.

    Attributes
    ----------
    name : str
        ``zookeeper`` and ``broker``, which stay, or ``user`` and ``format``, which do one thing.
    step : str
        What it is there for, as progress shows it.
    argv : tuple of str
    log : Path
    files : tuple of ServerFile
        To be written before it starts.
    guard : bool
        As for `hpc.processes.service.Service`.
    """

    name: str
    step: str
    argv: tuple[str, ...]
    log: Path
    files: tuple[ServerFile, ...]
    guard: bool

    @property
    def stays(self) -> bool:
        """Whether it runs as long as the broker is up."""
        return self.name in ("zookeeper", "broker")


def common_files(setup: BrokerSetup) -> tuple[ServerFile, ...]:
    """The files that all processes read."""
    log4j = ServerFile(setup.home / "log4j.properties", properties.log4j_properties())
    if not (setup.password and setup.node.jaas):
        return (log4j,)
    return (log4j, ServerFile(setup.node.jaas, passwords.jaas(setup.password), private=True))


def renews_user(setup: BrokerSetup, data: DataState) -> bool:
    """Whether the user can only be written when the broker is up: in the data, and not new."""
    return setup.node.mode == "kraft" and data.formatted and data.user_missing


def start_order(setup: BrokerSetup, data: DataState) -> tuple[ServerProcess, ...]:
    """The processes of a start. Each begins when the one before it has, or has done its work."""
    node = setup.node
    zookeeper = node.mode == "zookeeper"
    processes: list[ServerProcess] = []
    if zookeeper and node.node == 0:
        processes.append(_zookeeper(setup))
        if data.user_missing:
            processes.append(_user_tool(setup))
    limits = setup.limits or broker_limits(setup.memory)
    text = properties.broker_properties(node, limits, renews_user(setup, data))
    file = ServerFile(setup.home / "broker.properties", text)
    if not zookeeper and not data.formatted:
        processes.append(_format_tool(setup, file, data.new_cluster_id))
    step = f"starting Kafka {VERSION} ({node.mode} mode) on {node.bootstrap}"
    broker = _process(setup, "broker", step, _BROKER, [file.path], (file,), setup.memory)
    return (*processes, broker)


def _zookeeper(setup: BrokerSetup) -> ServerProcess:
    text = properties.zookeeper_properties(setup.node)
    file = ServerFile(setup.home / "zookeeper.properties", text)
    step = f"starting ZooKeeper on port {setup.node.metadata_port}"
    return _process(setup, "zookeeper", step, _ZOOKEEPER, [file.path], (file,))


def _user_tool(setup: BrokerSetup) -> ServerProcess:
    """Writes what SCRAM compares passwords with into ZooKeeper."""
    text = properties.user_properties(setup.password or "")
    file = ServerFile(setup.home / PRIVATE / "user.properties", text, private=True, passing=True)
    arguments: list[str | Path] = [
        *("--zookeeper", setup.node.metadata, "--alter", "--entity-type", "users"),
        *("--entity-name", passwords.USER, "--add-config-file", file.path),
    ]
    return _process(setup, "user", "writing the user", _CONFIG_TOOL, arguments, (file,))


def _format_tool(setup: BrokerSetup, broker_file: ServerFile, cluster_id: str) -> ServerProcess:
    """Formats a KRaft data folder."""
    text = properties.format_arguments(setup.node, cluster_id, broker_file.path, setup.password)
    # Its command line could be read by every user of the machine.
    file = ServerFile(setup.home / PRIVATE / "format.args", text, private=True, passing=True)
    return _process(
        *(setup, "format", "formatting the data folder", _STORAGE_TOOL),
        *([f"@{file.path}"], (broker_file, file)),
    )


def _process(
    setup: BrokerSetup,
    name: str,
    step: str,
    main: str,
    arguments: Sequence[str | Path],
    files: tuple[ServerFile, ...],
    heap: str = _SMALL_HEAP,
) -> ServerProcess:
    home, images = setup.home, setup.images
    argv = java_argv(
        setup.runtime,
        main,
        arguments,
        home=home,
        heap=heap,
        jaas=setup.node.jaas,
        class_names=home / "tmp" / f"{name}{CLASSES}" if setup.runtime.class_names else None,
    )
    if images:
        image = images.zookeeper if name == "zookeeper" else images.kafka
        argv = [*apptainer.exec_argv(images.program, image, argv, binds=[home], pid=True)]
    log = home / "logs" / f"{name}.log"
    return ServerProcess(name, step, tuple(argv), log, files, guard=images is not None)


def java_argv(
    runtime: Runtime,
    main: str,
    arguments: Sequence[str | Path],
    *,
    home: Path,
    heap: str,
    jaas: Path | None = None,
    class_names: Path | None = None,
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
    class_names : Path, optional
        Where it is to note the names of the classes that it loads.
    """
    return [
        str(runtime.java),
        f"-Xmx{heap}",
        # Measured, for records of 1 MiB: half the CPU of G1, to which each is a humongous object,
        # and no slower than with the second compiler, whose work a short life never pays back.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        *([f"-XX:SharedArchiveFile={runtime.archive}"] if runtime.archive else []),
        *([f"-XX:DumpLoadedClassList={class_names}"] if class_names else []),
        "-XX:+ExitOnOutOfMemoryError",
        # Each of its threads keeps a buffer outside of the heap, as large as the largest request.
        *([f"-XX:MaxDirectMemorySize={DIRECT_BYTES}"] if main == _BROKER else []),
        # What a connection to ZooKeeper may announce; its clients are answered with more.
        *([f"-Djute.maxbuffer={ZOOKEEPER_REQUEST_BYTES}"] if main == _ZOOKEEPER else []),
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
