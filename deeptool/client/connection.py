"""How a Kafka cluster is reached: a value that every client is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

from deeptool.client import probe


@dataclass(frozen=True)
class Connection:
    """How to reach a Kafka cluster; a plain value, nothing is open.

    Attributes
    ----------
    servers : tuple of str
        ``host:port`` of some of its brokers.
    properties : mapping of str to str
        librdkafka's settings beyond the defaults: security, mostly. Not shown by ``repr``.
    """

    servers: tuple[str, ...]
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    def config(self, overrides: Mapping[str, object] | None = None) -> dict[str, object]:
        """The configuration of a librdkafka client; `overrides` have the last word."""
        return {
            "client.id": "deeptool",
            # librdkafka writes to stderr by itself; what matters arrives as an error.
            "log_level": 0,
            "allow.auto.create.topics": False,
            # Its 10 s would add to every restart of a broker.
            "reconnect.backoff.max.ms": 2000,
            # Brokers close connections on which nothing is sent, deeptool's own after 75 s, and
            # librdkafka takes the last one that is closed for a broker that is down.
            "topic.metadata.refresh.interval.ms": 30_000,
            **self.properties,
            "bootstrap.servers": ",".join(self.servers),
            **(overrides or {}),
        }


def connect(
    servers: str | Sequence[str],
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
    timeout: float = 10.0,
) -> Connection:
    """Find out that a Kafka broker answers, and how to reach it.

    Parameters
    ----------
    servers : str or sequence of str
        ``host:port``, several of them comma separated or in a sequence; one that answers is enough.
    client_properties : mapping, path or None
        librdkafka's settings for a secured broker ("security.protocol", "sasl.username", ...), or a
        file of ``key=value`` lines that nobody else can read.
    timeout : float
        Seconds to wait for an answer.

    Raises
    ------
    UserError
        Nothing answers there, or something that is not Kafka, or a broker that rejects these
        credentials; an address or a settings file of the wrong form.
    """
    addresses = probe.parse_addresses(servers)
    if isinstance(client_properties, (str, PathLike)):
        client_properties = probe.read_properties(client_properties)
    connection = Connection(addresses, dict(client_properties or {}))
    probe.check_broker(connection.config(), addresses, timeout)
    return connection
