"""One workload of a run: prepare, verify, then round after round, ours and peers in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.results import summary
from bench.rows import TF_BROKER, Row
from bench.run_plan import RunPlan
from bench.worker_process import WorkerFailed, WorkerProcess
from bench.workloads import Workload
from deeptool.errors import WorkError

# A pass that verifies is not timed, and should end.
_PATIENCE = 6.0
Say = Callable[[str], None]
# Given the summaries of all rows, those that are to be measured again.
Doubts = Callable[[Mapping[str, Mapping[str, Any]]], Collection[str]]


@dataclass
class WorkloadRun:
    """Measures the rows of one workload.

    Attributes
    ----------
    workers : mapping
        Module -> the process that hosts it; those that could not be started are in `absent`.
    absent : dict
        Module or row -> why it cannot be measured.
    """

    plan: RunPlan
    workload: Workload
    workers: Mapping[str, WorkerProcess]
    say: Say
    absent: dict[str, str] = field(default_factory=dict)
    _measured: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _verified: dict[str, dict[str, Any]] = field(default_factory=dict)

    def measure(self, shared: Path, servers: str, doubts: Doubts) -> dict[str, dict[str, Any]]:
        """Row -> its summary, or ``{"absent": why}``.

        Raises
        ------
        WorkError
            One of ours failed.
        """
        self._prepare(shared, servers)
        self.say("  verifying all samples of all rows")
        for row in self.plan.rows:
            self._attempt(row, self._verify)
        # What was written is on the disk before anything is timed.
        os.sync()
        for stores in (True, False):
            rows = [row for row in self.plan.rows if row.stores is stores]
            self._rounds(rows)
        again = doubts(self._summaries())
        if again:
            self.say(f"  again: {', '.join(sorted(again))}")
            self._rounds([row for row in self.plan.rows if row.name in again])
        return self._summaries()

    def _prepare(self, shared: Path, servers: str) -> None:
        for worker in dict.fromkeys(self.workers.values()):
            modules = [module for module, host in self.workers.items() if host is worker]
            self.say(f"  preparing: {worker.plan.name}")
            try:
                answer = worker.ask(
                    "prepare",
                    size=self.plan.size,
                    workload=self.workload.name,
                    shared=str(shared),
                    servers=servers,
                    modules=modules,
                )
            except WorkerFailed as error:
                self.absent |= dict.fromkeys(modules, str(error))
                continue
            self.absent |= answer["modules"] | answer["absent"]
        for row in self.plan.rows:
            if row.ours and row.module in self.absent:
                raise WorkError(f"{row.name} cannot be measured", seen=self.absent[row.module])

    def _attempt(self, row: Row, step: Callable[[Row], None]) -> None:
        """Do one thing with a row that is there; a peer's failure makes it absent."""
        if row.name in self.absent or row.module in self.absent:
            return
        try:
            step(row)
        except WorkerFailed as error:
            if row.ours:
                raise WorkError(f"{row.name} failed", seen=str(error)) from error
            self.absent[row.name] = str(error)

    def _verify(self, row: Row) -> None:
        ask, most = self.workers[row.module].ask, self.plan.most_seconds * _PATIENCE
        self._verified[row.name] = ask("verify", name=row.name, most_seconds=most)
        if row.name == TF_BROKER:
            found = ask("verify", name=row.name, most_seconds=most, first=True)
            self._verified[row.name]["entropy_of_pass_0"] = found["entropy"]

    def _rounds(self, rows: list[Row]) -> None:
        for number in range(self.plan.rounds):
            # Each round begins elsewhere, so that no row always comes after the same one.
            start = number * len(rows) // self.plan.rounds
            for row in rows[start:] + rows[:start]:
                self._attempt(row, self._measure)

    def _measure(self, row: Row) -> None:
        done = self._measured.setdefault(row.name, [])
        answer = self.workers[row.module].ask(
            "measure",
            name=row.name,
            number=len(done),
            least_seconds=self.plan.least_seconds,
            most_seconds=self.plan.most_seconds,
        )
        if row.stores:
            os.sync()
        done.append(answer)
        self.say(f"  {row.name}: {answer['samples'] / answer['seconds']:,.0f} samples/s")

    def _summaries(self) -> dict[str, dict[str, Any]]:
        found = {}
        for row in self.plan.rows:
            why = self.absent.get(row.name) or self.absent.get(row.module)
            if why:
                found[row.name] = {"absent": why}
            else:
                measured = summary(self.workload, self._measured[row.name])
                mixed = {
                    key: value
                    for key, value in self._verified[row.name].items()
                    if key.startswith("entropy")
                }
                found[row.name] = measured | mixed
        return found
