"""The events of the catalog, their JSON, and the key that each is stored under."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deeptool.catalog.bad_record import BadRecord, concerned
from deeptool.catalog.event_frame import seal, unsealed
from deeptool.catalog.event_schema import LONGEST_TEXT, MalformedEvent, check_fields
from deeptool.catalog.record_runs import RecordRun
from deeptool.codec.spec import Spec
from deeptool.errors import UserError

VERSION = 1

# Half-open: records start, start + 1, ..., stop - 1 of one partition.
OffsetRun = tuple[int, int]


@dataclass(frozen=True)
class EpochStored:
    """One stored pass over the pipeline.

    Attributes
    ----------
    samples, records, bytes : int
        Totals; bytes are those of the record values as sent, before compression.
    runs : mapping of int to tuple of (int, int)
        Per partition, the half-open ranges of acknowledged offsets, ascending.
    digests : mapping of int to str
        Per partition, the SHA-256 over each record's (first sample index, sample count, CRC-32C of
        its value) in the order of offsets; see `deeptool.codec.records`.
    batches : int or None
        Batches of the pipeline, where they come back as they were (see `deeptool.codec.records`).
    open_shapes : tuple of tuple of int or None
        The inner shapes of the leaves whose spec leaves them open, where all samples have the same.
    record_runs : mapping of int to tuple of (int, int, int, int), or None
        Per partition, which samples its records hold; see `deeptool.catalog.record_runs`. None for
        uploads of earlier releases, and for very many records of different sizes.
    row_bytes : int or None
        The bytes of all samples, wherever records were cut: the sum over all samples of
        `deeptool.codec.row_sizes.stored_row_bytes`. None for uploads of earlier releases.
    """

    samples: int
    records: int
    bytes: int
    runs: Mapping[int, tuple[OffsetRun, ...]]
    digests: Mapping[int, str]
    batches: int | None = None
    open_shapes: tuple[tuple[int, ...], ...] | None = None
    record_runs: Mapping[int, tuple[RecordRun, ...]] | None = None
    row_bytes: int | None = None


@dataclass(frozen=True)
class Begun:
    """An upload asks for its topic.

    Attributes
    ----------
    topic, upload : str
        The data topic; the upload's id, never used again.
    owner : str
        Who uploads: the same Slurm task or the same process started again has the same owner.
    session, proc_id, num_procs, split
        What the topic holds; num_procs > 1 says that this is one shard of that many.
    hparams : mapping
        All hparams of the settings file, overrides applied.
    data_hparams : mapping
        Those that the pipeline is known to read so far; `Completed` has the final word.
    settings_sha256 : str or None
        Of the settings file's bytes; None for an upload without one.
    raw_data : mapping or None
        {"digest", "files", "bytes", "newest"} over the listing of the raw data folder.
    heartbeat_seconds : float
        At least one `Progressed` is appended in each such span while the upload lives.
    start : mapping of int to int
        Per partition, the end offset when the upload was about to begin: it has written nothing
        below. Readers that follow start there, and nothing from there on is ever deleted for it.
    time : float
        Unix time, for people; the fold never looks at it.
    takes_over : str or None
        The pending upload that this one replaces, if it does.
    replace : bool
        Whether a complete upload may be replaced.
    limit : int or None
        Samples an epoch at which the upload was to end at the latest.
    auto_shard : bool
        Whether a shard holds every num_procs-th element, rather than what the pipeline gave it.
    """

    event: ClassVar[str] = "begun"
    topic: str
    upload: str
    owner: str
    session: str
    proc_id: int
    num_procs: int
    split: str
    codec: str
    element_spec: Spec
    batch_size: int
    hparams: Mapping[str, Any]
    data_hparams: Mapping[str, Any]
    settings_sha256: str | None
    raw_data: Mapping[str, Any] | None
    heartbeat_seconds: float
    start: Mapping[int, int]
    time: float
    takes_over: str | None = None
    replace: bool = False
    limit: int | None = None
    auto_shard: bool = False


@dataclass(frozen=True)
class Progressed:
    """The upload lives and has stored so much; `beat` moves even when nothing else does."""

    event: ClassVar[str] = "progress"
    topic: str
    upload: str
    beat: int
    samples: int
    bytes: int
    time: float


@dataclass(frozen=True)
class Completed:
    """The commit of an upload.

    Attributes
    ----------
    epochs : tuple of EpochStored
        At least one.
    data_hparams : mapping
        The hparams that the pipeline really read, with their values.
    wall_seconds, cpu_seconds : float
        Of the whole producer process up to this event, its probe included.
    pipeline_cpu_seconds : float or None
        Process CPU seconds spent in the input pipeline itself, over all epochs: without encoding
        and sending. None where the platform cannot tell.
    pipeline : mapping or None
        What is known of the pipeline, as `deeptool.settings.pipeline_facts` has it: digests of the
        first samples, and hashes of the code behind them. None for an upload without a settings
        file, or by an earlier release.
    other_ways : mapping or None
        What the same samples cost without a store, per sample and measured on the first of them
        (see `deeptool.pipelines.way_costs.WayCosts`). None for an upload without a settings file,
        or by an earlier release.
    """

    event: ClassVar[str] = "completed"
    topic: str
    upload: str
    epochs: tuple[EpochStored, ...]
    data_hparams: Mapping[str, Any]
    wall_seconds: float
    cpu_seconds: float
    pipeline_cpu_seconds: float | None
    time: float
    pipeline: Mapping[str, Any] | None = None
    other_ways: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Failed:
    """The pending upload gave up; what it wrote belongs to no dataset."""

    event: ClassVar[str] = "failed"
    topic: str
    upload: str
    reason: str
    time: float


@dataclass(frozen=True)
class Deleted:
    """The current upload is no longer a dataset.

    Attributes
    ----------
    damaged : tuple of int
        Offsets of damaged records of the catalog whose data was deleted, on the user's word.
    """

    event: ClassVar[str] = "deleted"
    topic: str
    upload: str
    time: float
    damaged: tuple[int, ...] = ()


Event = Begun | Progressed | Completed | Failed | Deleted
_CLASSES: dict[str, type[Event]] = {
    cls.event: cls for cls in (Begun, Progressed, Completed, Failed, Deleted)
}


def record_key(event: Event) -> bytes:
    """A new record key for every event but `Progressed`, so that compaction keeps them all.

    An event that was appended twice has two keys: with one key for both, compaction would keep the
    second only, and so move a `Begun` behind its own `Completed`.
    """
    if isinstance(event, Progressed):
        return f"{event.topic}/{event.upload}/{event.event}".encode()
    return f"{event.topic}/{event.upload}/{event.event}/{uuid.uuid4().hex}".encode()


def to_json(event: Event) -> bytes:
    """One event as JSON, with its CRC (see `deeptool.catalog.event_frame`).

    Raises
    ------
    UserError
        An hparam has a value that JSON cannot represent, or a field one that no reader would take.
    """
    values = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    if isinstance(event, Begun):
        values["element_spec"] = event.element_spec.to_json()
    if isinstance(event, Completed):
        values["epochs"] = [dataclasses.asdict(epoch) for epoch in event.epochs]
    if isinstance(event, Failed):
        values["reason"] = event.reason[:LONGEST_TEXT]
    try:
        text = json.dumps({"version": VERSION, "event": event.event, **values}, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            "the catalog cannot keep these hparams",
            seen=str(error),
            valid="numbers, strings, booleans, None, and lists and dicts of these",
        ) from error
    data = seal(text.encode())
    try:
        # What would be damaged to every reader must not be written.
        from_values(unsealed(data)[0])
    except MalformedEvent as error:
        raise UserError(
            f"the catalog cannot keep this event '{event.event}'", seen=str(error)
        ) from error
    return data


def read_record(offset: int, key: bytes | None, data: bytes | None) -> Event | BadRecord:
    """One record of the catalog.

    Raises
    ------
    UserError
        It was written by a deeptool whose events mean something else. Without it, a topic could
        seem free that is not.
    """
    values: dict[str, Any] = {}
    try:
        values, sealed = unsealed(data)
        if sealed and values.get("version") != VERSION:
            raise UserError(
                "the catalog on this broker was written by another version of deeptool",
                seen=f"events of version {values.get('version')}",
                valid=f"version {VERSION}",
                next_step="pip install --upgrade deeptool",
            )
        event = from_values(values)
        named = concerned(key, {}, b"")
        if not sealed and None not in named and named != (event.topic, event.upload, event.event):
            # Events of earlier releases have no CRC, but their key says some of it again.
            raise MalformedEvent(f"its key names {'/'.join(map(str, named))}")
    except MalformedEvent as error:
        return BadRecord(offset, str(error), *concerned(key, values, data or b""))
    return event


def from_json(data: bytes) -> Event | None:
    """Read one event; None for a record that is not an event.

    Raises
    ------
    UserError
        As `read_record`.
    """
    found = read_record(0, None, data)
    return None if isinstance(found, BadRecord) else found


def from_values(values: Mapping[str, Any]) -> Event:
    """An event from the fields of its JSON.

    Raises
    ------
    MalformedEvent
        They are not those of an event.
    """
    name = values.get("event")
    if not isinstance(name, str) or name not in _CLASSES:
        raise MalformedEvent("it is not an event")
    version = values.get("version")
    if isinstance(version, bool) or version != VERSION:
        raise MalformedEvent(f"its version is not {VERSION}")
    check_fields(name, values)
    cls = _CLASSES[name]
    # Fields that later releases may add change nothing in what the fold makes of an event.
    known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
    if cls is Begun:
        known["element_spec"] = Spec.from_json(known["element_spec"])
        # JSON has no keys but strings.
        known["start"] = {int(p): offset for p, offset in known["start"].items()}
    if cls is Completed:
        known["epochs"] = tuple(_epoch_from_json(epoch) for epoch in known["epochs"])
    if cls is Deleted:
        known["damaged"] = tuple(known.get("damaged", ()))
    return cls(**known)


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _epoch_from_json(value: dict[str, Any]) -> EpochStored:
    shapes, runs = value.get("open_shapes"), value.get("record_runs")
    return EpochStored(
        samples=value["samples"],
        records=value["records"],
        bytes=value["bytes"],
        runs={
            int(p): tuple((start, stop) for start, stop in runs)
            for p, runs in value["runs"].items()
        },
        digests={int(p): digest for p, digest in value["digests"].items()},
        batches=value.get("batches"),
        open_shapes=shapes and tuple(map(tuple, shapes)),
        record_runs=runs and {int(p): tuple(map(tuple, of)) for p, of in runs.items()},
        row_bytes=value.get("row_bytes"),
    )
