"""What a campaign has stored, and the report: asked of this project's own commands."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deeptool.errors import WorkError
from hpc.campaign.definition import Campaign
from hpc.campaign.uploads import variant_name

_SECONDS = 180.0


def own_uploads(
    campaign: Campaign, session: str, rows: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Of what is stored (rows of ``deeptool inspect --json``), the campaign's datasets.

    Whoever uploaded them: a campaign reuses what is there. Its producers have looked at them, so
    that the name and the hparams tell which they are.

    Parameters
    ----------
    campaign : Campaign
    session : str
        The settings' session_name.
    rows : sequence of dict
        What is stored.
    """
    number = campaign.producers.num_procs
    # Name and procID -> the hparams that it is made under.
    made_under: dict[tuple[str, int], Mapping[str, Any]] = {}
    if number is None:
        made_under = {(session, each.procID): each.hparams for each in campaign.variants}
    for shard in range(number or 0):
        for each in campaign.variants:
            made_under[variant_name(session, each.procID), shard] = each.hparams
        if not campaign.variants:
            made_under[session, shard] = {}

    def own(row: Mapping[str, Any]) -> bool:
        own_hparams = made_under.get((row["session"], row["proc_id"]))
        if row["state"] != "complete" or own_hparams is None:
            return False
        # The hparams that the data depends on: the others may be those of another campaign.
        data = row["data_hparams"]
        wanted = {**campaign.hparams, **own_hparams}
        return all(data.get(key, value) == value for key, value in wanted.items())

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
    done = finished(argv, check, timeout)
    if done.returncode:
        raise WorkError(f"{argv[1]} failed", seen=done.stderr.strip() or done.stdout.strip())
    return json.loads(done.stdout)


def finished(
    argv: Sequence[str],
    check: Callable[[], None],
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command's exit code, and what it has printed.

    Parameters
    ----------
    argv, check, timeout
        As for `json_from`.
    env : mapping, optional
        Its whole environment, instead of this process's.

    Raises
    ------
    WorkError
        When it takes longer.
    """
    deadline = time.monotonic() + timeout
    # In a session of its own: a terminal's Ctrl-C is for the launch, which calls `check`.
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=env,
    )
    try:
        while True:
            check()
            try:
                output, errors = process.communicate(timeout=0.1)
                return subprocess.CompletedProcess(argv, process.returncode, output, errors)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise
    except subprocess.TimeoutExpired as error:
        raise WorkError("a command took too long", seen=" ".join(argv)) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
