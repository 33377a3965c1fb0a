"""How much more memory this process can use: less than the machine has free, in a job with a limit.

Under Slurm and in containers, pages of files that a job reads count as the job's, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# What version 1 of control groups says where there is no limit is about 2**63.
_NO_LIMIT = 2**60


def available_memory(root: Path = Path("/")) -> int:
    """Bytes: what the machine has available, or the least that a control group leaves.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    """
    left: list[int | None] = [_available(_text(root / "proc/meminfo"))]
    for folder, names in _groups(_text(root / "proc/self/cgroup")):
        limit, used, stat = (_text(root / folder / name) for name in names)
        left.append(headroom(limit, used, stat))
    return max(0, min(size for size in left if size is not None))


def _available(meminfo: str) -> int:
    """Bytes of MemAvailable in /proc/meminfo; 0 where it is not said."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def headroom(limit: str, used: str, stat: str) -> int | None:
    """Bytes that a control group leaves; None where it has no limit.

    Parameters
    ----------
    limit, used, stat : str
        The contents of its files; empty where there is none. Pages of files that were not read
        lately make room for others, so they do not count as used.
    """
    if not limit.strip().isdigit() or not used.strip().isdigit() or int(limit) >= _NO_LIMIT:
        return None
    inactive = re.search(r"^(?:total_)?inactive_file (\d+)$", _totals(stat), re.MULTILINE)
    return int(limit) - int(used) + (int(inactive[1]) if inactive else 0)


def _totals(stat: str) -> str:
    """Version 1 says each number without and with the groups below; those with them count."""
    totals = [line for line in stat.splitlines() if line.startswith("total_")]
    return "\n".join(totals) if totals else stat


_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
_VERSION_2 = ("memory.max", "memory.current", "memory.stat")


def _groups(text: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The control groups of /proc/self/cgroup and those around them: folder, names of its files."""
    for line in text.splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        below, names = "sys/fs/cgroup", _VERSION_2
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            below, names = "sys/fs/cgroup/memory", _VERSION_1
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield str(PurePosixPath(below) / folder), names


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
