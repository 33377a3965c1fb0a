"""How a campaign on Slurm is doing: what its files and the queue say, as the state of its tasks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.errors import WorkError
from deeptool.files import read_json
from hpc.broker.discovery import Descriptor, Discovery
from hpc.processes.job import read_record
from hpc.run.outcome import shown_result, upload_note
from hpc.run.run_folder import RunFolder
from hpc.slurm import scheduler
from hpc.slurm.scheduler import Queued


@dataclass(frozen=True)
class Jobs:
    """What Slurm knew of a campaign's jobs when it was asked (Unix time)."""

    asked: float
    known: Mapping[str, Queued]

    def seen(self, job: str | None, since: float = 0.0) -> Queued | None:
        """A job, unless it has said something of itself after Slurm was asked."""
        return None if job is None or since > self.asked else self.known.get(job)


_LIVE = ("running", "ready")
_BROKER_STATES = {"starting": "running", "draining": "running", "stopped": "complete"}


def observe(run: RunFolder, state: Mapping[str, Any], jobs: Jobs | None) -> dict[str, Any]:
    """The state of a campaign whose jobs are on Slurm.

    Parameters
    ----------
    run : RunFolder
        Its folder: records, progress, results, descriptors.
    state : mapping
        The state file's values, as they were after the submission.
    jobs : mapping, optional
        What Slurm knows of its jobs; None where it was not asked, and the files alone count.
    """
    discovery = Discovery(run.services, state["id"])
    first = discovery.read()
    tasks = {}
    for name, task in state["tasks"].items():
        if task["role"] == "broker":
            tasks[name] = task | _broker(task, first, jobs)
        else:
            tasks[name] = task | _task(run, name, task, jobs)
    done = read_done(run, state)
    ends = {key: done[key] for key in ("state", "finished", "uploads")} if done else {}
    return {**state, "server": state["server"] or discovery.servers(), "tasks": tasks, **ends}


def read_done(run: RunFolder, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the launch ended, once its last job has said so."""
    done: dict[str, Any] | None = read_json(run.done_file)
    return done if done and done["launched"] == state["launched"] else None


def ask_slurm(state: Mapping[str, Any]) -> Jobs | None:
    """What Slurm knows of a campaign's jobs: the queue, then the accounting; None: no answer."""
    ids = {task["job"] for task in state["tasks"].values() if task.get("job")}
    ids |= {job for jobs in state.get("jobs", {}).values() for job in jobs}
    asked = time.time()
    try:
        queue = scheduler.queue()
    except WorkError:
        return None
    found = {job: queue[job] for job in ids if job in queue}
    gone = sorted({job.split("_")[0] for job in ids - found.keys()})
    ended = {job: seen for job, seen in scheduler.history(gone).items() if job in ids}
    return Jobs(asked, {**ended, **found})


def _task(run: RunFolder, name: str, task: Mapping[str, Any], jobs: Jobs | None) -> dict[str, Any]:
    record = read_record(run.record(name))
    job = task.get("job")
    if job is None or record.get("job") not in (None, job):
        # Complete already, or of an earlier launch.
        record = record if task["state"] == "complete" else {}
    seen = jobs.seen(job, record.get("end") or record.get("start", 0.0)) if jobs else None
    facts = _facts(run, task, record)
    if "exit_code" in record and not (seen and seen.live and seen.state != "COMPLETING"):
        return facts | {"state": _ended(task, record, facts), "note": _note(record, facts)}
    if seen is not None and seen.state in scheduler.WAITING:
        again = " again" if record else ""
        known = {"runs": facts["runs"]} if "runs" in facts else {}
        return {**known, "state": "waiting", "note": f"queued{again} ({seen.reason})"}
    if seen is not None and not seen.live:
        how = seen.state.lower().replace("_", " ")
        where = f" on {seen.nodes}" if seen.nodes else ""
        return facts | {"state": "failed", "note": f"Slurm: {how}{where}"}
    if record:
        waiting = record.get("waiting")
        node = f"on {record['node']}"
        return facts | {"state": "running", "note": f"{node}, waiting {waiting}" if waiting else ""}
    if jobs is not None and job and job not in jobs.known:
        return {"state": "failed", "note": "its job has gone, and left no record"}
    return {}


def _facts(run: RunFolder, task: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    known = ("start", "end", "exit_code", "cpu_seconds", "node", "devices", "runs", "restarts")
    facts = {key: record[key] for key in known if record.get(key) is not None}
    if not record:
        return facts
    if task["role"] in ("producer", "trial"):
        facts["progress"] = read_json(run.progress_file(task["role"], task["index"]))
    if task["role"] == "trial":
        result = read_json(run.trial(task["index"]) / "result.json") or {}
        facts["result"] = shown_result(result) if result else {}
    return facts


def _ended(task: Mapping[str, Any], record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if record["exit_code"] == 0:
        whole = task["role"] != "trial" or facts["result"].get("status") == "complete"
        return "complete" if whole else "failed"
    return "interrupted" if record["exit_code"] in (130, 143) else "failed"


def _note(record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    tail = record.get("tail") or []
    if record["exit_code"] == 0:
        return upload_note(tail)
    errors = [line for line in tail if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else f"exit code {record['exit_code']}"


def _broker(task: Mapping[str, Any], first: Descriptor | None, jobs: Jobs | None) -> dict[str, Any]:
    job = task.get("job")
    said = first.heartbeat if first is not None and first.job == job else 0.0
    seen = jobs.seen(job, said) if jobs else None
    if first is None or first.job != job:
        if seen is not None and seen.state in scheduler.WAITING:
            return {"state": "waiting", "note": f"queued ({seen.reason})"}
        if seen is not None and not seen.live:
            return {"state": "failed", "note": f"Slurm: {seen.state.lower()}"}
        return {"state": "running"} if seen is not None else {}
    state = _BROKER_STATES.get(first.state, first.state)
    note = first.note if first.state in ("failed", "stopped", "draining") else ""
    if first.dead(time.time()) or (seen is not None and not seen.live and state in _LIVE):
        state, note = "failed", f"not heard of since its last sign of life; node {first.host}"
    if seen is not None and seen.state in scheduler.WAITING:
        state, note = "waiting", f"queued again ({seen.reason})"
    facts = {"state": state, "note": note, "node": first.host, "start": first.started}
    facts["cpu_seconds"] = first.cpu_seconds
    return facts | ({"end": first.heartbeat} if state in ("complete", "failed") else {})
