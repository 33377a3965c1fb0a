"""What a trial came to, as a value and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MONITOR = "val_loss"

Status = Literal["complete", "diverged", "failed", "interrupted"]

# A trial that ended so has its result: it is not run again.
DONE: tuple[Status, ...] = ("complete", "diverged")


@dataclass(frozen=True)
class Usage:
    """What was read and what it took; sums over the runs of a trial that was restarted.

    Attributes
    ----------
    samples_read, records_read, bytes_read : int
        Training and validation together, all epochs; records and bytes are 0 without Kafka.
    input_cpu_seconds : float or None
        CPU time of reading and decoding. None without Kafka, where it cannot be told from the rest.
    cpu_seconds, wall_seconds : float
        Of the whole trial, from the call of `train` to its end.
    """

    samples_read: int = 0
    records_read: int = 0
    bytes_read: int = 0
    input_cpu_seconds: float | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        inputs = [u.input_cpu_seconds for u in (self, other) if u.input_cpu_seconds is not None]
        return Usage(
            self.samples_read + other.samples_read,
            self.records_read + other.records_read,
            self.bytes_read + other.bytes_read,
            sum(inputs) if inputs else None,
            self.cpu_seconds + other.cpu_seconds,
            self.wall_seconds + other.wall_seconds,
        )


@dataclass(frozen=True)
class TrialResult:
    """The outcome of one trial: what ``result.json`` holds.

    Attributes
    ----------
    status : str
        "complete", "diverged" (a loss became NaN or infinite), "failed" or "interrupted".
    hparams : mapping
        All hparams, overrides applied.
    proc_id : int or None
        The variant that was read; None for shards, and for a pipeline that has no procID.
    data_from : str
        "kafka", "sealed" or "pipeline".
    epochs_run, epochs_planned : int
        Epochs that ended, those before a restart included.
    best_epoch : int or None
        Counted from 1; None when no epoch ended with a number as `monitor`.
    best, final : mapping of str to float
        All metrics at the best and at the last epoch.
    usage : Usage
        Its fields stand beside the others in ``result.json``.
    started, finished : float
        Unix time.
    notes : tuple of str
        Further messages for the user: warnings, what could not be exported.
    error : str or None
        Why it is not complete; of a trial that diverged, which loss did and when.
    monitor : str
        The loss whose smallest value made an epoch the best one.
    """

    status: Status
    session_dir: Path
    session_name: str
    hparams: Mapping[str, Any]
    proc_id: int | None
    data_from: Literal["kafka", "sealed", "pipeline"]
    epochs_run: int
    epochs_planned: int
    best_epoch: int | None
    best: Mapping[str, float]
    final: Mapping[str, float]
    usage: Usage
    started: float
    finished: float
    notes: tuple[str, ...] = ()
    error: str | None = None
    monitor: str = MONITOR

    def to_json(self) -> dict[str, Any]:
        """The values of ``result.json``; a metric that is not finite becomes null."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values |= dataclasses.asdict(values.pop("usage"))
        values |= {name: finite(values[name]) for name in ("best", "final")}
        return values | {
            "session_dir": str(self.session_dir),
            "hparams": dict(self.hparams),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialResult:
        """The inverse of `to_json`; null metrics are NaN."""
        usage = Usage(**{f.name: values[f.name] for f in dataclasses.fields(Usage)})
        given = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
        for name in ("best", "final"):
            given[name] = {k: math.nan if v is None else v for k, v in values[name].items()}
        return cls(
            **given
            | {
                "usage": usage,
                "session_dir": Path(values["session_dir"]),
                "notes": tuple(values["notes"]),
            }
        )


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as strict JSON allows them: what is not finite becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
