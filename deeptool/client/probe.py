"""Whether a Kafka broker answers at an address, and if not, what is wrong there."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from deeptool.client.kafka_errors import HANDSHAKE_FAILED, NO_BROKER_LEFT
from deeptool.errors import UserError

# ApiVersions, version 0: the one request that every Kafka answers, before any authentication.
# Kafka protocol guide, "ApiVersions API (Key: 18)": size, key, version, correlation id, client id.
_CORRELATION = 0x64656570
# The ends of line make servers of text protocols answer, too, where they would wait for more.
_CLIENT = b"deeptool\r\n\r\n"
_REQUEST = struct.pack(">hhih", 18, 0, _CORRELATION, len(_CLIENT)) + _CLIENT
_REQUEST = struct.pack(">i", len(_REQUEST)) + _REQUEST

_SECURED = (
    "a secured broker needs --client-properties FILE (security.protocol, sasl.mechanism,"
    " sasl.username, sasl.password, ssl.ca.location)"
)


def parse_addresses(servers: str | Sequence[str]) -> tuple[str, ...]:
    """``host:port`` strings, one each, from a comma separated string or a sequence of such.

    Raises
    ------
    UserError
        There is none, or one has another form.
    """
    entries = [servers] if isinstance(servers, str) else servers
    found = tuple(part.strip() for entry in entries for part in entry.split(",") if part.strip())
    for address in found or ("",):
        match = re.fullmatch(r"(\[[^\]]+\]|[^:\s/]+):(\d{1,5})", address)
        if match is None or not 0 < int(match[2]) < 65536:
            raise UserError(
                "not the address of a Kafka broker", seen=address or "none", valid="HOST:PORT"
            )
    return found


def read_properties(path: str | PathLike[str]) -> dict[str, str]:
    """Read a file of ``key=value`` lines; lines that begin with # are comments.

    Raises
    ------
    UserError
        There is no such file, other users may read it, or a line has another form (named by its
        number only: it may hold a password).
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the client properties cannot be read", seen=str(error)) from error
    if mode & 0o077:
        raise UserError(
            f"{path} is readable by other users and may contain a password",
            seen=f"mode {mode:04o}",
            valid="mode 0600",
            next_step=f"chmod 600 {path}",
        )
    properties = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line[0] in "#!":
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise UserError(f"line {number} of {path} is not a property", valid="key=value")
        properties[name.strip()] = value.strip()
    return properties


def check_broker(config: Mapping[str, object], servers: Sequence[str], timeout: float) -> None:
    """Return if Kafka answers at one of `servers` and lets this client in.

    Parameters
    ----------
    config : mapping
        Of a librdkafka client.
    timeout : float
        Seconds for all of it.

    Raises
    ------
    UserError
        Says which of the many ways it went wrong.
    """
    deadline = time.monotonic() + timeout
    encrypted = str(config.get("security.protocol", "")).lower() in ("ssl", "sasl_ssl")
    errors: list[KafkaError] = []
    client = _client({**config, "error_cb": errors.append})
    not_kafka = _find(servers, encrypted, deadline)
    shown = ", ".join(servers)
    while True:
        try:
            metadata = client.list_topics(timeout=min(1.0, max(0.1, deadline - time.monotonic())))
            break
        except KafkaException as error:
            client.poll(0)
            if any(map(_is_refusal, errors)) or time.monotonic() > deadline:
                raise _shut_out(f"the Kafka broker at {shown}", errors, not_kafka) from error
    advertised = [f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()]
    if not _any_reachable(advertised, max(deadline, time.monotonic() + 1)):
        raise _sent_astray(f"the Kafka broker at {shown}", ", ".join(advertised))


def _shut_out(broker: str, errors: Sequence[KafkaError], not_kafka: Sequence[str]) -> UserError:
    """Why a broker that speaks Kafka does not list its topics."""
    texts = [error.str() for error in errors if error.code() != NO_BROKER_LEFT]
    refusals = [error.str() for error in errors if _is_refusal(error)]
    # librdkafka names brokers from the cluster's metadata by number, the given ones "bootstrap".
    elsewhere = [text for text in texts if re.search(r"/\d+: (Connect to|Failed to resolve)", text)]
    if refusals:
        return UserError(
            f"{broker} rejects this client",
            seen=refusals[0],
            next_step="check user, password and security.protocol in the client properties",
        )
    if elsewhere:
        return _sent_astray(broker, elsewhere[0])
    seen = "; ".join([*texts[:1], *not_kafka]) or "no answer"
    return UserError(f"{broker} does not accept this client", seen=seen, next_step=_SECURED)


def _sent_astray(broker: str, seen: str) -> UserError:
    return UserError(
        f"{broker} advertises an address that nothing answers on",
        seen=seen,
        next_step="correct advertised.listeners in the broker's settings",
    )


def _client(config: Mapping[str, object]) -> AdminClient:
    try:
        return AdminClient(dict(config))
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise UserError(
            "the client properties are not settings of librdkafka",
            seen=reason,
            valid="https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md",
        ) from error


def _is_refusal(error: KafkaError) -> bool:
    return error.code() in HANDSHAKE_FAILED or ("SSL handshake failed" in error.str())


def _find(servers: Sequence[str], encrypted: bool, deadline: float) -> list[str]:
    """What is wrong at each server before the first that is right; an error when none is."""
    silent: list[str] = []
    strange: list[str] = []
    for address, until in _shares(servers, deadline):
        try:
            problem = _ask(address, encrypted, until)
        except OSError as error:
            silent.append(f"{address}: {error.strerror or error}")
            continue
        if problem is None:
            return silent + strange
        strange.append(f"{address}: {problem}")
    if strange:
        raise UserError(
            f"what listens at {', '.join(servers)} is not Kafka",
            seen="; ".join(strange + silent),
            valid="the address of a Kafka broker's listener",
            next_step=f"check the port; {_SECURED}",
        )
    raise UserError(
        f"no Kafka broker answers at {', '.join(servers)}",
        seen="; ".join(silent),
        next_step="give its address with --server HOST:PORT, or start one:"
        " deeptool-hpc broker up --dir DIR --detach",
    )


def _shares(servers: Sequence[str], deadline: float) -> Iterator[tuple[str, float]]:
    """Each server and a time limit, so that one that hangs leaves some time to the others."""
    for index, address in enumerate(servers):
        remaining = max(0.1, deadline - time.monotonic())
        yield address, time.monotonic() + remaining / (len(servers) - index)


def _ask(address: str, encrypted: bool, deadline: float) -> str | None:
    """None where Kafka answers (or TLS may hide it), else what does; OSError where nothing is."""
    with _open(address, deadline) as connection:
        if encrypted:
            return None
        answer = b""
        try:
            connection.sendall(_REQUEST)
            while len(answer) < 8:
                connection.settimeout(max(0.1, deadline - time.monotonic()))
                part = connection.recv(64)
                if not part:
                    break
                answer += part
        except TimeoutError:
            return "accepts connections, but does not answer (it may have too many)"
        except OSError as error:
            return f"ends the connection ({error.strerror or error})"
    if answer[4:8] == struct.pack(">i", _CORRELATION):
        return None
    if answer:
        return f"answers {answer!r}"
    return "ends the connection (it may expect TLS, or have too many connections)"


def _open(address: str, deadline: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    remaining = max(0.1, deadline - time.monotonic())
    return socket.create_connection((host.strip("[]"), int(port)), timeout=remaining)


def _any_reachable(servers: Sequence[str], deadline: float) -> bool:
    for address, until in _shares(servers, deadline):
        try:
            _open(address, until).close()
        except OSError:
            continue
        return True
    return False
