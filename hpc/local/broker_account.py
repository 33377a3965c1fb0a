"""What a campaign is charged for the broker that it keeps up on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.broker.broker_state import BrokerState, read_broker_state
from hpc.campaign.plan import Plan
from hpc.run.state import BrokerAccount


def broker_state(folder: str | Path) -> BrokerState:
    """What a broker's folder says of it; one that has cost nothing where there is none."""
    return read_broker_state(Path(folder)) or BrokerState()


def open_account(folder: Path, earlier: BrokerAccount | None) -> BrokerAccount:
    """Begin to charge the broker of `folder` to a campaign.

    Parameters
    ----------
    folder : Path
        The broker's.
    earlier : BrokerAccount or None
        The account of the campaign's launch before. Where that is still open, its launch was
        killed: what its broker took is charged now.
    """
    account = BrokerAccount(str(folder), earlier.spent if earlier else 0.0)
    if earlier is not None and earlier.folder == str(folder):
        account = replace(account, since=earlier.since)
    count = broker_state(folder).cpu_seconds
    return replace(close_account(account), since=count)


def close_account(account: BrokerAccount) -> BrokerAccount:
    """Charge what the broker took since the account was opened."""
    spent = account.spent
    if account.since is not None:
        count = broker_state(account.folder).cpu_seconds
        spent += max(0.0, count - account.since)
    return replace(account, spent=round(spent, 3), since=None)


def broker_facts(plan: Plan, account: BrokerAccount | None) -> dict[str, Any]:
    """What the report says of the broker: of an own one, whose account is closed, or another's."""
    if account is None:
        return {"cpu_seconds": None, "mode": plan.others_mode, "bootstrap": plan.server}
    seen = broker_state(account.folder)
    known = {
        "mode": seen.mode,
        "bootstrap": seen.bootstrap or None,
        "version": seen.version or None,
    }
    return {"cpu_seconds": account.spent, **known}
