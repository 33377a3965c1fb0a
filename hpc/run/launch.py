"""One launch of a campaign, on any backend: look, plan, decide, write; then the backend works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpc.broker import passwords
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, Task, broker_folder, make_plan, secrets_folder
from hpc.campaign.toml_file import dump
from hpc.processes.caught_signals import USUAL, CaughtSignals
from hpc.processes.container import Programs, installed
from hpc.run.backend import LaunchContext, Seen, backend_named
from hpc.run.decide import Earlier, Join, Refuse, Start, decide
from hpc.run.run_folder import RunFolder, new_id, own_identity
from hpc.run.screen import Screen
from hpc.run.snapshot import Snapshot, TaskRow, take_snapshot
from hpc.run.state import CLEARING, DONE, RunState, TaskState, new_task_state
from hpc.run.task_outcome import shown_result, trial_state


@dataclass(frozen=True)
class LaunchResult:
    """What a launch came to.

    Attributes
    ----------
    snapshot : Snapshot
        Every task of the campaign at the end.
    planned : frozenset of str
        Those that this launch was for: trials of earlier searches stay in the snapshot.
    report : mapping or None
        What ``deeptool report --json`` says, where there is a report.
    running : tuple of str
        What still runs although everything was to end.
    """

    snapshot: Snapshot
    planned: frozenset[str]
    report: Mapping[str, Any] | None
    running: tuple[str, ...] = ()

    @property
    def failed(self) -> list[TaskRow]:
        """The producers and trials of this launch that failed, not those of earlier searches."""
        rows = (*self.snapshot.of("producer"), *self.snapshot.of("trial"))
        return [row for row in rows if row.state == "failed" and row.name in self.planned]


def launch(
    campaign: Campaign,
    screen: Screen,
    *,
    fresh: bool = False,
    detach: bool = False,
    programs: Programs = installed,
) -> LaunchResult:
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
        Return once everything continues by itself, on a backend where it does.
    programs : callable
        What runs this project's commands.

    Raises
    ------
    Terminated
        When a signal asked for the end.
    UserError, WorkError
        When another launch is using the folder, the campaign does not fit what is there, or a
        producer or the broker fails.
    """
    backend = backend_named(campaign.backend)
    signals = CaughtSignals(*USUAL)
    folder = RunFolder(campaign.folder)
    with folder.locked(), signals.caught():
        earlier = _look(folder, campaign.backend, fresh)
        # The same id once more: the owner of its uploads, even where nothing else of it is left.
        run_id = new_id() if earlier is None else earlier.state.id
        kept = None if earlier is None or fresh or earlier.state.state == CLEARING else earlier
        plan = make_plan(campaign, run_id, kept.indices() if kept else {})
        decision = decide(earlier, plan, dump(campaign), backend.traits.watch_keys, fresh=fresh)
        if isinstance(decision, Refuse):
            raise decision.error()
        if isinstance(decision, Join):
            context = LaunchContext(campaign, plan, (), folder, screen, signals, programs)
            state = decision.state
            screen.event("the jobs are in the queue already: watching them", "dim")
            _say_changes(screen, "these changes do not reach them", decision.unapplied)
        else:
            backend.check(campaign, screen)
            _say_changes(screen, "changed since the earlier launch", decision.changed)
            if earlier is not None and decision.end:
                _end(earlier.state, decision.end, folder, screen, signals)
                # Something of it may have been completed before it ended.
                kept = kept and _look(folder, campaign.backend, fresh)
            state, tasks = _new_state(campaign, plan, kept, folder, run_id)
            context = LaunchContext(campaign, plan, tasks, folder, screen, signals, programs)
            _write(context, state, clear=decision.clear)
        with screen:
            if isinstance(decision, Start):
                state = backend.start(context, state)
            # Where nothing was left to run, all is said already.
            if not detach and (isinstance(decision, Join) or state.state == "running"):
                backend.watch(context, state)
        report, running = (None, ()) if detach else backend.finish(context)
        planned = frozenset(task.name for task in plan.tasks)
        return LaunchResult(take_snapshot(folder), planned, report, running)


def _look(folder: RunFolder, backend: str, fresh: bool) -> Earlier | None:
    """What earlier launches left in the folder, None where nothing was launched yet."""
    state = folder.read_state()
    if state is None:
        return None
    seen = Seen(state)
    if state.backend == backend or fresh:
        # Else it is rejected anyway, perhaps on a machine that cannot reach that backend.
        seen = backend_named(state.backend).look(folder, state)
    begun = {
        name for name, task in seen.state.of("trial").items() if folder.holds_trial(task.index)
    }
    return Earlier(state, folder.read_campaign(), seen, frozenset(begun))


def _end(
    state: RunState,
    live: tuple[str, ...],
    folder: RunFolder,
    screen: Screen,
    signals: CaughtSignals,
) -> None:
    """End what an earlier launch left running, where that runs."""
    screen.event(f"stopping what an earlier launch left: {_few(live)}", "yellow")
    backend_named(state.backend).end_earlier(folder, state, signals.check)


def _new_state(
    campaign: Campaign, plan: Plan, kept: Earlier | None, folder: RunFolder, run_id: str
) -> tuple[RunState, tuple[Task, ...]]:
    """What the state file is to say before anything of this launch begins, and what is to run."""
    now = time.time()
    before = kept.seen.state if kept else None
    planned = {task.name: task for task in plan.tasks}
    tasks: dict[str, TaskState] = {}
    if kept is not None:
        # Trials of earlier launches stay in the tables, and in the report: a search may grow.
        for name, known in kept.seen.state.of("trial").items():
            if name not in planned and (known.start is not None or name in kept.begun):
                tasks[name] = replace(known, job="")
    for name, task in planned.items():
        seen = before.tasks.get(name) if before else None
        if seen is not None and seen.state in DONE and task.role != "broker":
            tasks[name] = replace(seen, job="")
        else:
            tasks[name] = _ended_alone(folder, task, kept) or new_task_state(task)
    complete = [task.name for task in plan.of("trial") if tasks[task.name].state in DONE]
    needed = plan.needed(complete)
    for task in needed:
        tasks[task.name] = new_task_state(task, again=tasks[task.name].state == "complete")
    state = RunState(
        name=campaign.name,
        backend=campaign.backend,
        id=run_id,
        launch=own_identity(),
        state="running",
        started=before.started if before else now,
        launched=now,
        tasks=tasks,
        server=plan.server,
        broker=before.broker if before and plan.server is None else None,
        uploads=before.uploads if before else (),
    )
    return state, needed


def _ended_alone(folder: RunFolder, task: Task, kept: Earlier | None) -> TaskState | None:
    """A trial that was completed after its launch had been killed, so that nobody noted it."""
    if task.role != "trial" or kept is None:
        return None
    result = folder.result(task.index)
    if result.get("status") not in DONE:
        return None
    return replace(
        new_task_state(task),
        state=trial_state(result),
        start=result["started"],
        end=result["finished"],
        result=shown_result(result),
    )


def _write(context: LaunchContext, state: RunState, *, clear: bool) -> None:
    """Say in the run folder what is launched: whatever was there has ended.

    After each of these writes the launch may be killed. The next one then finds the state of the
    earlier launch, with all that it had done, or that of this one, in which nothing has begun.
    """
    campaign, plan, folder = context.campaign, context.plan, context.folder
    if clear:
        own = broker_folder(campaign).is_relative_to(folder.folder)
        cleared = replace(state, state=CLEARING, tasks={}, broker=None, uploads=())
        folder.clear(cleared, *([broker_folder(campaign)] if own else []))
    if campaign.secured:
        passwords.write_client_properties(passwords.create(secrets_folder(campaign)))
    values = {**asdict(plan), "run_dir": str(folder.folder)}
    values["client_properties"] = str(plan.client_properties or "") or None
    folder.write_launch(dump(campaign), values)
    folder.write_state(state)
    folder.prepare(plan.tasks)
    for task in context.tasks:
        folder.forget(task.name)
    trials = plan.of("trial")
    complete = sum(state.tasks[task.name].state in DONE for task in trials)
    if complete:
        context.screen.event(f"{complete} of {len(trials)} trials are complete")


def _say_changes(screen: Screen, what: str, changed: Mapping[str, str]) -> None:
    if changed:
        lines = "".join(f"\n    {key}: {values}" for key, values in changed.items())
        screen.event(f"{what}:{lines}", "yellow")


def _few(names: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
