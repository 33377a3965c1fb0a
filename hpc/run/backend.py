"""What a backend is: where the processes of a campaign run, and how they are watched and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hpc.backends import load_backend
from hpc.campaign.backend_traits import BackendTraits
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.campaign.task import Task
from hpc.processes.caught_signals import CaughtSignals
from hpc.processes.container import Programs
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.state import RunState


@dataclass(frozen=True)
class LaunchContext:
    """What a launch has settled before its backend is asked to do anything.

    Attributes
    ----------
    campaign, plan
        What is launched.
    tasks : tuple of Task
        What of the plan is left to run.
    folder : RunFolder
        Locked by this launch.
    screen : Screen
        Where events and state are shown.
    signals : CaughtSignals
        What asks the launch to end: to be checked often.
    programs : callable
        What runs this project's commands.
    """

    campaign: Campaign
    plan: Plan
    tasks: tuple[Task, ...]
    folder: RunFolder
    screen: Screen
    signals: CaughtSignals
    programs: Programs


@dataclass(frozen=True)
class Seen:
    """What a backend sees of an earlier launch.

    Attributes
    ----------
    state : RunState
        The state file's values as they are now.
    live : tuple of str
        What of it still runs, or is queued, in the backend's own names.
    continues : bool
        Whether all of it was begun and continues without its launch, to be watched by another one.
    """

    state: RunState
    live: tuple[str, ...] = ()
    continues: bool = False


@dataclass(frozen=True)
class Stopped:
    """What became of what ran when it was to end.

    Attributes
    ----------
    ended : tuple of str
        What was stopped.
    remaining : tuple of str
        What did not end even so.
    """

    ended: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


class Backend(Protocol):
    """A place where campaigns run; a module named in `hpc.backends.BACKENDS` has one as BACKEND.

    A launch decides first (`hpc.run.decide`), then writes, and only then calls `start`. A backend
    writes to the run folder in `end_earlier`, `start`, `watch`, `finish` and `down` alone.
    """

    @property
    def traits(self) -> BackendTraits:
        """Its defaults and abilities."""

    def render(self, campaign: Campaign, plan: Plan) -> str:
        """All that a launch would run, as text; asks and changes nothing."""

    def observe(self, folder: RunFolder, state: RunState, *, ask: bool = True) -> RunState:
        """How a campaign is doing now.

        Parameters
        ----------
        folder : RunFolder
            Its folder.
        state : RunState
            What the state file says.
        ask : bool
            Whether to ask the batch system too, where there is one.
        """

    def look(self, folder: RunFolder, state: RunState) -> Seen:
        """What the launch that left `state` has done, and what of it is still there.

        Raises
        ------
        UserError, WorkError
            When that cannot be found out from this machine, or now.
        """

    def check(self, campaign: Campaign, screen: Screen) -> None:
        """See, before anything is changed, that what a launch needs is there.

        Raises
        ------
        UserError, WorkError
            When it is not.
        """

    def end_earlier(self, folder: RunFolder, state: RunState, check: Callable[[], None]) -> None:
        """End what an earlier launch left running, and wait for that; `check` is called often."""

    def start(self, context: LaunchContext, state: RunState) -> RunState:
        """Begin all that can continue without the launch, and record it in the state file.

        Parameters
        ----------
        context : LaunchContext
            What is launched.
        state : RunState
            What the state file says: nothing of this launch has begun.

        Returns
        -------
        RunState
            What the state file says then.
        """

    def watch(self, context: LaunchContext, state: RunState) -> None:
        """Stay until everything has ended, running what needs the launch to run it.

        Raises
        ------
        Terminated
            When a signal ends it.
        UserError, WorkError
            When the broker or a producer has failed.
        """

    def finish(self, context: LaunchContext) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
        """After `watch`: the report's values, if there is one, and what still runs."""

    def down(self, folder: RunFolder, state: RunState) -> Stopped:
        """End everything of a campaign, its launch included, and nothing else."""


def backend_named(name: str) -> Backend:
    """The backend of a name.

    Raises
    ------
    UserError
        When there is none.
    """
    backend: Backend = load_backend(name)
    return backend
