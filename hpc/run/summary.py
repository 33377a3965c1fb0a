"""What a launch leaves for the report: when which process ran, and what the broker took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeptool.files import read_json
from hpc.broker.folder import STATE as BROKER_STATE
from hpc.campaign.plan import Plan


def broker_state(folder: str | Path) -> dict[str, Any]:
    """What a broker's folder says of it, empty where there is none."""
    return read_json(Path(folder) / BROKER_STATE) or {}


def open_account(folder: Path, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Begin to charge the broker of `folder` to a campaign.

    The broker counts for ever, and perhaps for other campaigns too.

    Parameters
    ----------
    folder : Path
        The broker's.
    earlier : mapping
        The account of the campaign's launch before, empty if there was none.

    Returns
    -------
    dict
        ``folder``; ``spent``: CPU seconds up to now; ``since``: where the broker's count is now.
    """
    account = {"folder": str(folder), "spent": earlier.get("spent", 0.0), "since": None}
    if earlier.get("folder") == str(folder):
        # That launch was killed: what its broker took is still to be charged.
        account["since"] = earlier.get("since")
    count = broker_state(folder).get("cpu_seconds", 0.0)
    return close_account(account) | {"since": count}


def close_account(account: Mapping[str, Any]) -> dict[str, Any]:
    """Charge what the broker took since the account was opened."""
    spent, since = account["spent"], account["since"]
    if since is not None:
        spent += max(0.0, broker_state(account["folder"]).get("cpu_seconds", 0.0) - since)
    return {**account, "spent": round(spent, 3), "since": None}


def broker_facts(plan: Plan, account: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the report says of the broker: an own one's closed account, or None for another's."""
    if account is None:
        return {"cpu_seconds": None, "mode": "existing", "bootstrap": plan.server}
    seen = broker_state(account["folder"])
    known = {key: seen.get(key) for key in ("mode", "bootstrap", "version")}
    return {"cpu_seconds": account["spent"], **known}


def summary(plan: Plan, state: Mapping[str, Any], broker: Mapping[str, Any]) -> dict[str, Any]:
    """The run folder's ``summary.json``.

    Parameters
    ----------
    plan : Plan
        The campaign's.
    state : mapping
        The state file's values.
    broker : mapping
        What it cost (``cpu_seconds``), ``mode``, ``bootstrap``, ``version``.
    """
    return {
        "name": plan.name,
        "state": state["state"],
        "started": state["started"],
        "finished": state["finished"],
        "broker": broker,
        "uploads": state.get("uploads", []),
        "trials": len(plan.of("trial")),
        "timeline": [
            {"role": task["role"], "name": name, "state": task["state"], **part}
            for name, task in state["tasks"].items()
            for part in _parts(task)
        ],
    }


def _parts(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """When a task ran: more than once where Slurm started its job again."""
    earlier = [{"start": run["start"], "end": run["end"]} for run in task.get("runs", ())]
    if "start" not in task:
        return earlier
    return [*earlier, {"start": task["start"], "end": task.get("end")}]
