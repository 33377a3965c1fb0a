"""What a campaign has stored, and the report: asked of this project's own commands."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deeptool.errors import WorkError
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan

_SECONDS = 180.0


def own_uploads(
    campaign: Campaign, plan: Plan, rows: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Of what is stored (rows of ``deeptool inspect --json``), the campaign's datasets."""
    made_under = {variant.procID: variant.hparams for variant in campaign.variants}
    producers = {task.index for task in plan.of("producer")}
    digest = campaign.settings_sha256()

    def own(row: Mapping[str, Any]) -> bool:
        if row["state"] != "complete" or row["proc_id"] not in producers:
            return False
        # The hparams that the data depends on: the others may be those of another campaign.
        data = row["data_hparams"]
        wanted = {**campaign.hparams, **made_under.get(row["proc_id"], {})}
        return row["settings_sha256"] == digest and all(
            data.get(key, value) == value for key, value in wanted.items()
        )

    return tuple(row for row in rows if own(row))


def json_from(argv: Sequence[str], check: Callable[[], None], timeout: float = _SECONDS) -> Any:
    """What a command of this project prints as JSON.

    Parameters
    ----------
    argv : sequence of str
        The command.
    check : callable
        Called often. What it raises ends the command.
    timeout : float
        Seconds.

    Raises
    ------
    WorkError
        When it fails, or takes longer.
    """
    deadline = time.monotonic() + timeout
    # In a session of its own: a terminal's Ctrl-C is for the launch, which calls `check`.
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while True:
            check()
            try:
                output, errors = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise
    except subprocess.TimeoutExpired as error:
        raise WorkError("a command took too long", seen=" ".join(argv)) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise WorkError(f"{argv[1]} failed", seen=errors.strip() or output.strip())
    return json.loads(output)
