"""What a task came to, in few words: from its outcome file, its job's record, its result file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeptool.outcome import Outcome, StoredTopic
from deeptool.outcome import read as read_outcome_file
from hpc.processes.record import JobRecord
from hpc.run.state import DONE

# Of a trial's result, what the tables show.
_RESULT = (
    *("status", "monitor", "best", "best_epoch", "epochs_run", "samples_read"),
    *("wall_seconds", "cpu_seconds", "input_cpu_seconds"),
)


def shown_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's result file, what the state file keeps for the tables."""
    return {key: result.get(key) for key in _RESULT}


def trial_state(result: Mapping[str, Any]) -> str:
    """The state of a trial whose process has ended well, by its result file."""
    status = str(result.get("status"))
    return status if status in DONE else "failed"


def read_outcome(path: Path, record: JobRecord) -> Outcome | None:
    """What a process said of its own end; None where it had no time to.

    Parameters
    ----------
    path : Path
        Its outcome file.
    record : JobRecord
        Its job's: an outcome with another exit code is that of an earlier attempt.
    """
    try:
        found = read_outcome_file(path)
    except ValueError:
        # Cut off by a full disk, say: as if there were none.
        return None
    return found if found is not None and found.exit_code == record.exit_code else None


def upload_note(found: Outcome | None) -> str:
    """What a producer stored: a part for each topic."""
    return "; ".join(_stored(topic) for topic in found.stored) if found is not None else ""


def failure_text(record: JobRecord, found: Outcome | None, lines: int) -> str:
    """What made a task fail: its job's error or its own, else so many last lines of its log."""
    if record.error:
        return record.error
    if found is not None and found.error is not None:
        return found.error.message
    return "".join(f"\n    {line}" for line in record.tail[-lines:]) or "its log is empty"


def failure_note(record: JobRecord, found: Outcome | None) -> str:
    """`failure_text` in one line."""
    if record.error:
        return record.error.splitlines()[0]
    if found is not None and found.error is not None:
        return found.error.what
    return f"exit code {record.exit_code}"


def _stored(topic: StoredTopic) -> str:
    size = f"{topic.samples:,} samples"
    if topic.reused:
        return f"{topic.topic}: is there already ({size})"
    return f"{topic.topic}: stored {size}, {topic.bytes / 1e6:,.1f} MB"
