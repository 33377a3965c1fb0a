"""Memory that counts, from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from deeptool.columns.free_memory import available_memory, headroom

MIB = 1024 * 1024
MEMINFO = """MemTotal:       24689764 kB
MemFree:         2189012 kB
MemAvailable:   20480000 kB
Buffers:          212332 kB
"""
STAT_1 = f"""cache 900
inactive_file 17
active_file 3
hierarchical_memory_limit 9223372036854771712
total_cache 900
total_inactive_file {100 * MIB}
"""
STAT_2 = f"anon 4096\nfile 812\ninactive_anon 7\ninactive_file {30 * MIB}\nactive_file 5\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_group_it_is_what_the_machine_has_available(tmp_path: Path) -> None:
    root = machine(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"})
    assert available_memory(root) == 20480000 * 1024


def test_in_version_1_the_group_of_memory_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/slurm/uid_7/job_9"
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "9:cpuset:/other\n4:memory:/slurm/uid_7/job_9\n0::/\n",
            f"{group}/memory.limit_in_bytes": f"{2048 * MIB}\n",
            f"{group}/memory.usage_in_bytes": f"{600 * MIB}\n",
            f"{group}/memory.stat": STAT_1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{9000 * MIB}\n",
        },
    )
    assert available_memory(root) == (2048 - 600 + 100) * MIB


def test_in_version_2_the_narrowest_group_around_counts(tmp_path: Path) -> None:
    job, step = "sys/fs/cgroup/job_9", "sys/fs/cgroup/job_9/step_0"
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/job_9/step_0\n",
            f"{step}/memory.max": "max\n",
            f"{step}/memory.current": f"{100 * MIB}\n",
            f"{job}/memory.max": f"{1000 * MIB}\n",
            f"{job}/memory.current": f"{980 * MIB}\n",
            f"{job}/memory.stat": STAT_2,
        },
    )
    assert available_memory(root) == 50 * MIB


def test_a_container_that_sees_only_its_own_group_finds_it_at_the_top(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/what/the/host/sees\n",
            "sys/fs/cgroup/memory.max": f"{512 * MIB}\n",
            "sys/fs/cgroup/memory.current": f"{512 * MIB}\n",
        },
    )
    assert available_memory(root) == 0


@pytest.mark.parametrize("limit", ["max\n", "", "9223372036854771712\n"])
def test_no_limit_leaves_any(limit: str) -> None:
    assert headroom(limit, "5\n", "") is None


def test_a_machine_that_says_nothing_has_nothing(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 0


def test_this_machine_has_some_and_not_more_than_it_says() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().available * 1.2
