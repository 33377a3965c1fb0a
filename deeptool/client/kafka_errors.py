"""What Kafka's error codes mean here: the one place where they are sorted.

Who meets an error decides what to do about it; which errors mean the same thing is said once.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from deeptool.errors import DeeptoolError, UserError, WorkError

# The end of a partition was reached: news to a consumer, not a failure.
PARTITION_END = KafkaError._PARTITION_EOF

ALREADY_EXISTS = KafkaError.TOPIC_ALREADY_EXISTS

# Says that the errors before it met every broker: by itself it explains nothing.
NO_BROKER_LEFT = KafkaError._ALL_BROKERS_DOWN

# No connection to any broker. librdkafka reports it and tries again by itself: a broker that is
# restarted looks like this for a while.
UNREACHABLE = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})

# A broker leads the partitions of a new topic, or of one that moved, a moment later than its own
# metadata say so; and one that has just joined knows of them later than the others.
LEADS_SOON = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)

# A consumer retries these by itself. They pass, or the silence that follows is the error. _SSL too:
# `connect` has seen a handshake succeed, so that one that fails later was cut short.
PASSING = UNREACHABLE | {
    KafkaError._SSL,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError._WAIT_COORD,
}

# The broker, or librdkafka's picture of it, has no such topic or partition.
NO_SUCH_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)

# The topic is there, the offset is not: its records were deleted, or never written. With
# auto.offset.reset=error librdkafka says the second instead of jumping elsewhere.
NO_SUCH_OFFSET = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})

# This user may not read or write the topic, and no waiting changes that.
NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED})

# The broker knows no such user, or not with this password.
WRONG_CREDENTIALS = frozenset({KafkaError._AUTHENTICATION})

# The TLS or SASL handshake failed.
HANDSHAKE_FAILED = WRONG_CREDENTIALS | {KafkaError._SSL}

# What a broker keeps cannot be read as Kafka's record format.
DAMAGED = frozenset({KafkaError._BAD_MSG, KafkaError.INVALID_MSG, KafkaError._BAD_COMPRESSION})

# A record is larger than librdkafka or the topic takes.
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

# The user can correct these: rights, names, and settings that the site's policy forbids.
FOR_THE_USER = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_CONFIG,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)


def code_of(error: BaseException) -> int | None:
    """Kafka's code of an exception of confluent-kafka; None for any other exception."""
    reason = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return int(reason.code()) if isinstance(reason, KafkaError) else None


def explain(what: str, error: KafkaException | KafkaError, **details: Any) -> DeeptoolError:
    """`what` failed, for the reason that librdkafka gives, as the right kind of error.

    Parameters
    ----------
    what : str
        What was tried, and that it failed.
    details : Any
        Further parts of the error: ``valid``, ``next_step``.

    Returns
    -------
    DeeptoolError
        A `UserError` where the user can correct it before any work began, else a `WorkError`.
    """
    reason = error.args[0] if isinstance(error, KafkaException) else error
    if isinstance(reason, KafkaError):
        kind = UserError if reason.code() in FOR_THE_USER else WorkError
        return kind(what, seen=f"{reason.str()} ({reason.name()})", **details)
    return WorkError(what, seen=str(error), **details)
