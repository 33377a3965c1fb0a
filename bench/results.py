"""What a run leaves: medians, where and when it was measured, as JSON in bench-results/."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench import targets
from bench.workloads import Workload
from deeptool.errors import UserError
from deeptool.files import write_text
from hpc.broker.node import VERSION

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "bench-results"
FORMAT = 1
PACKAGES = ("tensorflow-cpu", "tensorflow", "numpy", "pyarrow", "confluent-kafka")


def result_file(size: str) -> Path:
    """Where the results of a run of that size are kept."""
    return FOLDER / f"{size}.json"


def summary(workload: Workload, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The medians of one row's measurements, and how far its memory grew over them.

    Returns
    -------
    dict
        rate in samples/s, mb_per_s (10^6 bytes), seconds per measurement, cpu_seconds_per_gb (of
        the measuring process and its children), anonymous_mb (the most during a measurement),
        memory_growth_mb (between measurements, from the first to the last), whole (False:
        measurements ended before their pass did), and all rates.
    """
    rates = [one["samples"] / one["seconds"] for one in measured]
    costs = [one["cpu_seconds"] / one["samples"] for one in measured]
    rate = statistics.median(rates)
    resting = [one["resting_mb"] for one in measured]
    return {
        "rate": round(rate, 1),
        "mb_per_s": round(rate * workload.sample_bytes / 1e6, 1),
        "seconds": round(statistics.median(one["seconds"] for one in measured), 4),
        "cpu_seconds_per_gb": round(statistics.median(costs) / workload.sample_bytes * 1e9, 3),
        "anonymous_mb": round(max(one["anonymous_mb"] for one in measured), 1),
        "memory_growth_mb": round(resting[-1] - resting[0], 1),
        "whole": all(one["whole"] for one in measured),
        "rates": [round(each, 1) for each in rates],
    }


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel; what else ran is in the load."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Of what `.venv` measures with."""
    found = {"python": platform.python_version(), "kafka": VERSION}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that is checked out, with a + where files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "deeptool", "bench")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def document(
    size: str, rounds: int, load: float, rows: targets.Results, others: Mapping[str, str]
) -> dict[str, Any]:
    """All that a run leaves, for `write`.

    Parameters
    ----------
    load : float
        Processes that wanted to run in the minute before it.
    others : mapping
        Versions of what other environments measure with.
    """
    return {
        "format": FORMAT,
        "size": size,
        "rounds": rounds,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "load_before": round(load, 2),
        "versions": versions() | dict(others),
        "targets": targets.targets(rows),
        "ratios": targets.ratios(rows),
        "rows": rows,
    }


def write(found: Mapping[str, Any], path: Path) -> None:
    """Write a document, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(found, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A document that `write` wrote.

    Raises
    ------
    UserError
        There is none, or one of another format.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "there are no recorded results", seen=f"{path}: {error}", next_step="make bench"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(
            "recorded results of another format", seen=str(path), next_step="make bench"
        )
    return found
