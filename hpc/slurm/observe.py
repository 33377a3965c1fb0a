"""How a campaign on Slurm is doing: what its files and the queue say, as the state of its tasks."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deeptool.errors import WorkError
from deeptool.files import read_json
from hpc.broker.discovery import Descriptor, Discovery
from hpc.processes.record import JobRecord, read_job_record
from hpc.processes.versioned import known, read_versioned, said, versioned
from hpc.run.run_folder import RunFolder
from hpc.run.state import DONE, RunState, TaskState
from hpc.run.task_outcome import failure_note, read_outcome, shown_result, trial_state, upload_note
from hpc.slurm import scheduler
from hpc.slurm.scheduler import Queued

_FORMAT = 1
_LIVE = ("running", "ready")
# What Slurm ends has these states here, all else has failed.
_TAKEN = {
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "lost",
    "BOOT_FAIL": "lost",
}
# The exit codes of processes that were asked to end; by USR2 Slurm warns them, too.
_SIGNALLED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2))
_BROKER_STATES = {"starting": "running", "draining": "running", "stopped": "complete"}


@dataclass(frozen=True)
class Jobs:
    """What Slurm knew of a campaign's jobs when it was asked (Unix time)."""

    asked: float
    known: Mapping[str, Queued]

    def seen(self, job: str, since: float = 0.0) -> Queued | None:
        """A job, unless it has said something of itself after Slurm was asked."""
        return None if not job or since > self.asked else self.known.get(job)


@dataclass(frozen=True)
class CampaignEnd:
    """How a launch ended, as its last job says it in ``done.json``.

    Attributes
    ----------
    launched : float
        Which launch: `hpc.run.state.RunState.launched`.
    state : str
        ``complete`` or ``failed``.
    finished : float
        Unix time.
    uploads : tuple of mapping
        The campaign's datasets, as ``deeptool inspect --json`` has them.
    notes : tuple of str
        What of the last job's own work has failed.
    reported : bool
        Whether there is a report.
    """

    launched: float
    state: str
    finished: float
    uploads: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    reported: bool = False


def observe(run: RunFolder, state: RunState, jobs: Jobs | None) -> RunState:
    """The state of a campaign whose jobs are on Slurm.

    Parameters
    ----------
    run : RunFolder
        Its folder: records, progress, results, descriptors.
    state : RunState
        What the state file says: how it was after the submission.
    jobs : Jobs, optional
        What Slurm knows of its jobs; None where it was not asked, and the files alone count.
    """
    discovery = Discovery(run.services, state.id)
    first = discovery.read()
    tasks = {
        name: _broker(task, first, jobs) if task.role == "broker" else _task(run, name, task, jobs)
        for name, task in state.tasks.items()
    }
    state = replace(state, server=state.server or discovery.servers(), tasks=tasks)
    if end := read_end(run, state):
        return replace(state, state=end.state, finished=end.finished, uploads=end.uploads)
    return state


def read_end(run: RunFolder, state: RunState) -> CampaignEnd | None:
    """How the launch ended, once its last job has said so."""
    end = read_versioned(run.done_file, "campaign", _FORMAT, _campaign_end)
    return end if end is not None and end.launched == state.launched else None


def _campaign_end(values: dict[str, Any]) -> CampaignEnd:
    lists = {key: tuple(values.get(key, ())) for key in ("uploads", "notes")}
    return known(CampaignEnd, {**values, **lists})


def write_end(run: RunFolder, end: CampaignEnd) -> None:
    """Say how a launch ended."""
    run.write_done(versioned("campaign", _FORMAT, said(end)))


def ask_slurm(state: RunState) -> Jobs | None:
    """What Slurm knows of a campaign's jobs: the queue, then the accounting; None: no answer."""
    ids = {task.job for task in state.tasks.values() if task.job}
    ids |= {job for jobs in state.jobs.values() for job in jobs}
    asked = time.time()
    try:
        queue = scheduler.queue()
    except WorkError:
        return None
    found = {job: queue[job] for job in ids if job in queue}
    gone = sorted({job.split("_")[0] for job in ids - found.keys()})
    ended = {job: seen for job, seen in scheduler.history(gone).items() if job in ids}
    return Jobs(asked, {**ended, **found})


def _task(run: RunFolder, name: str, task: TaskState, jobs: Jobs | None) -> TaskState:
    record = read_job_record(run.record(name))
    if record is not None and (not task.job or record.job not in ("", task.job)):
        # Complete already, or of an earlier launch.
        record = record if task.state in DONE else None
    since = (record.end or record.start or 0.0) if record else 0.0
    seen = jobs.seen(task.job, since) if jobs else None
    observed = _with_facts(run, task, record) if record else task
    ended = record is not None and record.exit_code is not None
    gone = jobs is not None and since <= jobs.asked and task.job not in jobs.known
    if record and record.requeued and not gone and (seen is None or seen.live):
        return _again(observed, record, seen)
    if record and ended and not (seen and seen.live and seen.state != "COMPLETING"):
        if record.exit_code in _SIGNALLED and seen is not None and seen.state in _TAKEN:
            return _taken(observed, seen)
        outcome = read_outcome(run.outcome(name), record)
        note = upload_note(outcome) if record.exit_code == 0 else failure_note(record, outcome)
        return replace(observed, state=_ended(observed), note=note)
    if seen is not None and seen.state in scheduler.WAITING:
        again = " again" if record else ""
        note = f"queued{again} ({seen.reason})"
        return replace(task, state="waiting", note=note, runs=observed.runs)
    if seen is not None and not seen.live:
        return _taken(observed, seen)
    if record is not None:
        note = f"on {record.node}, waiting {record.waiting}" if record.waiting else ""
        return replace(observed, state="running", note=note)
    if jobs is not None and task.job and task.job not in jobs.known:
        return replace(task, state="failed", note="its job has gone, and left no record")
    return task


def _taken(task: TaskState, seen: Queued) -> TaskState:
    """A task whose job Slurm has ended."""
    where = f" on {seen.nodes}" if seen.nodes else ""
    state = _TAKEN.get(seen.state, "failed")
    return replace(task, state=state, note=f"Slurm: {seen.words}{where}")


def _again(task: TaskState, record: JobRecord, seen: Queued | None) -> TaskState:
    """A task whose job Slurm was asked to start again, and has not yet."""
    waits = seen is not None and seen.state in scheduler.WAITING
    then = f"queued again ({seen.reason})" if seen and waits else "Slurm starts it again"
    if record.requeued == "preempted":
        return replace(task, state="preempted", note=f"on {record.node}: {then}")
    return replace(task, state="waiting", note=f"its walltime ended: {then}")


def _with_facts(run: RunFolder, task: TaskState, record: JobRecord) -> TaskState:
    """The task, with what its job's record and its own files say."""
    names = ("start", "end", "exit_code", "cpu_seconds", "node", "devices", "runs", "restarts")
    facts: dict[str, Any] = {key: getattr(record, key) for key in names}
    if task.role in ("producer", "trial"):
        facts["progress"] = read_json(run.progress_file(task.role, task.index))
    if task.role == "trial":
        result = run.result(task.index)
        facts["result"] = shown_result(result) if result else {}
    return replace(task, **facts)


def _ended(task: TaskState) -> str:
    if task.exit_code == 0:
        return "complete" if task.role != "trial" else trial_state(task.result or {})
    # Asked to end: what it has done so far is kept.
    return "interrupted" if task.exit_code in _SIGNALLED else "failed"


def _broker(task: TaskState, first: Descriptor | None, jobs: Jobs | None) -> TaskState:
    own = first if first is not None and first.job == task.job else None
    seen = jobs.seen(task.job, own.heartbeat if own else 0.0) if jobs else None
    if own is None:
        if seen is not None and seen.state in scheduler.WAITING:
            return replace(task, state="waiting", note=f"queued ({seen.reason})")
        if seen is not None and not seen.live:
            return _taken(task, seen)
        return replace(task, state="running") if seen is not None else task
    state = _BROKER_STATES.get(own.state, own.state)
    note = own.note if own.state in ("failed", "stopped", "draining") else ""
    if own.dead(time.time()) or (seen is not None and not seen.live and state in _LIVE):
        state, note = "failed", f"no heartbeat any more; node {own.host}"
    if seen is not None and seen.state in scheduler.WAITING:
        state, note = "waiting", f"queued again ({seen.reason})"
    return replace(
        task,
        state=state,
        note=note,
        node=own.host,
        start=own.started,
        cpu_seconds=own.cpu_seconds,
        end=own.heartbeat if state in ("complete", "failed") else None,
    )
