"""What the fields of each event may be: the one place where the catalog's records are checked.

The catalog is a topic that anybody with the right to write may write to, on disks that may fail.
What is checked here, everything behind it may rely on: types, ranges, and counts that agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from deeptool.client.topic_names import SPLITS, check_topic
from deeptool.codec.spec import Spec
from deeptool.errors import DeeptoolError

# An upload that is silent for three of these may be taken over: nobody waits longer than that.
MAX_HEARTBEAT_SECONDS = 600.0
LONGEST_NAME = 1024
LONGEST_TEXT = 64 << 10
# Kafka's own: offsets are signed 64-bit numbers, partitions signed 32-bit ones.
_MAX_OFFSET = 2**63 - 1
_MAX_PARTITION = 2**31 - 1
_MAX_COUNT = 2**63 - 1
# Seconds since 1970, up to the year 9999: later ones no clock and no table can show.
_MAX_TIME = 253_370_764_800.0

Check = Callable[[Any], None]


class MalformedEvent(ValueError):
    """A record is not an event; the message says where and why."""


def check_fields(event: str, values: Mapping[str, Any]) -> None:
    """Return if these are the fields of an event.

    Fields that are not known are left alone: a later release may add some, and they change nothing
    in what the fold makes of an event.

    Parameters
    ----------
    event : str
        One of `FIELDS`.
    values : mapping
        Its fields, as JSON has them.

    Raises
    ------
    MalformedEvent
        A field is missing, of another type or out of range, or fields contradict each other.
    """
    required, optional = FIELDS[event]
    for name, check in {**required, **optional}.items():
        if name not in values:
            if name in optional:
                continue
            raise MalformedEvent(f"it lacks {name}")
        try:
            check(values[name])
        except MalformedEvent as error:
            raise MalformedEvent(f"{name} {error}") from None
    shards, number = values.get("num_procs", 1), values.get("proc_id", 0)
    if shards > 1 and number >= shards:
        raise MalformedEvent(f"proc_id {number} is not below num_procs {shards}")


def _number(low: float, high: float, kinds: tuple[type, ...] = (int,)) -> Check:
    def check(value: Any) -> None:
        # To Python, True is an int.
        if type(value) not in kinds:
            raise MalformedEvent(f"is {_shown(value)}, not a number")
        if not (math.isfinite(value) and low <= value <= high):
            raise MalformedEvent(f"is {_shown(value)}, not in {low:g} to {high:g}")

    return check


def _text(longest: int, shortest: int = 0) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise MalformedEvent(f"is {_shown(value)}, not a text")
        if not shortest <= len(value) <= longest:
            raise MalformedEvent(f"has {len(value)} characters, not {shortest} to {longest}")

    return check


def _optional(inner: Check) -> Check:
    def check(value: Any) -> None:
        if value is not None:
            inner(value)

    return check


def _flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise MalformedEvent(f"is {_shown(value)}, not true or false")


def _mapping(value: Any) -> None:
    if not isinstance(value, dict):
        raise MalformedEvent(f"is {_shown(value)}, not a mapping")


def _topic(value: Any) -> None:
    _name(value)
    try:
        check_topic(value)
    except DeeptoolError as error:
        raise MalformedEvent(f"is {_shown(value)}: {error.what}") from None


def _split(value: Any) -> None:
    if value not in SPLITS:
        raise MalformedEvent(f"is {_shown(value)}, not train or val")


def _spec(value: Any) -> None:
    try:
        leaves = Spec.from_json(value).leaves
    except (DeeptoolError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise MalformedEvent(f"describes no element ({type(error).__name__}: {error})") from None
    if not leaves:
        raise MalformedEvent("has no tensor")


def _per_partition(inner: Check) -> Check:
    def check(value: Any) -> None:
        _mapping(value)
        for key, item in value.items():
            # As JSON writes it: "007" would be the same partition twice.
            number = int(key) if key.isascii() and key.isdigit() and len(key) < 12 else -1
            if not 0 <= number <= _MAX_PARTITION or str(number) != key:
                raise MalformedEvent(f"has {_shown(key)} for a partition")
            inner(item)

    return check


def _runs(value: Any) -> None:
    if not isinstance(value, list):
        raise MalformedEvent(f"has {_shown(value)} for ranges of offsets")
    behind = 0
    for run in value:
        if not isinstance(run, list) or len(run) != 2:
            raise MalformedEvent(f"has {_shown(run)} for a range of offsets")
        start, stop = run
        if type(start) is not int or type(stop) is not int:
            raise MalformedEvent(f"has {_shown(run)} for a range of offsets")
        if not behind <= start < stop <= _MAX_OFFSET:
            raise MalformedEvent(f"has the range {start} to {stop} behind offset {behind}")
        behind = stop


def _epochs(value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise MalformedEvent(f"is {_shown(value)}, not a list of at least one")
    for number, epoch in enumerate(value):
        try:
            _epoch(epoch)
        except MalformedEvent as error:
            raise MalformedEvent(f"{number}: {error}") from None


def _epoch(value: Any) -> None:
    _mapping(value)
    for name, check in _EPOCH.items():
        if name not in value:
            if name in _LATER:
                continue
            raise MalformedEvent(f"it lacks {name}")
        try:
            check(value[name])
        except MalformedEvent as error:
            raise MalformedEvent(f"{name} {error}") from None
    listed = sum(stop - start for runs in value["runs"].values() for start, stop in runs)
    if listed != value["records"]:
        raise MalformedEvent(f"records is {value['records']}, but runs has {listed} offsets")
    if value["samples"] < value["records"]:
        raise MalformedEvent(f"{value['records']} records hold {value['samples']} samples")
    if value.get("record_runs") is not None:
        _same_records(value)


def _same_records(epoch: dict[str, Any]) -> None:
    """Compare what is said of single records with the totals."""
    samples = 0
    if epoch["record_runs"].keys() != epoch["runs"].keys():
        raise MalformedEvent("record_runs has other partitions than runs")
    for partition, runs in epoch["record_runs"].items():
        records = sum(run[0] for run in runs)
        offsets = sum(stop - start for start, stop in epoch["runs"][partition])
        if records != offsets:
            raise MalformedEvent(
                f"record_runs has {records} records of partition {partition}, but runs has "
                f"{offsets} offsets"
            )
        samples += sum(run[0] * run[1] for run in runs)
    if samples != epoch["samples"]:
        raise MalformedEvent(f"record_runs has {samples} samples, not {epoch['samples']}")


def _record_runs(value: Any) -> None:
    if not isinstance(value, list):
        raise MalformedEvent(f"has {_shown(value)} for runs of records")
    first = 0
    for run in value:
        numbers = isinstance(run, list) and len(run) == 4 and all(type(n) is int for n in run)
        if not numbers or min(run) < 0 or min(run[:2]) < 1:
            raise MalformedEvent(f"has {_shown(run)} for a run of records")
        records, count, jump, step = run
        first += jump + (records - 1) * step
        if first + count > _MAX_COUNT:
            raise MalformedEvent("has a record behind the last possible sample")


def _shapes(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(shape, list) for shape in value):
        raise MalformedEvent(f"is {_shown(value)}, not a list of shapes")
    for shape in value:
        for size in shape:
            _count(size)


def _offsets(value: Any) -> None:
    if not isinstance(value, list):
        raise MalformedEvent(f"is {_shown(value)}, not a list of offsets")
    for offset in value:
        _number(0, _MAX_OFFSET)(offset)


def _shown(value: Any) -> str:
    """A wrong value, in few words."""
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."


_name = _text(LONGEST_NAME, 1)
_count = _number(0, _MAX_COUNT)
_seconds = _number(-_MAX_TIME, _MAX_TIME, (int, float))
_EPOCH: dict[str, Check] = {
    "samples": _number(1, _MAX_COUNT),
    "records": _number(1, _MAX_COUNT),
    "bytes": _count,
    "runs": _per_partition(_runs),
    "digests": _per_partition(_text(128)),
    "batches": _optional(_number(1, _MAX_COUNT)),
    "open_shapes": _optional(_shapes),
    "record_runs": _optional(_per_partition(_record_runs)),
    "row_bytes": _optional(_count),
}
# What earlier releases did not write.
_LATER = ("batches", "open_shapes", "record_runs", "row_bytes")
_SAME: dict[str, Check] = {"topic": _topic, "upload": _name, "time": _seconds}
# Per event, the fields that it must have, and those that earlier releases did not write or that
# have a default.
FIELDS: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "begun": (
        {
            **_SAME,
            "owner": _text(LONGEST_NAME),
            "session": _name,
            "proc_id": _number(0, _MAX_PARTITION),
            "num_procs": _number(1, _MAX_PARTITION),
            "split": _split,
            "codec": _name,
            "element_spec": _spec,
            "batch_size": _number(1, _MAX_COUNT),
            "hparams": _mapping,
            "data_hparams": _mapping,
            "settings_sha256": _optional(_text(LONGEST_NAME)),
            "raw_data": _optional(_mapping),
            # Not 0: who misses three of none would be dead at once.
            "heartbeat_seconds": _number(0.001, MAX_HEARTBEAT_SECONDS, (int, float)),
            "start": _per_partition(_number(0, _MAX_OFFSET)),
        },
        {
            "takes_over": _optional(_name),
            "replace": _flag,
            "limit": _optional(_number(1, _MAX_COUNT)),
            "auto_shard": _flag,
            "pipeline": _optional(_mapping),
        },
    ),
    "progress": ({**_SAME, "beat": _count, "samples": _count, "bytes": _count}, {}),
    "completed": (
        {
            **_SAME,
            "epochs": _epochs,
            "data_hparams": _mapping,
            "wall_seconds": _seconds,
            "cpu_seconds": _seconds,
            "pipeline_cpu_seconds": _optional(_seconds),
        },
        {"pipeline": _optional(_mapping), "other_ways": _optional(_mapping)},
    ),
    "failed": ({**_SAME, "reason": _text(LONGEST_TEXT)}, {}),
    "deleted": ({**_SAME}, {"damaged": _offsets}),
}
