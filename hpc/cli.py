"""The ``deeptool-hpc`` command: one module a subcommand, imported when it is called."""

from __future__ import annotations

from typing import NoReturn

import click

from deeptool.errors import run_command
from deeptool.lazy import LazyGroup

COMMANDS = {
    "images": "Build the Singularity/Apptainer images.",
    "broker": "A real Kafka broker on this machine: up, down, status.",
    "render": "Print everything that a launch would run.",
    "launch": "Run a campaign: broker, producers and trials.",
    "status": "Show how a campaign is doing.",
    "logs": "Show the logs of a campaign's processes.",
    "down": "Stop everything that a campaign started.",
}


@click.group(
    cls=LazyGroup,
    package="hpc.commands",
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="deeptool")
def cli() -> None:
    """Brokers and campaigns: how the servers and jobs that deeptool needs come to exist.

    Any command takes --debug, which shows tracebacks.
    """


def main() -> NoReturn:
    run_command(cli)


if __name__ == "__main__":
    main()
