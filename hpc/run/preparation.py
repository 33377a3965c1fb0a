"""What comes before a launch writes anything: look at what is there, ask what it would be now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, make_plan
from hpc.campaign.toml_file import dump
from hpc.campaign.versions import made_under
from hpc.processes.container import Programs
from hpc.run.backend import Seen, backend_named
from hpc.run.decide import Earlier, Join, Refuse, Start, decide
from hpc.run.run_folder import RunFolder, new_id
from hpc.run.settings_plan import SettingsPlan, ask_settings, code_id
from hpc.run.state import CLEARING


@dataclass(frozen=True)
class LaunchOptions:
    """What the command line says of one launch.

    Attributes
    ----------
    fresh : bool
        Delete first what earlier launches left in the run folder, stored data of its own broker
        included.
    replace_others : bool
        Replace stored datasets that differ, whoever uploaded them.
    detach : bool
        Return once everything continues by itself, on a backend where it does.
    """

    fresh: bool = False
    replace_others: bool = False
    detach: bool = False


@dataclass(frozen=True)
class Prepared:
    """All that a launch knows before it writes.

    Attributes
    ----------
    run_id : str
        The run folder's id: a new one where nothing was launched yet.
    kept : Earlier or None
        What is there, where it is to be continued.
    earlier : Earlier or None
        What is there.
    plan : Plan
        What is launched.
    under : mapping
        `hpc.campaign.versions.made_under` of the campaign.
    found : SettingsPlan
        What the settings make now.
    code : str
        The name of the copies of the user's files.
    decision
        What to do.
    """

    run_id: str
    kept: Earlier | None
    earlier: Earlier | None
    plan: Plan
    under: Mapping[str, Any]
    found: SettingsPlan
    code: str
    decision: Join | Start | Refuse


def look(folder: RunFolder, backend: str, *, fresh: bool, ask: bool = True) -> Earlier | None:
    """What earlier launches left in the folder, None where nothing was launched yet.

    Parameters
    ----------
    folder : RunFolder
    backend : str
        Of this launch.
    fresh : bool
        Whether what is there is to be deleted.
    ask : bool
        Whether the batch system may be asked, where there is one.
    """
    state = folder.read_state()
    if state is None:
        return None
    seen = Seen(state)
    if not ask:
        seen = Seen(backend_named(state.backend).observe(folder, state, ask=False))
    elif state.backend == backend or fresh:
        # Else it is rejected anyway, perhaps on a machine that cannot reach that backend.
        seen = backend_named(state.backend).look(folder, state)
    trials = seen.state.of("trial")
    begun = {name for name, task in trials.items() if folder.holds_trial(task.index)}
    done = {name for name in begun if folder.done(trials[name].index)}
    return Earlier(state, folder.read_campaign(), seen, frozenset(begun), frozenset(done))


def prepare(
    campaign: Campaign,
    folder: RunFolder,
    options: LaunchOptions,
    copies: Path,
    *,
    programs: Programs,
    check: Callable[[], None] = lambda: None,
    ask: bool = True,
) -> Prepared:
    """Find out all that a launch has to know, and decide; the run folder is only read.

    Parameters
    ----------
    campaign, folder, options
        What is to be launched, and where.
    copies : Path
        An empty folder outside the run folder, for the copies of the user's files.
    programs : callable
        What runs this project's commands.
    check : callable
        Called often. What it raises ends it.
    ask : bool
        Whether the batch system may be asked, where there is one.

    Raises
    ------
    UserError, WorkError
        When the campaign, its settings or a trial are the user's to correct, or something fails.
    """
    earlier = look(folder, campaign.backend, fresh=options.fresh, ask=ask)
    # The same id once more: the owner of its uploads, even where nothing else of it is left.
    run_id = new_id() if earlier is None else earlier.state.id
    kept = earlier
    if earlier is None or options.fresh or earlier.state.state == CLEARING:
        kept = None
    known = kept.state.versions if kept else {}
    tasks = kept.state.tasks.values() if kept else ()
    found = ask_settings(
        campaign,
        make_plan(campaign, run_id),
        known,
        [task.version for task in tasks],
        folder=copies,
        programs=programs,
        check=check,
    )
    under = made_under(campaign)
    code = "" if found.code is None else code_id(found.code)
    plan = make_plan(
        campaign,
        run_id,
        kept.kept(found.versions, under, found.defaults) if kept else None,
        found.versions,
        defaults=found.defaults,
        snapshot=folder.code(code) if code else None,
        replace_others=options.replace_others,
    )
    decision = decide(
        earlier,
        plan,
        dump(campaign),
        backend_named(campaign.backend).traits.watch_keys,
        found=found,
        fresh=options.fresh,
        replace_others=options.replace_others,
    )
    return Prepared(run_id, kept, earlier, plan, under, found, code, decision)


def looked_again(prepared: Prepared, folder: RunFolder, backend: str) -> Prepared:
    """The same, after what ran has ended: something of it may have been completed before."""
    kept = prepared.kept and look(folder, backend, fresh=False)
    return replace(prepared, kept=kept)
