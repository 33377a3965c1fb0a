"""One launch of a campaign, from what an earlier one has left to the report."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json, write_json
from hpc.broker import passwords
from hpc.campaign.container import container
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import (
    Plan,
    Task,
    broker_folder,
    make_plan,
    secrets_folder,
    trial_key,
    view_tasks,
    with_server,
)
from hpc.campaign.toml_file import differences, dump
from hpc.local.executor import LocalExecutor
from hpc.local.runner import Runner, new_entry
from hpc.processes.caught_signals import USUAL, CaughtSignals
from hpc.processes.container import Programs, installed
from hpc.run.outcome import shown_result
from hpc.run.run_folder import RunFolder, new_id, own_identity, stop_left, write_state
from hpc.run.screen import Screen
from hpc.run.snapshot import Snapshot, TaskRow, take_snapshot
from hpc.run.summary import broker_facts, close_account, open_account, summary

_ASK_SECONDS = 180.0
# What may change between two launches although trials are there: a trial's own hparams, its data's
# included, say which one it is; and the rest here does not matter to what it comes to.
_FREE = (
    *("name", "run_dir", "report", "hparams.", "broker.", "slurm.", "images."),
    *("producers.variants", "producers.replace", "producers.partitions", "producers.compression"),
    *("trials.grid.", "trials.list", "trials.random.", "trials.max_parallel"),
)


@dataclass(frozen=True)
class Outcome:
    """What a launch came to.

    Attributes
    ----------
    snapshot : Snapshot
        Every task of the campaign at the end.
    report : mapping or None
        What ``deeptool report --json`` says, where there is a report.
    """

    snapshot: Snapshot
    report: Mapping[str, Any] | None

    @property
    def failed(self) -> list[TaskRow]:
        """The producers and trials that failed."""
        rows = (*self.snapshot.of("producer"), *self.snapshot.of("trial"))
        return [row for row in rows if row.state == "failed"]


def launch(
    campaign: Campaign,
    screen: Screen,
    *,
    fresh: bool = False,
    detach: bool = False,
    programs: Programs = installed,
) -> Outcome:
    """Run a campaign, or what an interrupted launch of it has left to do.

    Parameters
    ----------
    campaign : Campaign
        What to run.
    screen : Screen
        Where events and state are shown.
    fresh : bool
        Delete first what earlier launches left in the run folder, stored data of its own broker
        included.
    detach : bool
        Return once everything is submitted, on Slurm.
    programs : callable
        What runs this project's commands.

    Raises
    ------
    Terminated
        After everything was stopped, when a signal asked for it.
    UserError, WorkError
        When another launch is at work there, the campaign does not fit what is there, or a producer
        or the broker fails.
    """
    from hpc.slurm.launch import SlurmLaunch

    signals = CaughtSignals(*USUAL)
    run = RunFolder(campaign.folder)
    with run.locked(), signals.caught():
        one: Launch
        if campaign.backend == "slurm":
            one = SlurmLaunch(campaign, run, screen, signals, programs, detach)
        else:
            one = Launch(campaign, run, screen, signals, programs)
        one.take_over(fresh)
        with screen:
            one.work()
        return one.finish()


class Launch:
    """The steps of a launch, here by processes of this machine."""

    def __init__(
        self,
        campaign: Campaign,
        run: RunFolder,
        screen: Screen,
        signals: CaughtSignals,
        programs: Programs,
    ) -> None:
        self.campaign, self.run, self.screen = campaign, run, screen
        self.signals, self.programs = signals, programs
        self.state: dict[str, Any] = {}
        self.plan: Plan

    def take_over(self, fresh: bool) -> None:
        """End what an earlier launch left running, and see what it left done."""
        earlier = self.run.state()
        backend = earlier.get("backend", self.campaign.backend)
        if backend != self.campaign.backend and not fresh:
            raise UserError(
                "this run folder is that of a launch on another backend",
                seen=f"{self.run.folder}: {backend}",
                next_step="another folder: --run-dir DIR, or --fresh to delete what is there",
            )
        self.end_earlier(earlier, fresh)
        # Once more the owner of its uploads, even where nothing else of it is left.
        run_id = earlier.get("id") or new_id()
        if fresh:
            own = broker_folder(self.campaign).is_relative_to(self.run.folder)
            self.run.clear(*([broker_folder(self.campaign)] if own else []))
            earlier = {}
        self._compare(read_json(self.run.campaign_file), earlier.get("tasks", {}))
        indices = {
            trial_key(task["hparams"], task["proc_id"]): task["index"]
            for task in earlier.get("tasks", {}).values()
            if task["role"] == "trial"
        }
        self.plan = make_plan(self.campaign, run_id, indices)
        self.run.prepare(self.plan.tasks)
        if self.campaign.secured:
            passwords.write_client_properties(passwords.create(secrets_folder(self.campaign)))
        self.state = self._state(earlier, run_id)
        write_json(self.run.campaign_file, dump(self.campaign))
        plan = {**asdict(self.plan), "run_dir": str(self.run.folder)}
        plan["client_properties"] = str(self.plan.client_properties or "") or None
        write_json(self.run.plan_file, plan)
        write_state(self.run, self.state)

    def end_earlier(self, earlier: Mapping[str, Any], fresh: bool) -> None:
        """End what a killed launch has left running."""
        if stopped := stop_left(self.run):
            names = ", ".join(stopped)
            self.screen.event(f"stopped what a killed launch had left running: {names}", "yellow")
        if self.campaign.broker.count > 1:
            self.screen.event("on this machine one broker does the work of all", "dim")

    def work(self) -> None:
        """Run what is left to run, and end it whatever happens."""
        done = [name for name, task in self.state["tasks"].items() if task["state"] == "complete"]
        trials = [task.name for task in self.plan.of("trial") if task.name in done]
        if trials:
            self.screen.event(f"{len(trials)} of {len(self.plan.of('trial'))} trials are complete")
        tasks = self.plan.needed(trials)
        for task in tasks:
            again = self.state["tasks"][task.name]["state"] == "complete"
            self.state["tasks"][task.name] = new_entry(task) | {"again": again}
        executor = LocalExecutor(
            self.run.folder / "logs" / "submitit", self.programs, container(self.campaign)
        )
        runner = Runner(
            *(self.plan, tasks, self.run, self.state, executor, self.screen, self.signals),
            uploaded=lambda server: self._uploaded(server, runner.tick),
        )
        try:
            if tasks:
                runner.run()
        except BaseException as error:
            kind = "failed" if isinstance(error, Exception) else "interrupted"
            self.state |= {"state": kind, "error": str(error)}
            raise
        finally:
            runner.stop()
            self._close()
            if self.state["state"] == "interrupted":
                self.screen.event("everything stopped; the same launch goes on from here")

    def finish(self) -> Outcome:
        """Write the report, and say how it all ended."""
        report = None
        if self.campaign.report and self.plan.of("trial"):
            self.screen.event("writing the report", "dim")
            report = self._ask("report", str(self.run.folder), "--json", check=self.signals.check)
        return Outcome(take_snapshot(self.run), report)

    def _compare(self, before: Mapping[str, Any] | None, tasks: Mapping[str, Any]) -> None:
        """Say what differs from the earlier launch; refuse what would mix two kinds of trials."""
        changed = differences(before, dump(self.campaign)) if before else {}
        if not changed:
            return
        lines = "".join(f"\n    {key}: {values}" for key, values in changed.items())
        begun = [
            name
            for name, task in tasks.items()
            if task["role"] == "trial" and task["state"] in ("complete", "running", "interrupted")
        ]
        if begun and not all(key.startswith(_FREE) for key in changed):
            raise UserError(
                f"{len(begun)} trials of this run folder were made under another campaign",
                seen=lines,
                next_step="--fresh to delete them, or another folder: --run-dir DIR",
            )
        self.screen.event(f"changed since the earlier launch:{lines}", "yellow")

    def _state(self, earlier: Mapping[str, Any], run_id: str) -> dict[str, Any]:
        now = time.time()
        planned = {task.name: task for task in self.plan.tasks}
        before = earlier.get("tasks", {})
        # Trials of earlier launches stay in the tables, and in the report: a search may grow.
        tasks = {
            name: task
            for name, task in before.items()
            if task["role"] == "trial" and "start" in task and name not in planned
        }
        for name, task in planned.items():
            known = before.get(name, {})
            complete = known.get("state") == "complete" and task.role != "broker"
            tasks[name] = known if complete else new_entry(task) | _result(self.run, task)
        account = None
        on_slurm = self.campaign.backend == "slurm"
        if self.plan.server is None and not on_slurm:
            account = open_account(broker_folder(self.campaign), earlier.get("broker") or {})
        return {
            "name": self.campaign.name,
            "backend": self.campaign.backend,
            **({"poll_seconds": self.campaign.slurm.poll_seconds} if on_slurm else {}),
            "id": run_id,
            "launch": own_identity(),
            "state": "running",
            "started": earlier.get("started", now),
            "launched": now,
            "server": self.plan.server,
            "broker": account,
            "uploads": earlier.get("uploads", []),
            "tasks": tasks,
        }

    def _uploaded(self, server: str, tick: Callable[[], None]) -> Sequence[Task]:
        rows = self._ask(
            "inspect", *with_server(self.plan.connection, server), "--json", check=tick
        )
        self.state["uploads"] = own_uploads(self.campaign, self.plan, rows)
        return view_tasks(self.plan, self.state["uploads"]) if self.campaign.report else ()

    def _ask(self, *words: str, check: Callable[[], None]) -> Any:
        return ask((*self.programs("deeptool"), *words), check)

    def _close(self) -> None:
        """Write the summary and the last state."""
        if self.state["broker"] is not None:
            self.state["broker"] = close_account(self.state["broker"])
            if not self.campaign.broker.keep_data:
                shutil.rmtree(broker_folder(self.campaign) / "data", ignore_errors=True)
        self.state["finished"] = time.time()
        if self.state["state"] == "running":
            states = {self.state["tasks"][task.name]["state"] for task in self.plan.of("trial")}
            self.state["state"] = "failed" if "failed" in states else "complete"
        write_state(self.run, self.state)
        broker = broker_facts(self.plan, self.state["broker"])
        write_json(self.run.summary_file, summary(self.plan, self.state, broker))


def own_uploads(
    campaign: Campaign, plan: Plan, rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of what is stored (rows of ``deeptool inspect --json``), the campaign's datasets."""
    made_under = {variant.procID: variant.hparams for variant in campaign.variants}
    producers = {task.index for task in plan.of("producer")}
    digest = campaign.settings_sha256()

    def own(row: Mapping[str, Any]) -> bool:
        if row["state"] != "complete" or row["proc_id"] not in producers:
            return False
        # The hparams that the data depends on: the others may be those of another campaign.
        data = row["data_hparams"]
        wanted = {**campaign.hparams, **made_under.get(row["proc_id"], {})}
        return row["settings_sha256"] == digest and all(
            data.get(key, value) == value for key, value in wanted.items()
        )

    return [row for row in rows if own(row)]


def _result(run: RunFolder, task: Task) -> dict[str, Any]:
    """What a trial came to that ended when its launch was no more, to see it; else nothing."""
    result: dict[str, Any] = {}
    if task.role == "trial":
        result = read_json(run.trial(task.index) / "result.json") or {}
    if result.get("status") != "complete":
        return {}
    times = {"start": result["started"], "end": result["finished"]}
    return {"state": "complete", **times, "result": shown_result(result)}


def ask(argv: Sequence[str], check: Callable[[], None], timeout: float = _ASK_SECONDS) -> Any:
    """What a command of this project prints as JSON.

    Parameters
    ----------
    argv : sequence of str
        The command.
    check : callable
        Called often; what it raises ends the command.
    timeout : float
        Seconds.

    Raises
    ------
    WorkError
        When it fails, or takes longer.
    """
    deadline = time.monotonic() + timeout
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while True:
            check()
            try:
                output, errors = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise
    except subprocess.TimeoutExpired as error:
        raise WorkError("a command took too long", seen=" ".join(argv)) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise WorkError(f"{argv[1]} failed", seen=errors.strip() or output.strip())
    return json.loads(output)
