"""What a launch does about what earlier ones left: decided before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deeptool.errors import UserError
from hpc.backends import BACKENDS
from hpc.campaign.plan import Plan, trial_key
from hpc.campaign.toml_file import differences
from hpc.run.backend import Seen
from hpc.run.state import CLEARING, RunState

# What may change between two launches although trials are there. Hparams, those of the data
# included, say which trial it is; the rest of these does not matter to what a trial comes to.
_FREE = (
    *("name", "run_dir", "report", "hparams.", "broker.", "images."),
    *("producers.variants", "producers.replace", "producers.partitions", "producers.compression"),
    *("trials.grid.", "trials.list", "trials.random.", "trials.max_parallel"),
)
# What may change while the jobs of an earlier launch are there, which never see the change.
_NOT_FOR_JOBS = ("name", "run_dir", "report")


@dataclass(frozen=True)
class Earlier:
    """What earlier launches left in a run folder.

    Attributes
    ----------
    state : RunState
        What the state file says.
    campaign : mapping
        What was launched last: `hpc.campaign.toml_file.dump`.
    seen : Seen
        What the backend sees of it.
    begun : frozenset of str
        The trials whose folders hold something that would be kept, or continued.
    """

    state: RunState
    campaign: Mapping[str, Any]
    seen: Seen
    begun: frozenset[str] = frozenset()

    def indices(self) -> dict[str, int]:
        """`hpc.campaign.plan.trial_key` -> index of the trials that are known."""
        trials = self.state.of("trial").values()
        return {trial_key(task.hparams, task.proc_id): task.index for task in trials}


@dataclass(frozen=True)
class Join:
    """Everything is queued or runs already: watch it, and write nothing.

    Attributes
    ----------
    state : RunState
        What the state file says. It is not written.
    unapplied : mapping
        Changed key -> old and new value: what the jobs do not see of this launch's campaign.
    """

    state: RunState
    unapplied: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Begin, or continue where the earlier launch was.

    Attributes
    ----------
    clear : bool
        Delete first what earlier launches left.
    end : tuple of str
        What still runs and has to end before that.
    changed : mapping
        Changed key -> old and new value.
    """

    clear: bool = False
    end: tuple[str, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuse:
    """Reject the launch: nothing is written, nothing is stopped."""

    what: str
    seen: str
    next_step: str

    def error(self) -> UserError:
        return UserError(self.what, seen=self.seen, next_step=self.next_step)


def decide(
    earlier: Earlier | None,
    plan: Plan,
    campaign: Mapping[str, Any],
    watch_keys: tuple[str, ...] = (),
    *,
    fresh: bool = False,
) -> Join | Start | Refuse:
    """What a launch is to do. Nothing is read or written here.

    Parameters
    ----------
    earlier : Earlier or None
        What is there; None: nothing was launched there yet.
    plan : Plan
        What is to be launched, with the indices of the trials that are known.
    campaign : mapping
        The campaign of the plan: `hpc.campaign.toml_file.dump`.
    watch_keys : tuple of str
        `hpc.campaign.backend_traits.BackendTraits.watch_keys` of its backend.
    fresh : bool
        Whether the user wants to delete what is there.
    """
    if earlier is None:
        return Start(clear=fresh)
    live = earlier.seen.live
    if fresh or earlier.state.state == CLEARING:
        return Start(clear=True, end=live)
    backend = str(campaign["backend"])
    if earlier.state.backend != backend:
        return Refuse(
            "this run folder belongs to a launch on another backend",
            seen=f"{plan.run_dir}: {earlier.state.backend}",
            next_step="another folder: --run-dir DIR, or --fresh to delete what is there",
        )
    changed = differences(earlier.campaign, campaign) if earlier.campaign else {}
    if live and earlier.seen.continues:
        watched = tuple(f"{backend}.{key}" for key in watch_keys)
        return _join(earlier, plan, {k: v for k, v in changed.items() if k not in watched})
    tables = tuple(f"{name}." for name in BACKENDS)
    if earlier.begun and not all(key.startswith((*_FREE, *tables)) for key in changed):
        return Refuse(
            f"{len(earlier.begun)} trials of this run folder were made under another campaign",
            seen=_lines(changed),
            next_step="--fresh to delete them, or another folder: --run-dir DIR",
        )
    return Start(end=live, changed=changed)


def _join(earlier: Earlier, plan: Plan, changed: Mapping[str, str]) -> Join | Refuse:
    """Whether the jobs that are there are those that this launch would submit."""
    known = earlier.state.of("trial")
    more = [task.name for task in plan.of("trial") if task.name not in known]
    if not more and all(key in _NOT_FOR_JOBS for key in changed):
        return Join(earlier.state, changed)
    next_step = (
        f"wait for them (deeptool-hpc status --watch {plan.run_dir}), or stop them:"
        f" deeptool-hpc down {plan.run_dir}"
    )
    if more:
        return Refuse(
            "the jobs of an earlier launch are still queued or running, and this one has more"
            " trials",
            seen=", ".join(more) + _lines(changed),
            next_step=next_step,
        )
    return Refuse(
        "the jobs of an earlier launch are still queued or running, under another campaign",
        seen=_lines(changed),
        next_step=next_step,
    )


def _lines(changed: Mapping[str, str]) -> str:
    return "".join(f"\n    {key}: {values}" for key, values in changed.items())
