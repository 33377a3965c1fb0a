"""What the settings make now, and what of it is stored: asked of ``deeptool plan``.

It loads the settings file, which hpc does not: in the image, where the processes run in one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import write_json
from deeptool.outcome import OUTCOME_VARIABLE
from deeptool.outcome import read as read_outcome_file
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.campaign.task import with_server
from hpc.campaign.task_container import task_container
from hpc.campaign.versions import Versions, versions_now
from hpc.processes.container import Programs, shell_command
from hpc.run.stored_data import finished

_FORMAT = 1
# Many variants, each of them read for a while.
_SECONDS = 3600.0
# How many rejected trials are named.
_MOST = 20


@dataclass(frozen=True)
class StoredNow:
    """What an existing Kafka holds of one split of a dataset.

    Attributes
    ----------
    proc_id : int or None
        None: the shards, all of them.
    split, topic, owner : str
        The owner is that of the upload; empty where there is none.
    state : str
        ``same``, ``different``, ``absent``; empty where it was not asked: the campaign's own broker
        is not up yet.
    why : tuple of str
        How it differs.
    """

    proc_id: int | None
    split: str
    topic: str
    state: str = ""
    owner: str = ""
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class SettingsPlan:
    """What ``deeptool plan`` has found out.

    Attributes
    ----------
    session : str
        The settings' session_name.
    versions : Versions
        What trials would be made from.
    stored : tuple of StoredNow
        The datasets of the campaign.
    warnings : tuple of str
    code : Path or None
        The copies of the user's files, outside the run folder.
    defaults : mapping
        The hparams of the settings file.
    """

    session: str = ""
    versions: Versions = field(default_factory=Versions)
    stored: tuple[StoredNow, ...] = ()
    warnings: tuple[str, ...] = ()
    code: Path | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


def plan_request(campaign: Campaign, plan: Plan, known: Mapping[str, Any]) -> dict[str, Any]:
    """What ``deeptool plan`` is asked.

    Parameters
    ----------
    campaign, plan
        What is to be launched.
    known : mapping
        The versions of earlier launches, to be compared with.
    """
    producers = campaign.producers
    variants = [{"procID": each.procID, "hparams": each.hparams} for each in campaign.variants]
    return {
        "format": _FORMAT,
        "hparams": campaign.hparams,
        "variants": variants,
        "num_procs": producers.num_procs,
        "auto_shard": producers.auto_shard,
        "splits": ["train", "val"] if producers.split == "both" else [producers.split],
        "epochs": producers.epochs,
        "trials": [
            {"hparams": dict(task.hparams), "procID": task.proc_id} for task in plan.of("trial")
        ],
        "versions": known,
        "probe": producers.reuse == "verify",
        "model": True,
    }


def ask_settings(
    campaign: Campaign,
    plan: Plan,
    known: Mapping[str, Any],
    used: Iterable[str],
    *,
    folder: Path,
    programs: Programs,
    check: Callable[[], None] = lambda: None,
) -> SettingsPlan:
    """Load and probe the settings, compare with what is stored, and copy the user's files.

    Parameters
    ----------
    campaign, plan
        What is to be launched.
    known : mapping
        The versions of earlier launches.
    used : iterable of str
        Those of them that what is in the run folder was made from.
    folder : Path
        Empty, for the request and the copies.
    programs : callable
        What runs this project's commands.
    check : callable
        Called often. What it raises ends it.

    Raises
    ------
    UserError
        When the settings or a trial are the user's to correct.
    WorkError
        When it fails.
    """
    request, outcome, copies = folder / "request.json", folder / "outcome.json", folder / "code"
    write_json(request, plan_request(campaign, plan, known))
    connection = () if plan.server is None else with_server(plan.connection, plan.server)
    command = (
        *("deeptool", "plan", "--usersettings", str(campaign.settings), *connection),
        *("--request", str(request), "--snapshot", str(copies), "--json"),
    )
    container = task_container(campaign)
    if container is not None:
        # Before a first launch there is no run folder to be seen in the image.
        binds = tuple(path for path in container.binds if path.exists())
        container = replace(container, binds=(*binds, folder), cache=folder / "cache")
    argv, changed = shell_command(command, {OUTCOME_VARIABLE: str(outcome)}, programs, container)
    env = {**os.environ, **{name: value for name, value in changed.items() if value is not None}}
    done = finished(argv, check, _SECONDS, env)
    if done.returncode:
        kind = UserError if done.returncode == UserError.exit_code else WorkError
        said = read_outcome_file(outcome)
        error = said.error if said is not None else None
        if error is None:
            raise WorkError("deeptool plan failed", seen=done.stderr.strip() or "it said nothing")
        facts = {"seen": error.seen, "valid": error.valid, "next_step": error.next_step}
        raise kind(error.what, **facts)
    answer = json.loads(done.stdout)
    _reject(plan, answer["refused"])
    return SettingsPlan(
        session=answer["session_name"],
        defaults=answer["hparams"],
        versions=versions_now(known, answer["versions"], answer["same"], used),
        stored=tuple(_stored(row) for row in answer["datasets"]),
        warnings=tuple(answer["warnings"]),
        code=copies,
    )


def _reject(plan: Plan, refused: Iterable[Mapping[str, Any]]) -> None:
    """Raise where trials cannot be trained on the campaign's datasets."""
    trials = plan.of("trial")
    lines = [f"{dict(trials[row['trial']].hparams)}: {row['message']}" for row in refused]
    if lines:
        more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
        raise UserError(
            f"{len(lines)} of {len(trials)} trials are rejected, and nothing was started",
            seen="".join(f"\n    {line}" for line in [*lines[:_MOST], *more]),
            next_step="correct [trials] in the campaign, or add variants to [producers]",
        )


def _stored(row: Mapping[str, Any]) -> StoredNow:
    stored = row["stored"] or {}
    return StoredNow(
        row["procID"],
        row["split"],
        row["topic"],
        stored.get("state", ""),
        stored.get("owner") or "",
        tuple(stored.get("why", ())),
    )


def code_id(folder: Path) -> str:
    """The name of a folder of copies, by what is in it: the same files, the same name."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for part in (str(path.relative_to(folder)).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]
