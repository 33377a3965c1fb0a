"""The folders in which brokers keep their topics, and how much space is left there.

By kafka-python: librdkafka has no such request. Kafka says how much is left since 3.3 (KIP-827),
and only to clients that may describe the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from deeptool.client.connection import Connection

# kafka-python's names for librdkafka's; any other is the same with "_" for ".".
_NAMES = {
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.mechanisms": "sasl_mechanism",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
}


@dataclass(frozen=True)
class LogDir:
    """One folder of one broker.

    Attributes
    ----------
    broker : int
    path : Path
        On the broker's own machine.
    free : int
        Bytes that the broker may still write there.
    used : bool
        Whether a partition of the topics that were asked about is in it.
    """

    broker: int
    path: Path
    free: int
    used: bool = False


class LogDirs:
    """Asks all brokers of a cluster for their folders; a context manager.

    The connection is kept, so that asking again costs less than a millisecond.

    Parameters
    ----------
    connection : Connection
    timeout : float
        Seconds that an answer may take.

    Attributes
    ----------
    cluster_id : str or None
        Kafka's id of the cluster, once it has answered.
    """

    def __init__(self, connection: Connection, timeout: float = 10.0) -> None:
        self._connection, self._milliseconds = connection, int(timeout * 1000)
        self._client: Any = None
        self.cluster_id: str | None = None

    def __enter__(self) -> LogDirs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Safe to call repeatedly."""
        if self._client is not None:
            # What it raises here, it has raised before.
            with suppress(Exception):
                self._client.close()
            self._client = None

    def ask(self, topic: str | None = None, partitions: Iterable[int] = ()) -> tuple[LogDir, ...]:
        """The folders of all brokers that say how much space is left in them.

        Parameters
        ----------
        topic : str, optional
            The folders of its `partitions` are marked as used.

        Raises
        ------
        OSError
            No broker answered, or one does not allow the question.
        """
        from kafka.errors import KafkaError

        try:
            if self._client is None:
                self._client = self._connect()
                # Not every cluster lets everybody ask for this.
                with suppress(KafkaError, KeyError):
                    self.cluster_id = self._client.describe_cluster()["cluster_id"]
            wanted = {topic: list(partitions)} if topic else {}
            return tuple(_folders(self._client.describe_log_dirs(wanted)))
        except OSError:
            raise
        except Exception as error:
            # Nothing depends on the answer but a warning in time; and besides its own errors
            # kafka-python raises what its event loop runs into (StopIteration was seen).
            raise OSError(f"the brokers do not say how much space is left: {error!r}") from error

    def _connect(self) -> Any:
        from kafka import KafkaAdminClient

        noisy = logging.getLogger("kafka")
        if noisy.level == logging.NOTSET:
            # Each broken connection would be an error with a traceback on the terminal.
            noisy.setLevel(logging.CRITICAL)
        properties = self._connection.properties
        settings = {_NAMES.get(k, k.replace(".", "_")): v for k, v in properties.items()}
        known = {k: v for k, v in settings.items() if k in KafkaAdminClient.DEFAULT_CONFIG}
        if "security_protocol" in known:
            known["security_protocol"] = known["security_protocol"].upper()
        return KafkaAdminClient(
            bootstrap_servers=list(self._connection.servers),
            request_timeout_ms=self._milliseconds,
            bootstrap_timeout_ms=self._milliseconds,
            **known,
        )


def _folders(described: Iterable[Any]) -> Iterable[LogDir]:
    for broker in described:
        for folder in broker["log_dirs"]:
            # Brokers before 3.3 say -1, and so does any other of a folder that it cannot read.
            if folder["usable_bytes"] >= 0:
                used = any(topic["partitions"] for topic in folder["topics"])
                path = Path(folder["log_dir"])
                yield LogDir(broker["broker"], path, folder["usable_bytes"], used)
