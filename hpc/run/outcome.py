"""What a process came to, in few words: of its result file, or of the end of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Of a trial's result, what the tables show.
_RESULT = (
    *("status", "monitor", "best", "best_epoch", "epochs_run", "samples_read"),
    *("wall_seconds", "cpu_seconds", "input_cpu_seconds"),
)


def shown_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial's result file, what the state file keeps for the tables."""
    return {key: result.get(key) for key in _RESULT}


def upload_note(tail: Sequence[str]) -> str:
    """What a producer said at its end: a line for each topic."""
    lines = [line for line in tail if ": stored " in line or ": is there already" in line]
    return "; ".join(lines)


def failure(tail: Sequence[str], lines: int) -> str:
    """What the end of a log says of a failure: its error message, or else its last lines."""
    at = next((n for n in reversed(range(len(tail))) if tail[n].startswith("error: ")), None)
    if at is not None:
        return "\n".join([tail[at].removeprefix("error: "), *tail[at + 1 :]])
    return "".join(f"\n    {line}" for line in tail[-lines:]) or "it said nothing"
