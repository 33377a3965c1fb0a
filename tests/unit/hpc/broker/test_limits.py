"""What a broker's clients may take of it, by its heap and its open-files limit."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from deeptool.errors import UserError
from hpc.broker.broker_options import BrokerOptions, settle
from hpc.broker.limits import MAX_REQUEST_BYTES, broker_limits, heap_bytes, limits_here
from hpc.broker.node import MODES, Mode


@pytest.mark.parametrize(
    ("memory", "size"), [("1k", 1 << 10), ("512m", 512 << 20), ("2G", 2 << 30), ("512M", 512 << 20)]
)
def test_sizes(memory: str, size: int) -> None:
    assert heap_bytes(memory) == size


@pytest.mark.parametrize("memory", ["", "0m", "512", "512mb", "-1g", "1.5g"])
def test_what_is_no_size(memory: str) -> None:
    with pytest.raises(UserError, match="not a size"):
        heap_bytes(memory)


@pytest.mark.parametrize("mode", MODES)
def test_a_heap_that_the_largest_records_would_exhaust_is_refused(
    mode: Mode, tmp_path: Path
) -> None:
    settle(BrokerOptions(tmp_path, mode))
    with pytest.raises(UserError, match="too small for the largest records") as caught:
        settle(BrokerOptions(tmp_path, mode, memory="256m"))
    assert caught.value.seen == "256m for records of up to 64 MiB"
    assert f"m or more in {mode} mode" in str(caught.value.valid)


@pytest.mark.parametrize("memory", ["320m", "512m", "4g"])
@pytest.mark.parametrize("open_files", [None, 512, 1024, 20_000, 1 << 20])
def test_requests_fit_the_heap_and_connections_the_open_files(
    memory: str, open_files: int | None
) -> None:
    limits = broker_limits(memory, open_files)
    # Kafka takes one more of the largest size than the queue has room for, and demands this.
    assert limits.queued_bytes >= MAX_REQUEST_BYTES
    assert limits.queued_bytes + MAX_REQUEST_BYTES < heap_bytes(memory) / 2
    assert 0 < limits.connections_per_address < limits.connections
    if open_files:
        assert limits.connections <= open_files / 2
    assert broker_limits(memory).connections * (64 << 10) < heap_bytes(memory)


@pytest.mark.parametrize(("hard", "warned"), [(1024, True), (1 << 20, False), (-1, False)])
def test_a_small_open_files_limit_is_said_with_numbers(
    hard: int, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, hard))
    lines: list[str] = []
    limits = limits_here("512m", lines.append)
    assert (limits.connections, len(lines)) == ((256, 1) if warned else (4096, 0))
    assert not warned or "1,024 files open here: the broker takes 256 connections" in lines[0]
