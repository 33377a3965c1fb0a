"""``deeptool plan``: what the samples depend on, and whether those that are stored still fit."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.commands.options import (
    client_properties_option,
    hparam_option,
    json_option,
    server_option,
    settings_option,
)
from deeptool.errors import UserError
from deeptool.files import read_json

if TYPE_CHECKING:
    from deeptool.producer.plan_request import PlanRequest
    from deeptool.training.model_check import CheckedTrial


@click.command("plan", context_settings={"help_option_names": ["-h", "--help"]})
@settings_option
@server_option
@client_properties_option
@hparam_option
@click.option(
    "--request",
    "request_file",
    metavar="FILE",
    help="Variants, shards and trials to plan for, as JSON: what deeptool-hpc launch asks.",
)
@click.option(
    "--snapshot", metavar="DIR", help="Copy the settings, the model and your modules to DIR."
)
@json_option
def command(
    usersettings: str,
    servers: tuple[str, ...],
    client_properties: str | None,
    hparams: dict[str, str],
    request_file: str | None,
    snapshot: str | None,
    as_json: bool,
) -> None:
    """Find out what samples depend on, and if stored ones still fit.

    The input pipeline is run for some seconds ($DEEPTOOL_PROBE_SECONDS, 5 by default), and its code
    is looked through. Nothing is uploaded. With --server the datasets stored there are compared.
    """
    # The processes that probe need no GPU, and are forked before TensorFlow does anything.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from deeptool.producer.experiment_plan import ExperimentPlan
    from deeptool.producer.plan_request import PlanRequest
    from deeptool.producer.split_probe import probe_seconds
    from deeptool.settings.code_snapshot import read_bytes, write_snapshot
    from deeptool.training.model_check import ModelCheck

    request = PlanRequest(hparams=hparams)
    if request_file is not None:
        request = PlanRequest.from_json(_request(request_file))
    untried = ""
    with contextlib.ExitStack() as stack:
        if request.model and request.trials:
            model = stack.enter_context(ModelCheck(_first_trial(usersettings, request)))
        plan = ExperimentPlan(usersettings, request, probe_seconds())
        if request.model and request.trials:
            untried = model.warning()
    catalog = None
    if servers:
        with CatalogLog(connect(servers, client_properties)) as log:
            catalog = log.read()
    answer = plan.answer(catalog)
    answer["warnings"] += [untried] if untried else []
    if snapshot is not None:
        write_snapshot(Path(snapshot), {Path(f): read_bytes(Path(f)) for f in answer["files"]})
    if as_json:
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(answer)


def _first_trial(usersettings: str, request: PlanRequest) -> CheckedTrial:
    """The trial whose model is tried."""
    from deeptool.training.model_check import CheckedTrial

    trial = request.trials[0]
    # The samples' types are those of the first shard.
    proc_id = trial["procID"] if request.num_procs is None else 0
    hparams = {**request.hparams, **trial["hparams"]}
    return CheckedTrial(usersettings, proc_id, request.num_procs, hparams)


def _request(file: str) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise UserError("cannot read the request", seen=f"{file}: {error}") from error


def _print(answer: Mapping[str, Any]) -> None:
    click.echo("datasets")
    for row in answer["datasets"]:
        facts = row["facts"]
        read = facts["checkpoints"][-1][0] if facts["checkpoints"] else 0
        whole = "all" if facts["end"] is not None else "the first"
        click.echo(f"  {row['topic']}: {_state(row['stored'])}compared by {whole} {read:,} samples")
        for reason in (row["stored"] or {}).get("why", ()):
            click.echo(f"    {reason}")
    for title, name in (
        ("the samples depend on", "data_hparams"),
        ("free for trials to vary", "free_hparams"),
    ):
        click.echo(title)
        for key, why in answer[name].items():
            click.echo(f"  {key}: {why}")
        if not answer[name]:
            click.echo("  no hyperparameter")
    for row in answer["refused"]:
        click.echo(f"trial {row['trial']} is rejected: {row['message']}")
    for warning in answer["warnings"]:
        click.echo(f"warning: {warning}", err=True)


def _state(stored: Mapping[str, Any] | None) -> str:
    if stored is None:
        return ""
    return {
        "same": "stored, and the same; ",
        "different": "stored, but different; ",
        "absent": "not stored; ",
    }[stored["state"]]
