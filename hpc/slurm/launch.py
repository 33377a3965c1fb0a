"""A launch on Slurm: everything is submitted at once, and then watched from here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from deeptool.errors import Terminated, UserError, WorkError
from hpc.broker import jars
from hpc.broker.discovery import Discovery
from hpc.broker.passwords import NAME
from hpc.campaign.container import container
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, secrets_folder
from hpc.campaign.resources import minutes
from hpc.local.runner import new_entry
from hpc.processes import apptainer
from hpc.processes.caught_signals import CaughtSignals
from hpc.processes.container import Programs
from hpc.run.launch import Launch, Outcome
from hpc.run.run_folder import RunFolder, write_state
from hpc.run.screen import Screen, trial_text, upload_text
from hpc.run.snapshot import Snapshot, take_snapshot
from hpc.slurm import scheduler
from hpc.slurm.batch import Batch, job_name, make_batches, parameters
from hpc.slurm.broker_job import STOP_FILE, BrokerWork
from hpc.slurm.executor import SlurmExecutor
from hpc.slurm.finish import FinishWork, read_report
from hpc.slurm.observe import ask_slurm, observe, read_done
from hpc.slurm.worker import Work

_STEP = 1.0
# After the last job's word, the brokers stop, and Slurm notices.
_AFTER_SECONDS = 60.0


class SlurmLaunch(Launch):
    """The steps of a launch whose processes are Slurm's jobs.

    They go on without it: it submits, then shows what they do until the last one has ended.
    """

    def __init__(
        self,
        campaign: Campaign,
        run: RunFolder,
        screen: Screen,
        signals: CaughtSignals,
        programs: Programs,
        detach: bool,
    ) -> None:
        super().__init__(campaign, run, screen, signals, programs)
        self._detach = detach
        self._joined = False
        self._executor: SlurmExecutor | None = None

    def end_earlier(self, earlier: Mapping[str, Any], fresh: bool) -> None:
        """See that what is to be submitted can run, and what is in the queue already."""
        scheduler.check_there()
        self.campaign.slurm.check_times()
        if self.campaign.in_images:
            images = self.campaign.images
            own = () if self.campaign.broker.bootstrap_servers else (images.kafka, images.zookeeper)
            for image in (images.tensorflow, *own):
                apptainer.check_image(image)
        elif not self.campaign.broker.bootstrap_servers:
            # Into the cache, which the nodes share: they may have no way to the internet.
            jars.runtime(lambda line: self.screen.event(line, "dim"))
        if not earlier:
            return
        live = live_jobs(earlier["id"])
        if live and fresh:
            scheduler.cancel(live)
            wait_gone(live, self.signals.check)
        elif live and earlier.get("submitted"):
            self._joined = True
        elif live:
            self.screen.event("cancelling what an interrupted launch had submitted", "yellow")
            scheduler.cancel(live)
            wait_gone(live, self.signals.check)

    def work(self) -> None:
        """Submit what is left to run, and watch it."""
        if not self._joined and not self._submit():
            self.state |= {"state": "complete", "finished": time.time()}
            write_state(self.run, self.state)
        elif not self._detach:
            self._watch()

    def finish(self) -> Outcome:
        """How it all ended; where it has not, how it is doing."""
        snapshot = take_snapshot(self.run)
        return Outcome(snapshot, None if self._detach else read_report(self.run))

    def take_over(self, fresh: bool) -> None:
        before = self.run.state()
        super().take_over(fresh)
        if not self._joined:
            return
        # The files are those of the launch that submitted the jobs.
        known = {name for name, task in before["tasks"].items() if task["role"] == "trial"}
        more = [task.name for task in self.plan.of("trial") if task.name not in known]
        write_state(self.run, before)
        self.state = before
        if more:
            raise UserError(
                "the jobs of an earlier launch are still in the queue, and this one has more",
                seen=", ".join(more),
                next_step=f"wait for them, or end them: deeptool-hpc down {self.run.folder}",
            )
        self.screen.event("the jobs are in the queue already: watching them", "dim")

    def _submit(self) -> bool:
        """Submit what is left to run; whether there is anything."""
        done = observe(self.run, self.state, None)["tasks"]
        complete = [
            task.name for task in self.plan.of("trial") if done[task.name]["state"] == "complete"
        ]
        if complete:
            count = len(self.plan.of("trial"))
            self.screen.event(f"{len(complete)} of {count} trials are complete")
        tasks = self.plan.needed(complete)
        if not tasks:
            return False
        for task in tasks:
            self.state["tasks"][task.name] = new_entry(task)
            self.run.record(task.name).unlink(missing_ok=True)
        (self.run.services / STOP_FILE).unlink(missing_ok=True)
        Discovery(self.run.services, self.state["id"]).reopen()
        self.state |= {"submitted": False, "jobs": {}}
        write_state(self.run, self.state)
        batches = make_batches(self.campaign, self.plan, tasks, scheduler.max_array_size())
        self._executor = SlurmExecutor(self.run.folder / "logs" / "submitit")
        try:
            for batch in batches:
                self.signals.check()
                self._submit_batch(batch)
        except BaseException:
            scheduler.cancel(live_jobs(self.state["id"]))
            self.state |= {"state": "failed", "finished": time.time()}
            write_state(self.run, self.state)
            self.screen.event("cancelled what had been submitted", "yellow")
            raise
        self.state["submitted"] = True
        write_state(self.run, self.state)
        return True

    def _submit_batch(self, batch: Batch) -> None:
        ids = {name: jobs[0].split("_")[0] for name, jobs in self.state["jobs"].items()}
        works = make_works(batch, self.campaign, self.plan, self.state)
        if self._executor is None:
            raise WorkError("nothing to submit to")
        jobs = self._executor.submit(works, parameters(batch, self.state["id"], ids))
        self.state["jobs"][batch.name] = jobs
        for task, job in zip(batch.tasks, jobs, strict=False):
            self.state["tasks"][task.name]["job"] = job
        write_state(self.run, self.state)
        count = f", {len(jobs)} tasks" if len(jobs) > 1 else ""
        self.screen.event(f"submitted {batch.name}: job {jobs[0].split('_')[0]}{count}", "dim")

    def _watch(self) -> None:
        """Show what the jobs do until the last one has ended.

        Raises
        ------
        Terminated
            When a signal ends the watching: the jobs go on.
        WorkError
            When the jobs have gone without an end.
        """
        shown: dict[str, str] = {}
        asked, jobs = 0.0, ask_slurm(self.state)
        poll = self.campaign.slurm.poll_seconds
        try:
            while True:
                self.signals.check()
                if time.monotonic() - asked > poll or not asked:
                    asked, jobs = time.monotonic(), ask_slurm(self.state)
                seen = observe(self.run, self.state, jobs)
                snapshot = take_snapshot(self.run, seen)
                self._tell(snapshot, shown)
                self.screen.show(partial(take_snapshot, self.run, seen))
                if read_done(self.run, self.state):
                    break
                if jobs is not None and not live_jobs(self.state["id"], jobs.known):
                    self._gone(snapshot)
                time.sleep(_STEP)
        except Terminated:
            self.screen.event(
                f"the jobs go on: deeptool-hpc status {self.run.folder}, deeptool-hpc down"
                f" {self.run.folder}, or the same launch to watch them again",
                "yellow",
            )
            raise
        wait_gone(live_jobs(self.state["id"]), self.signals.check, _AFTER_SECONDS)

    def _gone(self, snapshot: Snapshot) -> None:
        if live_jobs(self.state["id"]) or read_done(self.run, self.state):
            return
        if self.run.state()["state"] == "interrupted":
            raise WorkError("the campaign was stopped: deeptool-hpc down")
        failed = [f"{row.name}: {row.note}" for row in snapshot.rows if row.state == "failed"]
        write_state(self.run, self.state | {"state": "failed", "finished": time.time()})
        raise WorkError(
            "the campaign's jobs have gone from the queue before their end",
            seen="".join(f"\n    {line}" for line in failed[:10]) or "no job is left",
            next_step=f"see {self.run.folder}/logs; the same launch goes on from here",
        )

    def _tell(self, snapshot: Snapshot, shown: dict[str, str]) -> None:
        """A line for each change of a task."""
        for row in snapshot.rows:
            now = f"{row.state} {row.note}" if row.state == "waiting" else row.state
            if shown.get(row.name) == now:
                continue
            first = row.name not in shown
            shown[row.name] = now
            if row.state == "waiting" and (first or "again" not in row.note):
                continue
            where = f" on {row.node}" if row.node and row.state in ("running", "ready") else ""
            text = f": {row.note}" if row.note else ""
            if row.state == "complete" and row.role == "producer":
                text = f": {upload_text(row)}"
            if row.state == "complete" and row.role == "trial":
                text = f": {trial_text(row)}"
            if row.state == "failed":
                text += f"\n  log: {row.log}"
            style = {"complete": "green", "ready": "green", "failed": "red"}.get(row.state, "dim")
            self.screen.event(f"{row.name} {row.state}{where}{text}", style)


def make_works(
    batch: Batch, campaign: Campaign, plan: Plan, state: Mapping[str, Any]
) -> Sequence[Callable[[], None]]:
    """What each array task of a batch calls on its node."""
    limit, run_id = minutes(batch.resources.time or "1"), state["id"]
    box = container(campaign)
    if batch.name == "broker":
        images = campaign.images
        secret = secrets_folder(campaign) / NAME if campaign.secured else None
        pair = (images.kafka, images.zookeeper) if campaign.in_images else None
        return [BrokerWork(campaign.broker, campaign.folder, run_id, secret, pair, limit)]
    if batch.name == "finish":
        return [FinishWork(campaign, plan, run_id, state["launched"], box)]
    gpus = bool(batch.resources.gpus)
    return [
        Work(task, campaign.folder, run_id, plan.server, box, gpus, limit) for task in batch.tasks
    ]


def live_jobs(run_id: str, jobs: Mapping[str, scheduler.Queued] | None = None) -> list[str]:
    """The ids of the jobs of a run that are still to run, or run."""
    known = scheduler.queue() if jobs is None else jobs
    prefix = job_name(run_id, "")
    return [job for job, seen in known.items() if seen.live and seen.name.startswith(prefix)]


def wait_gone(jobs: Sequence[str], check: Callable[[], None], seconds: float = 120.0) -> list[str]:
    """Wait for jobs to leave the queue; returns those that have not by then."""
    deadline = time.monotonic() + seconds
    left = list(jobs)
    while left:
        known = scheduler.queue()
        left = [job for job in left if job in known and known[job].live]
        if time.monotonic() > deadline:
            break
        check()
        if left:
            time.sleep(_STEP)
    return left
