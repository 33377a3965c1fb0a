"""Submits a campaign to Slurm: all of its jobs at once, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hpc.broker.discovery import Discovery
from hpc.broker.passwords import NAME
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, secrets_folder
from hpc.campaign.task_container import task_container
from hpc.run.backend import LaunchContext
from hpc.run.state import RunState
from hpc.slurm import scheduler
from hpc.slurm.batch import Batch, make_batches, parameters
from hpc.slurm.broker_job import BrokerWork
from hpc.slurm.executor import SlurmExecutor
from hpc.slurm.finish import FinishWork
from hpc.slurm.job_names import JobNames
from hpc.slurm.queued import live_jobs
from hpc.slurm.resources import minutes, slurm_options
from hpc.slurm.stop_request import STOP_FILE
from hpc.slurm.worker import Work


def submit_all(context: LaunchContext, state: RunState) -> RunState:
    """Submit what is left to run; returns what the state file says then.

    The file says of each array at once which jobs it has, and at the end that all is submitted. A
    launch that finds jobs without that last word cancels them: it cannot know what is missing.

    Raises
    ------
    UserError, WorkError
        When Slurm rejects a job, or does not answer: what had been submitted is cancelled then.
    """
    folder, campaign = context.folder, context.campaign
    state = replace(state, poll_seconds=float(slurm_options(campaign).poll_seconds))
    if not context.tasks:
        state = replace(state, state="complete", finished=time.time())
        folder.write_state(state)
        return state
    # What is left of an earlier launch's end would end these brokers and jobs too.
    (folder.services / STOP_FILE).unlink(missing_ok=True)
    Discovery(folder.services, state.id).reopen()
    state = replace(state, submitted=False, jobs={})
    folder.write_state(state)
    batches = make_batches(campaign, context.plan, context.tasks, scheduler.max_array_size())
    executor = SlurmExecutor(folder.folder / "logs" / "submitit")
    try:
        for batch in batches:
            context.signals.check()
            state = _submit(context, state, batch, executor)
    except BaseException:
        scheduler.cancel(live_jobs(state.id))
        folder.write_state(replace(state, state="failed", finished=time.time()))
        context.screen.event("cancelled what had been submitted", "yellow")
        raise
    state = replace(state, submitted=True)
    folder.write_state(state)
    return state


def _submit(
    context: LaunchContext, state: RunState, batch: Batch, executor: SlurmExecutor
) -> RunState:
    ids = {name: jobs[0].split("_")[0] for name, jobs in state.jobs.items()}
    works = make_works(batch, context.campaign, context.plan, state)
    jobs = executor.submit(works, parameters(batch, JobNames(state.id, state.name), ids))
    state = replace(state, jobs={**state.jobs, batch.name: tuple(jobs)})
    # A job of several brokers is one task; the last batch has none.
    for task, job in zip(batch.tasks, jobs, strict=False):
        state = state.with_task(task.name, job=job)
    context.folder.write_state(state)
    count = f", {len(jobs)} tasks" if len(jobs) > 1 else ""
    context.screen.event(f"submitted {batch.name}: job {jobs[0].split('_')[0]}{count}", "dim")
    return state


def make_works(
    batch: Batch, campaign: Campaign, plan: Plan, state: RunState
) -> Sequence[Callable[[], None]]:
    """What each array task of a batch calls on its node."""
    limit = minutes(batch.resources.time or "1")
    box = task_container(campaign)
    if batch.name == "broker":
        images = campaign.images
        secret = secrets_folder(campaign) / NAME if campaign.secured else None
        pair = (images.kafka, images.zookeeper) if campaign.in_images else None
        return [BrokerWork(campaign.broker, campaign.folder, state.id, secret, pair, limit)]
    if batch.name == "finish":
        return [FinishWork(campaign, plan, state.id, state.launched, box)]
    gpus = batch.resources.has_gpus
    return [
        Work(task, campaign.folder, state.id, plan.server, box, gpus, limit) for task in batch.tasks
    ]
