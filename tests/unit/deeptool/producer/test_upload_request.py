"""What an upload is asked for is checked before anything is connected."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

import deeptool
from deeptool import Provenance
from deeptool.errors import UserError
from deeptool.producer.upload_request import UploadRequest, UploadTuning


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"partitions": 0}, "partitions must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"num_procs": 0}, "num_procs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"num_procs": 2, "proc_id": 2}, "there is no such shard"),
        ({"compression": "gzip"}, "unknown compression"),
        ({"split": "test"}, "unknown split"),
        ({"name": ""}, "session_name is empty"),
        ({"topic": "a b"}, "Kafka forbids this topic name"),
        # Readers ask by name, whatever the topic is.
        ({"name": "a b", "topic": "t"}, "Kafka forbids this topic name"),
    ],
)
def test_wrong_values(values: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        UploadRequest(**{"name": "digits", **values})


def test_where_it_goes_and_which_part_it_takes() -> None:
    assert UploadRequest("digits", proc_id=3).target_topic == "digits.3.train"
    assert UploadRequest("digits", "val", topic="queue").target_topic == "queue"
    assert UploadRequest("digits", proc_id=1, num_procs=3).shard is None
    assert UploadRequest("digits", proc_id=1, num_procs=3, auto_shard=True).shard == (1, 3)
    # The only shard is the whole: any order will do.
    assert UploadRequest("digits", auto_shard=True).shard is None


def test_data_hparams_may_be_known_only_after_the_pipeline_ran() -> None:
    read: dict[str, int] = {}
    late = Provenance(data_hparams=lambda: dict(read))
    assert late.known_data_hparams() == {}
    read["size"] = 8
    assert late.known_data_hparams() == {"size": 8}
    assert Provenance(data_hparams={"size": 3}).known_data_hparams() == {"size": 3}


def test_the_public_signature_is_the_request_without_what_only_commands_need() -> None:
    public = inspect.signature(deeptool.upload).parameters
    request = {field.name: field for field in fields(UploadRequest)}
    assert set(public) == {*request, "dataset", "servers", "client_properties"}
    assert not set(public) & {field.name for field in fields(UploadTuning)}
    for name, field in request.items():
        if name not in ("name", "provenance"):
            assert public[name].default == field.default, name


@pytest.mark.parametrize(
    "values",
    [
        *({"heartbeat_seconds": value} for value in (0, -1.0, float("nan"), 1e300, None, "10")),
        *({"record_bytes": value} for value in (0, -1, 1.5, float("nan"), 2**40, None, "1")),
    ],
)
def test_tuning_that_is_nonsense(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(values))) as error:
        UploadTuning(**values)
    assert error.value.valid
