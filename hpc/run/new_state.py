"""The state that a launch begins with: what is kept, what is outdated, and what is to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from hpc.campaign.definition import Campaign
from hpc.campaign.task import Task
from hpc.campaign.versions import sample_changes
from hpc.run.decide import Earlier, why_outdated
from hpc.run.preparation import Prepared
from hpc.run.run_folder import RunFolder, own_identity
from hpc.run.state import DONE, RunState, TaskState, new_task_state
from hpc.run.task_outcome import shown_result, trial_state


def new_state(
    campaign: Campaign, prepared: Prepared, folder: RunFolder
) -> tuple[RunState, tuple[Task, ...]]:
    """What the state file is to say before anything of this launch begins, and what is to run."""
    now = time.time()
    plan, kept = prepared.plan, prepared.kept
    before = kept.seen.state if kept else None
    planned = {task.name: task for task in plan.tasks}
    tasks: dict[str, TaskState] = {}
    if kept is not None:
        # Trials of earlier launches stay in the tables, and in the report: a search may grow.
        for name, known in kept.seen.state.of("trial").items():
            if name not in planned and kept.has_begun(name):
                outdated = why_outdated(known, prepared.found.versions, prepared.under)
                tasks[name] = replace(_ended(folder, known, kept), outdated=outdated, job="")
    for name, task in planned.items():
        seen = before.tasks.get(name) if before else None
        fresh = new_task_state(task, under=prepared.under)
        if seen is not None and seen.state in DONE and task.role != "broker":
            tasks[name] = replace(seen, outdated="", job="")
        elif kept is not None and name in kept.done:
            tasks[name] = _ended(folder, fresh, kept)
        else:
            tasks[name] = fresh
    done = [task.name for task in plan.of("trial") if tasks[task.name].state in DONE]
    needed = plan.needed(done)
    for task in needed:
        again = tasks[task.name].state in DONE
        tasks[task.name] = new_task_state(task, under=prepared.under, again=again)
    state = RunState(
        name=campaign.name,
        backend=campaign.backend,
        id=prepared.run_id,
        launch=own_identity(),
        state="running",
        started=before.started if before else now,
        launched=now,
        tasks=tasks,
        server=plan.server,
        broker=before.broker if before and plan.server is None else None,
        session=prepared.found.session,
        versions=prepared.found.versions.blobs,
        uploads=before.uploads if before else (),
    )
    return state, needed


def _ended(folder: RunFolder, task: TaskState, kept: Earlier) -> TaskState:
    """A trial of a launch that has ended, which may have been killed before it noted that."""
    if f"trial-{task.index}" not in kept.done:
        return replace(task, state="interrupted") if task.state == "running" else task
    result = folder.result(task.index)
    return replace(
        task,
        state=trial_state(result),
        start=result["started"],
        end=result["finished"],
        result=shown_result(result),
    )


def never_began(state: RunState, kept: Earlier | None) -> tuple[int, ...]:
    """The indices of earlier launches' trials that are dropped: nothing of them was done."""
    trials = kept.state.of("trial") if kept else {}
    return tuple(task.index for name, task in trials.items() if name not in state.tasks)


def said_of_kept(prepared: Prepared, state: RunState, needed: tuple[Task, ...]) -> Iterator[str]:
    """What a launch says of what earlier ones left: complete, outdated, stored from other code."""
    trials = prepared.plan.of("trial")
    done = sum(state.tasks[task.name].state in DONE for task in trials)
    if done:
        yield f"{done} of {len(trials)} trials are complete"
    for why, names in _outdated(state).items():
        yield f"outdated trials of earlier launches: {', '.join(names)} ({why})"
    running = {task.name for task in needed}
    for name, why in _other_uploads(prepared):
        if name in running:
            yield f"{name} uploads again, and deletes what it stored before: {why}"
        else:
            yield (
                f"what {name} stored last is of other code, and stays until a trial needs what it"
                f" would store now: {why}"
            )


def _outdated(state: RunState) -> dict[str, list[str]]:
    """Why -> the trials that are outdated for that reason."""
    found: dict[str, list[str]] = {}
    for name, task in state.of("trial").items():
        if task.outdated:
            found.setdefault(task.outdated, []).append(name)
    return found


def _other_uploads(prepared: Prepared) -> Iterator[tuple[str, str]]:
    """The producers whose last upload was made from other samples than they would store now."""
    versions = prepared.found.versions
    for task in prepared.plan.of("producer"):
        seen = prepared.kept.seen.state.tasks.get(task.name) if prepared.kept else None
        if seen is None or seen.state != "complete" or seen.version not in versions.blobs:
            continue
        why = sample_changes(versions.blobs[seen.version], versions.blobs[task.version])
        if why:
            yield task.name, why
