"""One run: the workers, and for each workload its samples and a broker of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.label_entropy import shuffled_entropy
from bench.rows import OURS, WORKERS
from bench.run_plan import RunPlan
from bench.targets import Results
from bench.worker_process import WorkerFailed, WorkerProcess
from bench.workload_run import Say, WorkloadRun
from bench.workloads import SIZES, write_source
from deeptool.errors import UserError
from hpc.broker.embedded import BrokerOptions, EmbeddedBroker

# Of the samples: one per way to store them, and uploads that are deleted some time later.
_COPIES = 16
# Given the results so far and a workload's name, the rows to measure again.
DoubtsOfRun = Callable[[Results, str], Collection[str]]


@dataclass
class Run:
    """A run under way.

    Attributes
    ----------
    results : dict
        Workload -> row -> its summary, or ``{"absent": why}``. A summary's entropies are shares of
        that of a permutation of all samples.
    versions : dict
        Of the peers in environments of their own.
    """

    plan: RunPlan
    say: Say
    doubts: DoubtsOfRun = lambda results, workload: ()
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def measure(self, folder: Path) -> None:
        """Measure all workloads, with files in `folder`.

        Raises
        ------
        UserError
            There is not enough space.
        WorkError
            One of ours failed.
        """
        workloads = SIZES[self.plan.size].values()
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, _COPIES * max(each.size for each in workloads))
        with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as own, ExitStack() as stack:
            workers, absent = self._workers(Path(own), stack)
            for workload in workloads:
                self.say(f"{workload.title}: {workload.samples:,}, {workload.size / 1e6:,.0f} MB")
                run = WorkloadRun(self.plan, workload, workers, self.say, dict(absent))
                self._workload(run, Path(own, workload.name))

    def _workload(self, run: WorkloadRun, folder: Path) -> None:
        name, best = run.workload.name, shuffled_entropy(run.workload)
        write_source(run.workload, folder / "samples")
        broker = EmbeddedBroker(BrokerOptions(folder / "broker"))
        broker.start()
        try:
            self.results[name] = run.measure(
                folder / "samples",
                broker.bootstrap,
                lambda rows: self.doubts({**self.results, name: rows}, name),
            )
        finally:
            for worker in dict.fromkeys(run.workers.values()):
                with suppress(WorkerFailed):
                    worker.ask("close")
            broker.abandon()
            shutil.rmtree(folder)
        for row in self.results[name].values():
            for key in row:
                if key.startswith("entropy"):
                    row[key] = round(row[key] / best, 5)

    def _workers(
        self, folder: Path, stack: ExitStack
    ) -> tuple[dict[str, WorkerProcess], dict[str, str]]:
        """Module -> the worker that hosts it, and why the others have none."""
        # The first one uploads what all others read.
        modules = {row.module for row in self.plan.rows} | {OURS[0]}
        found: dict[str, WorkerProcess] = {}
        absent: dict[str, str] = {}
        for plan in WORKERS:
            hosted = [module for module in plan.modules if module in modules]
            if not hosted:
                continue
            try:
                worker = WorkerProcess(plan, folder)
            except WorkerFailed as error:
                absent |= dict.fromkeys(hosted, str(error))
                continue
            stack.callback(worker.stop)
            found |= dict.fromkeys(hosted, worker)
            self.versions |= worker.ask("versions", packages=list(plan.packages))
        return found, absent


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            "not enough disk space",
            seen=f"{free / 1e9:.1f} GB free in {folder}",
            valid=f"{needed / 1e9:.1f} GB",
        )
