"""``deeptool plan``: what the samples depend on, and whether those that are stored still fit."""

from __future__ import annotations

import contextlib
import json
import os
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
from deeptool.commands.plan_output import print_costs, print_plan
from deeptool.errors import UserError
from deeptool.files import read_json, write_json
from deeptool.sealed.sealed_folder import SealedFolder

if TYPE_CHECKING:
    from deeptool.pipelines.plan_request import PlanRequest
    from deeptool.training.model_check import CheckedTrial


@click.command("plan", context_settings={"help_option_names": ["-h", "--help"]})
@settings_option
@server_option
@client_properties_option
@click.option(
    "--from", "sealed", metavar="DIR", help="Compare the sealed dataset in this folder instead."
)
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
@click.option(
    "--producers",
    type=click.IntRange(min=1),
    metavar="N",
    default=4,
    show_default=True,
    help="How many producers to estimate an upload's time for.",
)
@click.option(
    "--save",
    "save_dir",
    metavar="DIR",
    help="Write what was measured to DIR/advice.json: deeptool report DIR draws it.",
)
@json_option
def command(
    usersettings: str,
    servers: tuple[str, ...],
    client_properties: str | None,
    sealed: str | None,
    hparams: dict[str, str],
    request_file: str | None,
    snapshot: str | None,
    producers: int,
    save_dir: str | None,
    as_json: bool,
) -> None:
    """Find out what samples depend on, what to store, and if it pays.

    The input pipeline is run for some seconds ($DEEPTOOL_PROBE_SECONDS, 5 by default), its code is
    looked through, and what each of its stages costs is measured. Nothing is uploaded. With
    --server the datasets stored there are compared.
    """
    # The processes that probe need no GPU, and are forked before TensorFlow does anything.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from deeptool.pipelines.advice import advise
    from deeptool.pipelines.experiment_plan import ExperimentPlan
    from deeptool.pipelines.pipeline_costs import measure_costs
    from deeptool.pipelines.plan_request import PlanRequest
    from deeptool.pipelines.split_probe import probe_seconds
    from deeptool.settings.code_snapshot import read_bytes, write_snapshot
    from deeptool.training.model_check import ModelCheck

    request = PlanRequest(hparams=hparams)
    if request_file is not None:
        request = PlanRequest.from_json(_request(request_file))
    seconds = probe_seconds()
    # Launches ask for neither: their pipelines need not run where they are planned.
    measured = request_file is None and seconds > 0
    if save_dir is not None and not measured:
        raise UserError(
            "there is nothing to save: the pipeline's costs are not measured",
            seen="--request" if request_file is not None else "DEEPTOOL_PROBE_SECONDS=0",
        )
    untried = ""
    with contextlib.ExitStack() as stack:
        if request.model and request.trials:
            model = stack.enter_context(ModelCheck(_first_trial(usersettings, request)))
        plan = ExperimentPlan(usersettings, request, seconds)
        if request.model and request.trials:
            untried = model.warning()
    catalog = None
    if sealed is not None:
        catalog = SealedFolder(sealed).manifest.catalog
    elif servers:
        with CatalogLog(connect(servers, client_properties)) as log:
            catalog = log.read()
    answer = plan.answer(catalog, sealed=sealed is not None)
    answer["warnings"] += [untried] if untried else []
    if snapshot is not None:
        write_snapshot(Path(snapshot), {Path(f): read_bytes(Path(f)) for f in answer["files"]})
    if not as_json:
        print_plan(answer)
    failure = plan.failure() if request_file is None else None
    if failure is None and measured:
        costs = measure_costs(usersettings, hparams, request.splits, seconds)
        if (why := costs.get("unmeasured")) is not None:
            answer["warnings"].append(why)
            click.echo(f"warning: {why}", err=True)
        else:
            found = {"costs": costs, "advice": advise(costs, producers)}
            if not as_json:
                print_costs(**found)
            if save_dir is not None:
                _save(Path(save_dir), {"settings": usersettings, **found})
            answer |= found
    if as_json:
        click.echo(json.dumps(answer, indent=1))
    if failure is not None:
        raise failure


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


def _save(folder: Path, found: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "advice.json", found)
    except OSError as error:
        raise UserError("the plan cannot be saved", seen=str(error)) from error
