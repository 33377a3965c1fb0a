"""Command line options that several commands share."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from deeptool.client import probe
from deeptool.client.topic_names import SPLITS
from deeptool.errors import UserError
from deeptool.sealed.manifest import FILE
from deeptool.settings.contract import Padding

DEFAULT_SERVERS = ("localhost:9092",)


def _servers(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return probe.parse_addresses(values) if values else ()
    except UserError as error:
        raise click.BadParameter(f"{error.seen} is not HOST:PORT") from error


def _pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in values:
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{entry!r} is not key=value")
        if name.strip() in pairs:
            raise click.BadParameter(f"{name.strip()} is given twice")
        pairs[name.strip()] = value
    return pairs


def _padding(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Padding | dict[str, Padding] | None:
    if not values:
        return None
    if len(values) == 1 and "=" not in values[0]:
        return _scalar(values[0])
    return {path: _scalar(value) for path, value in _pairs(ctx, parameter, values).items()}


def _scalar(text: str) -> Padding:
    """A number where the text is one, else the text itself."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


# Passes `servers`, a tuple of "host:port": empty where none was given, for the command to fall
# back on the settings file's or on DEFAULT_SERVERS.
server_option = click.option(
    "-s",
    "--server",
    "servers",
    multiple=True,
    metavar="HOST:PORT",
    envvar="DEEPTOOL_SERVER",
    callback=_servers,
    help="A Kafka broker; separate several with commas, or repeat the option."
    "  [env: DEEPTOOL_SERVER]",
)


def is_folder(name: str, servers: tuple[str, ...]) -> bool:
    """Whether the argument NAME of a command is the folder of a sealed dataset.

    No dataset's name holds a slash. A sealed dataset in the working directory needs none, where no
    server is given.
    """
    return os.sep in name or (not servers and (Path(name) / FILE).exists())


# Passes `client_properties`, a path or None.
client_properties_option = click.option(
    "--client-properties",
    metavar="FILE",
    envvar="DEEPTOOL_CLIENT_PROPERTIES",
    help="A file of librdkafka settings for a secured broker: key=value lines, mode 0600."
    "  [env: DEEPTOOL_CLIENT_PROPERTIES]",
)

# Passes `usersettings`, a path.
settings_option = click.option(
    "-u",
    "--usersettings",
    required=True,
    metavar="FILE",
    help="The experiment's settings file.",
)

# Passes `padding_value`: a number or str, a dict of them by path, or None.
padding_value_option = click.option(
    "--padding-value",
    multiple=True,
    metavar="[PATH=]VALUE",
    callback=_padding,
    help="What fills up samples of unknown dimensions, so that any batches can be made of them;"
    " with PATH=VALUE for one component, can be repeated.  [default: as padding_value says]",
)

# Passes `as_json`.
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

# Passes `hparams`, a dict of strings.
hparam_option = click.option(
    "--hparam",
    "hparams",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_pairs,
    help="Override one hyperparameter of the settings file; can be repeated.",
)

# Passes `proc_id`, an int or None.
proc_id_option = click.option(
    "-pid",
    "--procID",
    "proc_id",
    type=click.IntRange(min=0),
    metavar="N",
    help="The variant or shard of the dataset: hparams['procID'].",
)

# Passes `split`: "train", "val" or "both".
splits_option = click.option(
    "--split",
    type=click.Choice([*SPLITS, "both"]),
    default="both",
    show_default=True,
    help="Which split.",
)

# Passes `variant`, an int or None.
variant_option = click.option(
    "--variant",
    type=click.IntRange(min=0),
    metavar="N",
    help="The variant whose shards are meant: a dataset of its own, <session_name>-vN.",
)
