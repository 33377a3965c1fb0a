"""The last job of a campaign on Slurm: draws, summarizes, reports, and lets the brokers go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deeptool.errors import DeeptoolError, WorkError
from deeptool.files import read_json
from hpc.broker.discovery import Discovery
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.campaign.task import Task, with_server
from hpc.campaign.view_tasks import view_tasks
from hpc.processes.container import Container, installed, shell_command
from hpc.processes.job import set_environment
from hpc.run.run_folder import RunFolder
from hpc.run.state import DONE
from hpc.run.stored_data import json_from, own_uploads
from hpc.run.summary import run_summary
from hpc.slurm.observe import CampaignEnd, ask_slurm, observe, write_end
from hpc.slurm.stop_request import stop_brokers

_VIEW_SECONDS = 180.0


@dataclass(frozen=True)
class FinishWork:
    """What submitit carries to the node.

    Attributes
    ----------
    campaign, plan
        What was run.
    run, launched
        Its run id, and the launch (Unix time) that this ends.
    container : Container or None
        What ``deeptool view`` runs in.
    """

    campaign: Campaign
    plan: Plan
    run: str
    launched: float
    container: Container | None

    def __call__(self) -> None:
        """Do it; whatever fails of it, the brokers are let go."""
        run = RunFolder(self.campaign.folder)
        try:
            self._work(run)
        finally:
            stop_brokers(run, self.run, "the campaign is done")

    def _work(self, run: RunFolder) -> None:
        state = run.state()
        state = observe(run, state, ask_slurm(state))
        discovery = Discovery(run.services, self.run)
        notes: list[str] = []
        server = self.plan.server or discovery.servers()
        uploads: tuple[Mapping[str, Any], ...] = ()
        if server:
            uploads = _try(notes, "uploads", lambda: self._uploads(server, state.session)) or ()
            if self.campaign.report:
                for task in view_tasks(self.plan, uploads):
                    _try(notes, task.name, partial(self._view, task, server))
        brokers = discovery.all()
        costs = {
            "cpu_seconds": sum(each.cpu_seconds for each in brokers) if brokers else None,
            "mode": brokers[0].mode if brokers else self.plan.others_mode,
            "bootstrap": server,
            "version": brokers[0].version if brokers else None,
        }
        states = {state.tasks[task.name].state for task in self.plan.of("trial", "producer")}
        ended = "complete" if states <= set(DONE) else "failed"
        state = replace(state, state=ended, finished=time.time(), uploads=uploads)
        run.write_summary(run_summary(self.plan, state, costs))
        report = None
        if self.campaign.report and self.plan.of("trial"):
            argv = (*installed("deeptool"), "report", str(run.folder), "--json")
            report = _try(notes, "report", lambda: json_from(argv, lambda: None))
        # Last: whoever waits for it reads the others then.
        end = CampaignEnd(
            *(self.launched, ended, time.time(), uploads, tuple(notes)), reported=bool(report)
        )
        write_end(run, end)

    def _uploads(self, server: str, session: str) -> tuple[dict[str, Any], ...]:
        stored = with_server(self.plan.inspected, server)
        argv = (*installed("deeptool"), "inspect", *stored, "--json")
        return own_uploads(self.campaign, session, json_from(argv, lambda: None))

    def _view(self, task: Task, server: str) -> None:
        argv, env = shell_command(task.command(server), {}, installed, self.container)
        set_environment(env)
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_VIEW_SECONDS, check=False
        )
        if done.returncode:
            raise WorkError("no picture of the samples", seen=done.stderr.strip())


def _try(notes: list[str], what: str, step: Callable[[], Any]) -> Any:
    """What a step returns; a failure is noted, and the rest continues."""
    try:
        return step()
    except (DeeptoolError, OSError, subprocess.SubprocessError) as error:
        notes.append(f"{what}: {error}")
        return None


def read_report(run: RunFolder) -> dict[str, Any] | None:
    """The report's values, None where there is no report."""
    report: dict[str, Any] | None = read_json(run.folder / "report.json")
    return report
