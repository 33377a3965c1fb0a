"""Shows what a campaign's jobs on Slurm do until the last one has ended."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from deeptool.errors import Terminated, WorkError
from hpc.campaign.task_container import task_container
from hpc.run.backend import LaunchContext
from hpc.run.screen import STYLES, Screen, trial_text, upload_text
from hpc.run.snapshot import Snapshot, take_snapshot
from hpc.run.state import DONE, RunState
from hpc.slurm import scheduler
from hpc.slurm.finish import FinishWork
from hpc.slurm.observe import ask_slurm, observe, read_end
from hpc.slurm.queued import live_jobs, wait_until_gone, working_jobs
from hpc.slurm.resources import slurm_options
from hpc.slurm.stop_request import DOWN, stop_reason

_STEP = 1.0
# After the last job's word, the brokers stop, and Slurm notices.
_AFTER_SECONDS = 60.0
# Why jobs wait that wait for others of the campaign: no news.
_CHAIN_REASONS = ("(None)", "(Dependency)", "(JobArrayTaskLimit)")
# How long a campaign may have no job but brokers before its last job counts as lost.
_SURE_SECONDS = 5.0


def watch_jobs(context: LaunchContext, state: RunState) -> None:
    """Show what the jobs do until the last one has ended.

    Raises
    ------
    Terminated
        When a signal ends the watching: the jobs continue.
    WorkError
        When the jobs have gone without an end.
    """
    folder, signals = context.folder, context.signals
    poll = slurm_options(context.campaign).poll_seconds
    shown: dict[str, str] = {}
    asked, jobs = 0.0, ask_slurm(state)
    try:
        while True:
            signals.check()
            if time.monotonic() - asked > poll or not asked:
                asked, jobs = time.monotonic(), ask_slurm(state)
            seen = observe(folder, state, jobs)
            snapshot = take_snapshot(folder, seen)
            _tell(context.screen, snapshot, shown)
            context.screen.show(partial(take_snapshot, folder, seen))
            if read_end(folder, state):
                break
            if jobs is not None and not working_jobs(state.id, jobs.known):
                _without_finish(context, state, snapshot)
                # Nothing that was seen of the jobs before holds any more.
                asked = 0.0
            time.sleep(_STEP)
    except Terminated:
        context.screen.event(
            f"the jobs continue: deeptool-hpc status {folder.folder}, deeptool-hpc down"
            f" {folder.folder}, or the same launch to watch them again",
            "yellow",
        )
        raise
    wait_until_gone(live_jobs(state.id), signals.check, _AFTER_SECONDS)


def _without_finish(context: LaunchContext, state: RunState, snapshot: Snapshot) -> None:
    """Write the campaign's end where its last job was lost, which would have: no broker waits on.

    Raises
    ------
    WorkError
        When the producers and trials have gone, too, without an end.
    """
    folder = context.folder
    # A job that had gone from one answer may be there in the next, and its last file be seen late.
    deadline = time.monotonic() + _SURE_SECONDS
    while time.monotonic() < deadline:
        context.signals.check()
        if read_end(folder, state):
            return
        time.sleep(_STEP)
    known = scheduler.queue()
    if working_jobs(state.id, known) or read_end(folder, state):
        return
    stopped = stop_reason(folder, state.id) == DOWN
    if not stopped and (live_jobs(state.id, known) or _all_ended(context, state)):
        (job,) = state.jobs["finish"]
        seen = known.get(job) or scheduler.history([job]).get(job)
        how = seen.words if seen is not None else "gone"
        context.screen.event(
            f"the job finish was lost (Slurm: {how}): this launch writes the report", "yellow"
        )
        box = task_container(context.campaign)
        FinishWork(context.campaign, context.plan, state.id, state.launched, box)()
        return
    if not live_jobs(state.id, known):
        _gone(context, state, snapshot)


def _all_ended(context: LaunchContext, state: RunState) -> bool:
    """Whether each producer and trial came to an end of its own."""
    tasks = observe(context.folder, state, None).tasks
    rest = [tasks[task.name] for task in context.plan.of("producer", "trial")]
    return all(task.state in DONE or task.exit_code is not None for task in rest)


def _gone(context: LaunchContext, state: RunState, snapshot: Snapshot) -> None:
    """Raise: nothing of the campaign is left in the queue."""
    folder = context.folder
    if folder.state().state == "interrupted":
        raise WorkError("the campaign was stopped: deeptool-hpc down")
    failed = [f"{row.name}: {row.note}" for row in snapshot.rows if row.state == "failed"]
    folder.write_state(replace(state, state="failed", finished=time.time()))
    raise WorkError(
        "the campaign's jobs have gone from the queue before their end",
        seen="".join(f"\n    {line}" for line in failed[:10]) or "no job is left",
        next_step=f"see {folder.folder}/logs; run the same launch again to resume",
    )


def _tell(screen: Screen, snapshot: Snapshot, shown: dict[str, str]) -> None:
    """A line for each change of a task; one for all that wait for the same reason."""
    waiting: dict[tuple[str, str], list[str]] = {}
    for row in snapshot.rows:
        now = f"{row.state} {row.note}" if row.state in ("waiting", "preempted") else row.state
        # Outdated trials do nothing, and the launch has told of them.
        if shown.get(row.name) == now or row.state == "outdated":
            continue
        shown[row.name] = now
        if row.state == "waiting":
            if row.note and not row.note.endswith(_CHAIN_REASONS):
                waiting.setdefault((row.role, row.note), []).append(row.name)
            continue
        where = f" on {row.node}" if row.node and row.state in ("running", "ready") else ""
        text = f": {row.note}" if row.note else ""
        if row.state == "complete" and row.role == "producer":
            text = f": {upload_text(row)}"
        if row.state in DONE and row.role == "trial":
            text = f": {trial_text(row)}"
        if row.state == "failed":
            screen.failed(row.name, row.note, row.log)
            continue
        style = STYLES.get(row.state, "dim") if row.state != "running" else "dim"
        screen.event(f"{row.name} {row.state}{where}{text}", style)
    for (_, note), names in waiting.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        screen.event(f"{names[0]}{more} waiting: {note}", "dim")
