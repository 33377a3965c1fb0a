"""What a launch would run, as text: for ``render`` and for ``launch --dry-run``."""

from __future__ import annotations

import json
from dataclasses import asdict

from hpc.campaign.definition import Campaign
from hpc.campaign.plan import make_plan
from hpc.run.backend import backend_named
from hpc.run.run_folder import RunFolder


def planned(campaign: Campaign, *, as_json: bool) -> str:
    """What a launch of `campaign` would run; nothing is run, written or asked.

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
