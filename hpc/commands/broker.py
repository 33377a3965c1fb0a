"""``deeptool-hpc broker``: a real Kafka on this machine, without root, Docker or Java."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from deeptool.errors import UserError
from hpc.broker import folder
from hpc.broker.broker_options import BrokerOptions
from hpc.broker.broker_state import BrokerState
from hpc.broker.node import MODES, Mode
from hpc.broker.passwords import NAME, create, write_client_properties
from hpc.broker.supervisor import run, run_detached
from hpc.processes import apptainer
from hpc.processes.apptainer import Images

directory_option = click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="The broker's folder: settings, data, logs and state.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the state as JSON.")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _show(state: BrokerState, as_json: bool) -> None:
    click.echo(json.dumps(asdict(state)) if as_json else state.bootstrap)


@click.group("broker")
def command() -> None:
    """A real Kafka broker on this machine.

    Kafka 3.9 and a Java runtime come from Python's and Maven's registries, once, into a cache:
    no root, Docker or Java is needed.
    """


@command.command()
@directory_option
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="Where the broker keeps its metadata: zookeeper (default) or kraft.",
)
@click.option("--host", help="The address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65535), help="The port (a free one, then the same).")
@click.option("--memory", default="512m", show_default=True, help="The broker's heap.")
@click.option(
    "--secret",
    type=click.Path(dir_okay=False, resolve_path=True, path_type=Path),
    help="Ask for the password in this file (mode 0600, in a folder of mode 0700); made where there"
    " is none, with client.properties beside it for --client-properties.",
)
@click.option(
    "--kafka-image",
    type=click.Path(dir_okay=False, resolve_path=True, path_type=Path),
    help="Run Kafka in this image.",
)
@click.option(
    "--zookeeper-image",
    type=click.Path(dir_okay=False, resolve_path=True, path_type=Path),
    help="Run ZooKeeper in this image.  [default: Kafka's, which has it too]",
)
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
@json_option
def up(
    directory: Path,
    mode: Mode | None,
    host: str | None,
    port: int | None,
    memory: str,
    secret: Path | None,
    kafka_image: Path | None,
    zookeeper_image: Path | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Start a broker and print its address when it is ready.

    It runs until Ctrl-C, or with --detach until `down`. On a folder that was used before it comes
    back with the same port and data.
    """
    images = None
    if kafka_image is not None:
        images = Images(kafka_image, zookeeper_image or kafka_image, apptainer.find())
    elif zookeeper_image is not None:
        raise click.UsageError("--zookeeper-image goes with --kafka-image")
    if secret is not None:
        if secret.name != NAME:
            raise UserError(
                "the password file must have the name that other commands expect",
                seen=str(secret),
                valid=f"{secret.with_name(NAME)}",
            )
        write_client_properties(create(secret.parent))
    options = BrokerOptions(directory, mode, host, port, memory, secret=secret, images=images)
    if not detach:
        run(options, _progress, lambda: _ready(directory, as_json))
        return
    arguments = ["broker", "up", "--dir", str(directory), "--memory", memory]
    given = {"mode": mode, "host": host, "port": port, "secret": secret}
    given |= {"kafka-image": kafka_image, "zookeeper-image": zookeeper_image}
    for name, value in given.items():
        arguments += [f"--{name}", str(value)] if value else []
    _show(run_detached(options, arguments, _progress), as_json)


def _ready(directory: Path, as_json: bool) -> None:
    _show(folder.current_state(directory), as_json)
    _progress("ready")


@command.command()
@directory_option
@json_option
def status(directory: Path, as_json: bool) -> None:
    """Show where a broker is, how it is doing, and what it has cost."""
    state = folder.current_state(directory)
    size = folder.disk_usage(directory / "data")
    if as_json:
        shown = {**asdict(state), "directory": str(directory), "data_bytes": size}
        click.echo(json.dumps(shown))
        return
    pids = ", ".join(f"{name} {process['pid']}" for name, process in state.processes.items())
    rows = {
        "state": state.state,
        "bootstrap": state.bootstrap,
        "mode": f"{state.mode}, Kafka {state.version}",
        "processes": pids or "none",
        "CPU": f"{timedelta(seconds=round(state.cpu_seconds))} h",
        "data": f"{size / 1e6:.1f} MB",
        "logs": str(directory / "logs"),
        "error": state.error,
    }
    for name, value in rows.items():
        if value:
            click.echo(f"{name:10} {value}")


@command.command()
@directory_option
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait for a clean end before everything is killed.",
)
@json_option
def down(directory: Path, timeout: float, as_json: bool) -> None:
    """Stop a broker and leave no process. Its data stays."""
    state = folder.down(directory, timeout)
    if as_json:
        click.echo(json.dumps(asdict(state)))
    else:
        _progress(f"the broker at {state.bootstrap} is {state.state}")
