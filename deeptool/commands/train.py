"""``deeptool train``, which is also ``experiments_manager.py``."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from deeptool.commands.options import (
    client_properties_option,
    hparam_option,
    json_option,
    padding_value_option,
    proc_id_option,
    server_option,
    variant_option,
)
from deeptool.errors import UserError

_T = TypeVar("_T")


@click.command(name="train", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-u",
    "--usersettings",
    metavar="FILE",
    help="The experiment's settings file. Not needed with --restart_interrupted.",
)
@proc_id_option
@variant_option
@hparam_option
@click.option(
    "--kafka/--no-kafka",
    default=None,
    help="Read the stored dataset, or run the settings' own pipeline."
    "  [default: --kafka with --server, else as consume_data_from_kafka says]",
)
@click.option(
    "--from",
    "sealed",
    metavar="DIR",
    help="Read the sealed dataset in this folder, without a broker: see deeptool seal.",
)
@server_option
@client_properties_option
@click.option(
    "--reader",
    type=click.Choice(["librdkafka", "tfio"]),
    default="librdkafka",
    show_default=True,
    help="The Kafka client; tfio is tensorflow-io.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long to wait for a dataset that is not complete yet.",
)
@click.option(
    "--online",
    is_flag=True,
    help="Start while the training set is still being uploaded: the first epoch reads it as it"
    " arrives. --wait then applies to the start of the upload and to the validation set.",
)
@click.option(
    "--drop-remainder/--keep-remainder",
    default=None,
    help="Whether to leave out the samples that fill no whole batch at the end of a pass."
    "  [default: as drop_remainder says, or as the pipeline did]",
)
@padding_value_option
@click.option(
    "--order",
    type=click.Choice(["auto", "windowed", "global"]),
    help="How epochs are shuffled: in groups of samples from everywhere, or all samples of a pass;"
    " auto does the latter once a pass was read, if it takes less than 8 GiB.  [default: auto]",
)
@click.option(
    "--cache",
    metavar="WHERE",
    help="Where the node's copy of the dataset is kept: a folder, auto ($DEEPTOOL_COPIES, or the"
    " node's folder for temporary files), memory (of this process), or off.  [default: auto]",
)
@click.option(
    "--session-dir",
    metavar="DIR",
    help="The session folder.  [default: <workingFolder>/<session_name>_<hparams>_<time>]",
)
@click.option(
    "--restart_interrupted",
    "restart",
    is_flag=True,
    help="Resume the trial in --model_dir after its last checkpoint.",
)
@click.option("--model_dir", metavar="DIR", help="The session folder of the trial to resume.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print the epochs.")
@json_option
def command(
    usersettings: str | None,
    proc_id: int | None,
    variant: int | None,
    hparams: dict[str, str],
    kafka: bool | None,
    sealed: str | None,
    servers: tuple[str, ...],
    client_properties: str | None,
    reader: Literal["librdkafka", "tfio"],
    wait: float,
    online: bool,
    drop_remainder: bool | None,
    padding_value: Any,
    order: Literal["auto", "windowed", "global"] | None,
    cache: str | None,
    session_dir: str | None,
    restart: bool,
    model_dir: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run one trial: train the settings file's model and keep its results in a session folder.

    The samples come from Kafka, from a sealed dataset or from the settings file's own pipeline. A
    trial reads the variant that was stored with the same data hparams.

    Resume an interrupted trial with --restart_interrupted --model_dir DIR.
    """
    how: dict[str, Any] = {
        "servers": _given(servers, "servers", sealed),
        "sealed": sealed,
        "client_properties": _given(client_properties, "client_properties", sealed),
        "wait": wait,
        "verbose": not quiet,
    }
    if restart:
        if model_dir is None:
            raise click.UsageError("--restart_interrupted needs --model_dir DIR")
        how["restart_from"] = model_dir
    elif model_dir is not None:
        raise click.UsageError("--model_dir goes with --restart_interrupted")
    elif usersettings is None:
        raise click.UsageError("--usersettings FILE is missing")
    if servers and kafka is False:
        raise click.UsageError("--server goes with --kafka, not with --no-kafka")
    if not restart:
        how |= {"session_dir": session_dir, "reader": reader, "online": online}
        how |= {"hparams": hparams, "proc_id": proc_id, "kafka": kafka}
        how["variant"] = variant
        how |= {"drop_remainder": drop_remainder, "padding_value": padding_value}
        how |= {"order": order or "auto", "cache": cache or "auto"}
    elif hparams or any(
        given is not None
        for given in (proc_id, variant, session_dir, drop_remainder, padding_value, order, cache)
    ):
        raise UserError(
            "a resumed trial keeps its hparams, procID, batches, order, cache and session folder",
            next_step="leave out --hparam, --procID, --drop-remainder, --padding-value, --order, "
            "--cache and --session-dir",
        )

    from deeptool.training import failures, train

    # What the settings file and the model print must not mix with the JSON.
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout), failures.shown():
        result = train(None if restart else usersettings, **how)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1))
        return
    best = "  ".join(f"{name} {value:.4g}" for name, value in result.best.items())
    epochs = f"{result.epochs_run} of {result.epochs_planned} epochs"
    where = f", best at epoch {result.best_epoch}: {best}" if result.best_epoch else ""
    ended = f", {result.error}" if result.status == "diverged" else ""
    click.echo(f"{epochs}{ended}{where}")
    click.echo(result.session_dir)


def _given(value: _T, name: str, sealed: str | None) -> _T | None:
    """An option of a broker; one that only the environment gives does not count with --from."""
    source = click.get_current_context().get_parameter_source(name)
    return None if sealed and source is ParameterSource.ENVIRONMENT else value
