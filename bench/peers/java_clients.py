"""Kafka's own measuring programs in Java: ProducerPerformance and ConsumerPerformance."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.contenders import Absent, Contender, Context, Timed, Work
from bench.kafka_topics import create_topic, delete_topic, records_of
from deeptool.errors import DeeptoolError
from deeptool.files import lock, sha256
from hpc.broker import jars
from hpc.broker.node import VERSION

_TOOLS = f"org.apache.kafka:kafka-tools:{VERSION}"
_SUM = "3e6844711c3f5c9148f76ac96dfbf1de0aeeba11249e142e084b6de68e0ed05e"
_RECORD_BYTES = 1 << 20
_MIB = 1 << 20
_LONGEST = 300.0
# As large as ours; a request takes a few records, and idempotence is Java's default, as ours.
_PRODUCER = {
    "acks": "all",
    "batch.size": str(2 * _MIB),
    "linger.ms": "5",
    "max.request.size": str(4 * _MIB),
    "buffer.memory": str(128 * _MIB),
}
_FETCH_BYTES = 8 * _MIB


class Clients(NamedTuple):
    """How Java is called."""

    java: Path
    classes: str

    def run(self, program: str, *arguments: str) -> str:
        """What a program of Kafka's tools prints."""
        done = subprocess.run(
            [
                *(str(self.java), "-Xmx1g", "-cp", self.classes),
                f"org.apache.kafka.tools.{program}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=_LONGEST,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        return done.stdout


def contenders(context: Context) -> Mapping[str, Contender]:
    """Offer both; their one jar is fetched when it is not there yet."""
    try:
        folder = jars.kafka_jars()
        clients = Clients(jars.java(), f"{folder}/*:{_tools_jar()}")
    except (DeeptoolError, OSError, RuntimeError) as error:
        absent = Absent(f"{_TOOLS} could not be fetched: {error}")
        return {"Java producer": absent, "Java consumer": absent}
    return {
        "Java producer": Work(partial(_produce, context, clients)),
        "Java consumer": Work(partial(_consume, context, clients)),
    }


def _tools_jar() -> Path:
    """The jar with both programs, fetched once; verified every time."""
    cache = jars.cache_dir()
    jar = cache / f"kafka-tools-{VERSION}.jar"
    cache.mkdir(parents=True, exist_ok=True)
    with lock(cache / ".kafka-tools.lock"):
        if not jar.exists():
            _fetch(cache / "kafka-tools", jar)
    if sha256(jar) != _SUM:
        raise RuntimeError(f"{jar} is not the published file: delete it, and try again")
    return jar


def _fetch(repository: Path, jar: Path) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    remotes = {"central": MAVEN_CENTRAL_URL}
    maven = MavenContext(repo_cache=repository, remote_repos=remotes, timeout=30)
    fetched = Path(maven.create_dependency(_TOOLS).artifact.resolve())
    fetched.rename(jar)
    shutil.rmtree(repository)


def _produce(context: Context, clients: Clients, number: int) -> Timed:
    """As many bytes as the workload has, in records as large as ours."""
    topic = f"{context.dataset_name}-java-{number}"
    create_topic(context.servers, topic)
    records = max(1, context.workload.size // _RECORD_BYTES)
    settings = {"bootstrap.servers": context.servers, **_PRODUCER}
    printed = clients.run(
        "ProducerPerformance",
        *("--topic", topic, "--num-records", str(records), "--throughput", "-1"),
        *("--record-size", str(_RECORD_BYTES), "--producer-props"),
        *(f"{key}={value}" for key, value in settings.items()),
    )
    delete_topic(context.servers, topic)
    return Timed(context.workload.samples, context.workload.size / produced_rate(printed))


def _consume(context: Context, clients: Clients, number: int) -> Timed:
    """The records of ours."""
    topic = f"{context.dataset_name}.0.train"
    printed = clients.run(
        "ConsumerPerformance",
        *("--bootstrap-server", context.servers, "--topic", topic, "--hide-header"),
        *("--messages", str(records_of(context.servers, topic))),
        *("--fetch-size", str(_FETCH_BYTES), "--timeout", "20000"),
    )
    return Timed(context.workload.samples, context.workload.size / consumed_rate(printed))


def produced_rate(printed: str) -> float:
    """Bytes/s from the last line of ProducerPerformance: its MB are MiB."""
    last = [line for line in printed.splitlines() if "MB/sec)" in line][-1]
    return float(last.split("(")[1].split(" MB/sec")[0]) * _MIB


def consumed_rate(printed: str) -> float:
    """Bytes/s, the field MB.sec, from the line of ConsumerPerformance: its MB are MiB."""
    line = [line for line in printed.splitlines() if line.count(",") >= 9][-1]
    return float(line.split(",")[3]) * _MIB
