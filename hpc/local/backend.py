"""Campaigns on this machine: processes that live no longer than their launch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.campaign.backend_traits import BackendTraits
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, broker_folder
from hpc.campaign.task import Task, with_server
from hpc.campaign.task_container import task_container
from hpc.campaign.view_tasks import view_tasks
from hpc.local.broker_account import broker_facts, close_account, open_account
from hpc.local.executor import LocalExecutor
from hpc.local.fork_server import fork_server
from hpc.local.leftover import running_processes, stop_launch, stop_running
from hpc.local.plan_text import plan_text
from hpc.local.runner import Runner
from hpc.processes.identity import alive
from hpc.run.backend import LaunchContext, Seen, Stopped
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.state import ENDED, RunState
from hpc.run.stored_data import json_from, own_uploads
from hpc.run.summary import run_summary


class LocalBackend:
    """Implements `hpc.run.backend.Backend`."""

    traits = BackendTraits()

    def render(self, campaign: Campaign, plan: Plan) -> str:
        return plan_text(plan)

    def observe(self, folder: RunFolder, state: RunState, *, ask: bool = True) -> RunState:
        if state.state not in ENDED and not alive(state.launch):
            return replace(state, state="killed")
        return state

    def look(self, folder: RunFolder, state: RunState) -> Seen:
        return Seen(state, live=tuple(running_processes(folder)))

    def check(self, campaign: Campaign, screen: Screen) -> None:
        if campaign.broker.count > 1:
            screen.event("on this machine one broker does the work of all", "dim")

    def end_earlier(self, folder: RunFolder, state: RunState, check: Callable[[], None]) -> None:
        stop_running(folder, state)

    def start(self, context: LaunchContext, state: RunState) -> RunState:
        # Nothing here outlives the launch: `watch` starts the processes.
        if context.plan.server is None:
            account = open_account(broker_folder(context.campaign), state.broker)
            state = replace(state, broker=account)
            context.folder.write_state(state)
        return state

    def watch(self, context: LaunchContext, state: RunState) -> None:
        with _fork_server(context) as forks:
            self._watch(context, state, forks)

    def _watch(self, context: LaunchContext, state: RunState, forks: Path | None) -> None:
        executor = LocalExecutor(
            context.folder.folder / "logs" / "submitit",
            context.programs,
            task_container(context.campaign),
            forks,
        )

        def uploaded(server: str) -> tuple[Sequence[Mapping[str, Any]], Sequence[Task]]:
            return _uploads(context, server, state.session, runner.tick)

        runner = Runner(context, state, executor, uploaded)
        try:
            if context.tasks:
                runner.run()
        except BaseException as error:
            kind = "failed" if isinstance(error, Exception) else "interrupted"
            runner.state = replace(runner.state, state=kind, error=str(error))
            raise
        finally:
            runner.stop()
            _close(context, runner.state)

    def finish(self, context: LaunchContext) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
        report = None
        if context.campaign.report and context.plan.of("trial"):
            context.screen.event("writing the report", "dim")
            argv = (*context.programs("deeptool"), "report", str(context.folder.folder), "--json")
            report = json_from(argv, context.signals.check)
        return report, tuple(running_processes(context.folder))

    def down(self, folder: RunFolder, state: RunState) -> Stopped:
        return stop_launch(folder)


def _fork_server(context: LaunchContext) -> AbstractContextManager[Path | None]:
    """What forks the launch's trials, while the block lasts; none where they run in images."""
    trials = [task for task in context.tasks if task.role == "trial"]
    if not trials or task_container(context.campaign) is not None:
        return nullcontext()
    return fork_server(context.programs, context.folder.log("trial_server"))


def _uploads(
    context: LaunchContext, server: str, session: str, check: Callable[[], None]
) -> tuple[Sequence[Mapping[str, Any]], Sequence[Task]]:
    """The campaign's datasets, once they are complete, and the processes that draw them."""
    stored = with_server(context.plan.inspected, server)
    argv = (*context.programs("deeptool"), "inspect", *stored, "--json")
    rows = own_uploads(context.campaign, session, json_from(argv, check))
    return rows, view_tasks(context.plan, rows) if context.campaign.report else ()


def _close(context: LaunchContext, state: RunState) -> None:
    """Write the summary and the last state."""
    if state.broker is not None:
        state = replace(state, broker=close_account(state.broker))
        if not context.campaign.broker.keep_data:
            shutil.rmtree(broker_folder(context.campaign) / "data", ignore_errors=True)
    if state.state == "running":
        states = {state.tasks[task.name].state for task in context.plan.of("trial")}
        state = replace(state, state="failed" if "failed" in states else "complete")
    state = replace(state, finished=time.time())
    context.folder.write_state(state)
    facts = broker_facts(context.plan, state.broker)
    context.folder.write_summary(run_summary(context.plan, state, facts))
    if state.state == "interrupted":
        context.screen.event(
            "everything stopped; run the same launch again, without --fresh, to resume"
        )


BACKEND = LocalBackend()
