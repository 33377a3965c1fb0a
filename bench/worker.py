"""A process that prepares and measures some contenders, as its parent asks: JSON lines in and out.

Contenders stay in it from round to round, so that what is measured is a pass, and not an import.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.contenders import Absent, Contender, Context, Pass, Work, offered
from bench.label_entropy import mean_entropy
from bench.process_memory import anonymous_mb, resting_mb
from bench.workloads import SIZES, Workload

_SECONDS_BETWEEN_LOOKS = 0.05
# A pass of this number verifies, and warms up; measured ones count on from it.
_FIRST_PASS = 1


def cpu_seconds() -> float:
    """Of this process, and of those of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@dataclass
class Worker:
    """The contenders of one workload at a time."""

    closing: ExitStack = field(default_factory=ExitStack)
    found: dict[str, Contender] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    workload: Workload | None = None

    def prepare(
        self, *, size: str, workload: str, shared: str, servers: str, modules: list[str]
    ) -> Mapping[str, Any]:
        """Take the contenders of `modules` for another workload; why some are absent."""
        self.close()
        self.workload = SIZES[size][workload]
        context = Context(self.workload, Path(shared), servers, self.closing)
        missing = {}
        for module in modules:
            try:
                self.found.update(offered(module, context))
            except ImportError as error:
                missing[module] = f"not installed: {error}"
            except Exception as error:
                missing[module] = f"{type(error).__name__}: {error}"
        absent = {n: c.reason for n, c in self.found.items() if isinstance(c, Absent)}
        return {"modules": missing, "absent": absent, "names": list(self.found)}

    def versions(self, *, packages: list[str]) -> Mapping[str, str]:
        """Of those that are installed."""
        found = {}
        for package in packages:
            with suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
        return found

    def close(self) -> Mapping[str, Any]:
        """Let go of the workload."""
        self.closing.close()
        self.closing, self.found, self.passes = ExitStack(), {}, {}
        return {}

    def verify(self, *, name: str, most_seconds: float, first: bool = False) -> Mapping[str, Any]:
        """Read a pass that is not timed: are all samples in it, and how are the labels mixed?

        Parameters
        ----------
        first : bool
            Read pass 0.
        """
        contender, workload = self.found[name], self.workload
        if workload is None or not isinstance(contender, Pass):
            return {}
        began, labels, whole = time.perf_counter(), [], True
        self.passes[name] = _FIRST_PASS
        for batch in contender.batches(0 if first else _FIRST_PASS):
            labels.append(np.asarray(batch).astype(np.int64).reshape(-1))
            if time.perf_counter() - began > most_seconds:
                whole = False
                break
        expected = np.bincount(workload.labels()[:: contender.every])
        seen = np.bincount(np.concatenate(labels), minlength=len(expected))
        if whole and not np.array_equal(seen, expected):
            raise ValueError(f"{name} read other samples than were stored: {seen} of {expected}")
        return {"entropy": mean_entropy(labels), "whole": whole}

    def measure(
        self, *, name: str, number: int, least_seconds: float, most_seconds: float
    ) -> Mapping[str, Any]:
        """Time whole passes until `least_seconds` are over, or a part until `most_seconds` are."""
        contender = self.found[name]
        cpu = cpu_seconds()
        if isinstance(contender, Work):
            done = contender.run(number)
            elsewhere = done.anonymous_mb
            return {
                "samples": done.samples,
                "seconds": done.seconds,
                "cpu_seconds": cpu_seconds() - cpu,
                "anonymous_mb": anonymous_mb() if elsewhere is None else elsewhere,
                "resting_mb": resting_mb(),
                "whole": True,
            }
        if not isinstance(contender, Pass):
            raise ValueError(f"{name} cannot be measured")
        samples, memory, whole = 0, 0.0, True
        began = time.perf_counter()
        looked = seconds = 0.0
        while seconds < least_seconds and whole:
            self.passes[name] = self.passes.get(name, 0) + 1
            for labels in contender.batches(self.passes[name]):
                samples += len(labels)
                seconds = time.perf_counter() - began
                if seconds > looked:
                    looked = seconds + _SECONDS_BETWEEN_LOOKS
                    memory = max(memory, anonymous_mb())
                    if seconds > most_seconds:
                        whole = False
                        break
            else:
                seconds = time.perf_counter() - began
        return {
            "samples": samples,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds() - cpu,
            "anonymous_mb": memory,
            "resting_mb": resting_mb(),
            "whole": whole,
        }


def main() -> None:
    """Answer each line of stdin with a line; libraries that print do so on stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    worker.close()


if __name__ == "__main__":
    main()
