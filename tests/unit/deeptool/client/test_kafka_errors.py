"""What Kafka's error codes mean is said in one place, and says nothing twice."""

from __future__ import annotations

import itertools

import pytest
from confluent_kafka import KafkaError, KafkaException
from paths import ROOT

from deeptool.client import kafka_errors as kinds
from deeptool.errors import UserError, WorkError


def test_codes_are_named_in_one_module() -> None:
    for file in (ROOT / "deeptool").rglob("*.py"):
        if file.name != "kafka_errors.py":
            assert "KafkaError." not in file.read_text(), file


def test_what_a_consumer_decides_by_does_not_overlap() -> None:
    classes = (
        *(kinds.PASSING, kinds.NO_SUCH_TOPIC, kinds.NO_SUCH_OFFSET, kinds.NOT_ALLOWED),
        *(kinds.WRONG_CREDENTIALS, kinds.DAMAGED, kinds.TOO_LARGE, {kinds.PARTITION_END}),
    )
    for one, other in itertools.combinations(classes, 2):
        assert not one & other
    assert kinds.UNREACHABLE < kinds.PASSING
    # A probe shows the errors before the one that no broker is left, which says nothing by itself.
    assert kinds.NO_BROKER_LEFT in kinds.UNREACHABLE


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, UserError),
        (KafkaError.INVALID_REPLICATION_FACTOR, UserError),
        (KafkaError._TIMED_OUT, WorkError),
        (KafkaError.LEADER_NOT_AVAILABLE, WorkError),
    ],
)
def test_an_error_says_whose_it_is(code: int, kind: type[Exception]) -> None:
    error = KafkaError(code)
    for given in (error, KafkaException(error)):
        explained = kinds.explain("it failed", given, next_step="do this")
        assert type(explained) is kind
        assert error.name() in str(explained)
        assert "do this" in str(explained)
    assert kinds.code_of(KafkaException(error)) == code


def test_exceptions_without_a_code() -> None:
    assert kinds.code_of(ValueError("a")) is None
    assert kinds.code_of(KafkaException("a")) is None
    explained = kinds.explain("it failed", KafkaException("a"))
    assert type(explained) is WorkError
