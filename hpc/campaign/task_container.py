"""What the producers and trials of a campaign run in."""

from __future__ import annotations

from pathlib import Path

from hpc.campaign.definition import Campaign
from hpc.processes.container import Container


def task_container(campaign: Campaign) -> Container | None:
    """What the producers and trials of `campaign` run in; None: as they are installed."""
    if not campaign.in_images:
        return None
    here = Path.cwd()
    binds = [here, campaign.folder, campaign.settings.parent, *campaign.images.binds]
    if campaign.trials is not None and "/" in campaign.trials.cache:
        binds.append(Path(campaign.trials.cache))
    if campaign.data.sealed is not None:
        binds.append(campaign.data.sealed)
    cache = campaign.folder / "cache"
    return Container(campaign.images.tensorflow, tuple(dict.fromkeys(binds)), here, cache)
