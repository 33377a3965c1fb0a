"""The memory of a process that no file backs: what a copy that is memory-mapped does not take."""

from __future__ import annotations

import gc


def anonymous_mb() -> float:
    """Of this process, in MB (10^6 bytes)."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def resting_mb() -> float:
    """The same, when nobody needs what was read any more: what grows from pass to pass is lost."""
    gc.collect()
    return anonymous_mb()
