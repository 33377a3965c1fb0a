"""The ``deeptool-hpc`` command: one module a subcommand, imported when it is called."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from deeptool.errors import run_command

COMMANDS = {
    "images": "Build the Singularity/Apptainer images.",
    "broker": "A real Kafka broker on this machine: up, down, status.",
    "render": "Print everything that a launch would run.",
    "launch": "Run a campaign: broker, producers and trials.",
    "status": "Show how a campaign is doing.",
    "logs": "Show the logs of a campaign's processes.",
    "down": "Stop everything that a campaign started.",
}


class LazyGroup(click.Group):
    """A group whose commands live in ``hpc.commands.<name>``, as ``<name>.command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hpc.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deeptool")
def cli() -> None:
    """Brokers and campaigns: how the servers and jobs that deeptool needs come to exist.

    Any command takes --debug, which shows tracebacks.
    """


def main() -> NoReturn:
    run_command(cli)


if __name__ == "__main__":
    main()
