"""What an upload is asked for, as values that are checked before anything is connected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deeptool.client.topic_names import check_topic, topic_name
from deeptool.codec import COMPRESSIONS, DEFAULT_CODEC
from deeptool.codec.records import MAX_BYTES, TARGET_BYTES
from deeptool.errors import UserError
from deeptool.progress import Listener

# Another owner waits for three of them before it takes over.
_LONGEST_HEARTBEAT = 600.0


@dataclass(frozen=True)
class Provenance:
    """Where the samples come from: what the catalog keeps, to tell later whether they still fit.

    ``deeptool produce`` fills it in from a settings file. A trial whose hparams differ from
    `data_hparams` is rejected; otherwise it would silently train on the wrong data.

    Attributes
    ----------
    hparams : mapping of str to object
        All hyperparameters, as JSON can hold them. Shown, never compared.
    data_hparams : mapping, or callable that returns one
        Those that the samples depend on. A callable is called when the upload begins and again when
        it completes: which hparams a pipeline reads may be known only after it ran.
    settings_sha256 : str, optional
        Hex digest of the settings file's bytes.
    raw_data : mapping, optional
        ``{"digest", "files", "bytes", "newest"}`` over the listing of the raw data folder.
    pipeline : callable, optional
        Returns what is known of the pipeline, as JSON has it (see `deeptool.settings.
        pipeline_facts`). Called when the upload completes.
    owner : str, optional
        Who uploads. An interrupted upload is taken over at once by the same owner, and by another
        one only after it was silent. By default ``$DEEPTOOL_OWNER``, the Slurm job and array task,
        or this process.
    """

    hparams: Mapping[str, Any] = field(default_factory=dict)
    data_hparams: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    settings_sha256: str | None = None
    raw_data: Mapping[str, Any] | None = None
    pipeline: Callable[[], Mapping[str, Any]] | None = None
    owner: str | None = None

    def known_data_hparams(self) -> Mapping[str, Any]:
        """The data hparams as far as they are known now."""
        return self.data_hparams() if callable(self.data_hparams) else self.data_hparams


@dataclass(frozen=True)
class UploadRequest:
    """One upload; see `deeptool.upload` for what each field means.

    Raises
    ------
    UserError
        A value is wrong by itself.
    """

    name: str
    split: str = "train"
    batched: bool = True
    proc_id: int = 0
    num_procs: int = 1
    auto_shard: bool = False
    codec: str = DEFAULT_CODEC
    partitions: int = 4
    compression: str = "none"
    epochs: int = 1
    limit: int | None = None
    replace: bool = False
    batch_size: int | None = None
    topic: str | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        for name in ("partitions", "epochs", "limit", "num_procs", "batch_size"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UserError(f"{name} must be at least 1", seen=number)
        if self.num_procs > 1 and self.proc_id >= self.num_procs:
            raise UserError(
                "there is no such shard",
                seen=f"procID {self.proc_id}",
                valid=f"0 to {self.num_procs - 1}",
            )
        if self.compression not in COMPRESSIONS:
            raise UserError(
                "unknown compression", seen=self.compression, valid=", ".join(COMPRESSIONS)
            )
        # Also where `topic` is given: readers find the dataset by this name.
        topic_name(self.name, self.proc_id, self.split)
        if self.topic is not None:
            check_topic(self.topic)

    @property
    def target_topic(self) -> str:
        """The topic to write to."""
        return self.topic or topic_name(self.name, self.proc_id, self.split)

    @property
    def shard(self) -> tuple[int, int] | None:
        """(index, number) where this process takes its share of the elements itself."""
        return (self.proc_id, self.num_procs) if self.auto_shard and self.num_procs > 1 else None


@dataclass(frozen=True)
class UploadTuning:
    """How an upload works, not what it stores: for commands and tests.

    Attributes
    ----------
    heartbeat_seconds : float
        See `deeptool.catalog.events.Begun`.
    record_bytes : int
        About the size of a record, before compression: at most what a broker takes.
    listener : callable
        Called with a `deeptool.progress.Progress` several times a second, and at the end.
    on_wait : callable, optional
        Called about once a second with a line to show while another upload of the topic is watched.
    charged_from : tuple of (float, float), optional
        Unix time and process CPU seconds from which on the upload's costs are counted; by default
        from the call on. A command counts TensorFlow's import and the settings file, too.
    """

    heartbeat_seconds: float = 10.0
    record_bytes: int = TARGET_BYTES
    listener: Listener = lambda _: None
    on_wait: Callable[[str], None] | None = None
    charged_from: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        heartbeat, size = self.heartbeat_seconds, self.record_bytes
        # NaN fails both comparisons.
        if not (isinstance(heartbeat, (int, float)) and 0 < heartbeat <= _LONGEST_HEARTBEAT):
            raise UserError(
                "heartbeat_seconds is no time that others could wait for",
                seen=heartbeat,
                valid=f"more than 0, at most {_LONGEST_HEARTBEAT:.0f}",
            )
        if not (isinstance(size, int) and 1 <= size <= MAX_BYTES):
            raise UserError(
                "record_bytes is no size that a record can have",
                seen=size,
                valid=f"1 to {MAX_BYTES:,}",
            )
