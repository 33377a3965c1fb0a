"""What a launch does about what earlier ones left: decided before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from deeptool.errors import UserError
from hpc.campaign.known_trials import Kept, trial_key
from hpc.campaign.plan import Plan
from hpc.campaign.toml_file import differences
from hpc.campaign.versions import Versions, differing
from hpc.run.backend import Seen
from hpc.run.settings_plan import SettingsPlan, StoredNow
from hpc.run.state import CLEARING, RunState, TaskState

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
    done : frozenset of str
        The trials that have come to a result, which a killed launch may not have noted.
    """

    state: RunState
    campaign: Mapping[str, Any]
    seen: Seen
    begun: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()

    def kept(
        self, versions: Versions, under: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> Kept:
        """The trials that are made as they would be now, and the first index after all others.

        Parameters
        ----------
        versions : Versions
            What the files make now.
        under : mapping
            `hpc.campaign.versions.made_under` of this launch.
        defaults : mapping
            The hparams of the settings file.
        """
        trials = self.state.of("trial")
        current = {
            name: task for name, task in trials.items() if not why_outdated(task, versions, under)
        }
        indices: dict[str, int] = {}
        # Where several would do, the one that is done, or else the last.
        for name in sorted(current, key=lambda name: (name in self.done, current[name].index)):
            task = current[name]
            indices[trial_key(task.hparams, task.proc_id, defaults)] = task.index
        # A trial that never began leaves nothing, so that its number is free.
        taken = [
            task.index for name, task in trials.items() if name in current or self.has_begun(name)
        ]
        return Kept(indices, max(taken, default=-1) + 1)

    def has_begun(self, name: str) -> bool:
        """Whether a trial has left something to be shown."""
        return name in self.begun or self.seen.state.tasks[name].start is not None


def why_outdated(task: TaskState, versions: Versions, under: Mapping[str, Any]) -> str:
    """Why a trial would be made another way now; empty where it would not."""
    reasons = (versions.why_not(task.proc_id, task.version), differing(task.under, under))
    return "; ".join(filter(None, reasons if task.version else reasons[:1]))


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
    found: SettingsPlan,
    fresh: bool = False,
    replace_others: bool = False,
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
    found : SettingsPlan
        What the settings make now, and what of it is stored.
    fresh : bool
        Whether the user wants to delete what is there.
    replace_others : bool
        Whether what others have stored may be replaced.
    """
    if earlier is None:
        return _unusable(found, plan, (), "", campaign, replace_others) or Start(clear=fresh)
    live, owner = earlier.seen.live, f"campaign:{earlier.state.id}:"
    if fresh or earlier.state.state == CLEARING:
        refused = _unusable(found, plan, (), owner, campaign, replace_others)
        return refused or Start(clear=True, end=live)
    backend = str(campaign["backend"])
    if earlier.state.backend != backend:
        return Refuse(
            "this run folder belongs to a launch on another backend",
            seen=f"{plan.run_dir}: {earlier.state.backend}",
            next_step="another folder: --run-dir DIR, or --fresh to delete what is there",
        )
    changed = differences(earlier.campaign, campaign) if earlier.campaign else {}
    # Earlier releases compared the whole file.
    changed.pop("settings_sha256", None)
    if live and earlier.seen.continues:
        watched = tuple(f"{backend}.{key}" for key in watch_keys)
        changed = {key: values for key, values in changed.items() if key not in watched}
        shards = campaign["producers"]["num_procs"] is not None
        return _join(earlier, plan, changed, found.versions, shards)
    refused = _unusable(found, plan, earlier.done, owner, campaign, replace_others)
    return refused or Start(end=live, changed=changed)


def _unusable(
    found: SettingsPlan,
    plan: Plan,
    done: Collection[str],
    owner: str,
    campaign: Mapping[str, Any],
    replace_others: bool,
) -> Refuse | None:
    """Why what is stored on an existing Kafka can neither be read nor be replaced."""
    options = campaign["producers"]
    needed = plan.needed(done)
    reads = {task.proc_id for task in needed if task.role in ("trial", "producer")}
    wanted = [each for each in found.stored if each.proc_id in reads]
    different = [each for each in wanted if each.state == "different"]
    if options["reuse"] == "always":
        different = []
    sealed = campaign.get("data", {}).get("sealed")
    if options["upload"] and not sealed:
        others = [each for each in different if not owner or not each.owner.startswith(owner)]
        if not others or options["replace"] or replace_others:
            return None
        return Refuse(
            "what is stored was made from other samples, and was not uploaded by this run folder",
            seen="".join(f"\n    {_said(each)}" for each in others),
            next_step="launch with --replace to upload it again (the earlier dataset is deleted"
            " then), or give the settings another session_name",
        )
    absent = [each for each in wanted if each.state == "absent"]
    if not absent and not different:
        return None
    if sealed:
        return Refuse(
            "the sealed dataset is not what the trials are to read",
            seen="".join(f"\n    {_said(each)}" for each in (*absent, *different)),
            next_step="seal what they read and name its folder in data.sealed"
            + ("" if absent else ', or read what is there: producers.reuse = "always"'),
        )
    return Refuse(
        "producers.upload is false, but the datasets that the trials read are not all stored",
        seen="".join(f"\n    {_said(each)}" for each in (*absent, *different)),
        next_step="launch without producers.upload = false"
        + ("" if absent else ', or with producers.reuse = "always" to read what is there'),
    )


def _said(dataset: StoredNow) -> str:
    owner = f", uploaded by {dataset.owner}" if dataset.owner else ""
    why = f": {'; '.join(dataset.why)}" if dataset.why else ""
    return f"{dataset.topic} is {dataset.state}{owner}{why}"


def _join(
    earlier: Earlier, plan: Plan, changed: Mapping[str, str], versions: Versions, shards: bool
) -> Join | Refuse:
    """Whether the jobs that are there are those that this launch would submit."""
    known = earlier.state.of("trial")
    # Trials of another version are other trials.
    more = [task.name for task in plan.of("trial") if task.name not in known]
    edited = _edited(earlier, versions, shards)
    if not more and not edited and all(key in _NOT_FOR_JOBS for key in changed):
        return Join(earlier.state, changed)
    next_step = (
        f"wait for them (deeptool-hpc status --watch {plan.run_dir}), or stop them:"
        f" deeptool-hpc down {plan.run_dir}"
    )
    if edited:
        return Refuse(
            "the jobs of an earlier launch are still queued or running, and the files that they"
            " were launched with have changed",
            seen=edited + _lines(changed),
            next_step=next_step,
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


def _edited(earlier: Earlier, versions: Versions, shards: bool) -> str:
    """What has changed in the files since the producers and trials that wait were launched."""
    reasons = []
    for task in earlier.seen.state.tasks.values():
        if task.state in ("waiting", "running", "preempted") and task.version:
            proc_id = task.proc_id
            if task.role == "producer" and proc_id is None and not shards:
                # Earlier releases did not say it.
                proc_id = task.index
            reasons.append(versions.why_not(proc_id, task.version))
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def _lines(changed: Mapping[str, str]) -> str:
    return "".join(f"\n    {key}: {values}" for key, values in changed.items())
