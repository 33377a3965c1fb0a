"""One launch of a campaign, on any backend: look, plan, decide, write; then the backend works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hpc.broker import passwords
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import broker_folder, secrets_folder
from hpc.campaign.toml_file import dump
from hpc.processes.caught_signals import USUAL, CaughtSignals
from hpc.processes.container import Programs, installed
from hpc.run.backend import LaunchContext, backend_named
from hpc.run.decide import Join, Refuse, Start
from hpc.run.new_state import never_began, new_state, said_of_kept
from hpc.run.preparation import LaunchOptions, Prepared, looked_again, prepare
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.snapshot import Snapshot, TaskRow, take_snapshot
from hpc.run.state import CLEARING, UNSUCCESSFUL, RunState

_PLAIN = LaunchOptions()


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
        """This launch's producers and trials that came to no result, not earlier searches'."""
        rows = (*self.snapshot.of("producer"), *self.snapshot.of("trial"))
        return [row for row in rows if row.state in UNSUCCESSFUL and row.name in self.planned]


def launch(
    campaign: Campaign,
    screen: Screen,
    options: LaunchOptions = _PLAIN,
    programs: Programs = installed,
) -> LaunchResult:
    """Run a campaign, or what an interrupted launch of it has left to do.

    Parameters
    ----------
    campaign : Campaign
        What to run.
    screen : Screen
        Where events and state are shown.
    options : LaunchOptions
        What the command line says besides.
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
        with TemporaryDirectory(prefix="deeptool-launch-") as copies:
            screen.event("looking at what the samples and the trials depend on", "dim")
            prepared = prepare(
                *(campaign, folder, options, Path(copies)), programs=programs, check=signals.check
            )
            plan, decision = prepared.plan, prepared.decision
            if isinstance(decision, Refuse):
                raise decision.error()
            for warning in prepared.found.warnings:
                screen.event(warning, "yellow")
            context = LaunchContext(campaign, plan, (), folder, screen, signals, programs)
            if isinstance(decision, Join):
                state = decision.state
                screen.event("the jobs are in the queue already: watching them", "dim")
                _say_changes(screen, "these changes do not reach them", decision.unapplied)
            else:
                context, state = _begin(context, prepared, decision)
        with screen:
            if isinstance(decision, Start):
                state = backend.start(context, state)
            # Where nothing was left to run, all is said already.
            if not options.detach and (isinstance(decision, Join) or state.state == "running"):
                backend.watch(context, state)
        report, running = (None, ()) if options.detach else backend.finish(context)
        planned = frozenset(task.name for task in plan.tasks)
        return LaunchResult(take_snapshot(folder), planned, report, running)


def _begin(
    context: LaunchContext, prepared: Prepared, decision: Start
) -> tuple[LaunchContext, RunState]:
    """End what is left of an earlier launch, and write what is launched."""
    campaign, folder, screen = context.campaign, context.folder, context.screen
    backend_named(campaign.backend).check(campaign, screen)
    _say_changes(screen, "changed since the earlier launch", decision.changed)
    if prepared.earlier is not None and decision.end:
        _end(prepared.earlier.state, decision.end, folder, screen, context.signals)
        prepared = looked_again(prepared, folder, campaign.backend)
    state, tasks = new_state(campaign, prepared, folder)
    context = replace(context, tasks=tasks)
    _write(context, prepared, state, clear=decision.clear)
    for line in said_of_kept(prepared, state, tasks):
        screen.event(line)
    return context, state


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


def _write(context: LaunchContext, prepared: Prepared, state: RunState, *, clear: bool) -> None:
    """Say in the run folder what is launched: whatever was there has ended.

    After each of these writes the launch may be killed. The next one then finds the state of the
    earlier launch, with all that it had done, or that of this one, in which nothing has begun.
    """
    campaign, plan, folder = context.campaign, context.plan, context.folder
    if clear:
        own = broker_folder(campaign).is_relative_to(folder.folder)
        cleared = replace(
            state, state=CLEARING, tasks={}, broker=None, uploads=(), versions={}, session=""
        )
        folder.clear(cleared, *([broker_folder(campaign)] if own else []))
    if campaign.secured:
        passwords.write_client_properties(passwords.create(secrets_folder(campaign)))
    if context.tasks and prepared.found.code is not None:
        folder.keep_code(prepared.found.code, prepared.code)
    values = {**asdict(plan), "run_dir": str(folder.folder)}
    values["client_properties"] = str(plan.client_properties or "") or None
    folder.write_launch(dump(campaign), values)
    for index in never_began(state, prepared.kept):
        folder.remove_trial(index)
    trials = state.of("trial").values()
    folder.write_outdated({task.index: task.outdated for task in trials if task.outdated})
    folder.write_state(state)
    folder.prepare(plan.tasks)
    for task in context.tasks:
        folder.forget(task.name)


def _say_changes(screen: Screen, what: str, changed: Mapping[str, str]) -> None:
    if changed:
        lines = "".join(f"\n    {key}: {values}" for key, values in changed.items())
        screen.event(f"{what}:{lines}", "yellow")


def _few(names: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
