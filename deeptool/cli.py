"""The ``deeptool`` command: one module a subcommand, imported when it is called."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from deeptool.errors import run_command

COMMANDS = {
    "produce": "Run a settings file's pipeline once and upload its samples.",
    "train": "Run one trial.",
    "inspect": "List what is stored.",
    "view": "Draw stored samples as a picture.",
    "check": "Read a stored dataset, whole, and hold it against its digests.",
    "report": "Write the report of a run: one HTML page, CSV and JSON.",
    "delete": "Delete a stored dataset.",
}


class LazyGroup(click.Group):
    """A group whose commands live in ``deeptool.commands.<name>``, as ``<name>.command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"deeptool.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deeptool")
def cli() -> None:
    """Preprocess once, train many: tf.data samples in Kafka, read by every trial.

    Any command takes --debug, which shows tracebacks.
    """


def main() -> NoReturn:
    run_command(cli)
