"""What a launch would run, as text: for ``render`` and for ``launch --dry-run``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hpc.campaign.definition import Campaign
from hpc.campaign.plan import make_plan
from hpc.processes.container import Programs, installed
from hpc.run.backend import backend_named
from hpc.run.decide import Refuse
from hpc.run.new_state import new_state, said_of_kept
from hpc.run.preparation import LaunchOptions, prepare
from hpc.run.run_folder import RunFolder
from hpc.run.state import DONE


def planned(campaign: Campaign, *, as_json: bool) -> str:
    """What a first launch of `campaign` would run; nothing is run, written or asked.

    Raises
    ------
    UserError
        As `hpc.campaign.plan.make_plan`.
    """
    state = RunFolder(campaign.folder).read_state()
    plan = make_plan(campaign, "<run id>" if state is None else state.id)
    if as_json:
        return json.dumps(asdict(plan), indent=1, default=str)
    return backend_named(campaign.backend).render(campaign, plan)


def dry_run(
    campaign: Campaign, options: LaunchOptions, *, as_json: bool, programs: Programs = installed
) -> str:
    """What a launch would run, keep and show as outdated now: the settings are asked, as it does.

    Nothing is written. A batch system is not asked: what is queued counts as ended.

    Raises
    ------
    UserError, WorkError
        As the launch.
    """
    folder = RunFolder(campaign.folder)
    with TemporaryDirectory(prefix="deeptool-launch-") as copies:
        prepared = prepare(campaign, folder, options, Path(copies), programs=programs, ask=False)
    if isinstance(prepared.decision, Refuse):
        raise prepared.decision.error()
    state, needed = new_state(campaign, prepared, folder)
    plan = prepared.plan
    if as_json:
        done = [task.name for task in plan.tasks if state.tasks[task.name].state in DONE]
        facts = {
            "run": [task.name for task in needed],
            "complete": [name for name in done if name not in {task.name for task in needed}],
            "outdated": {
                name: each.outdated for name, each in state.tasks.items() if each.outdated
            },
            "warnings": list(prepared.found.warnings),
        }
        return json.dumps({**asdict(plan), **facts}, indent=1, default=str)
    lines = [*prepared.found.warnings, *said_of_kept(prepared, state, needed)]
    left = replace(plan, tasks=needed)
    text = backend_named(campaign.backend).render(campaign, left) if needed else "nothing to run"
    return "\n".join([*lines, text])
