"""The ``deeptool`` command: one module a subcommand, imported when it is called."""

from __future__ import annotations

from typing import NoReturn

import click

from deeptool.errors import run_command
from deeptool.lazy import LazyGroup

COMMANDS = {
    "init": "Write a settings file, a model and a campaign to start from.",
    "produce": "Run a settings file's pipeline once and upload its samples.",
    "plan": "Find out what samples depend on, and if stored ones still fit.",
    "train": "Run one trial.",
    "inspect": "List what is stored.",
    "view": "Plot a few stored samples.",
    "check": "Verify every record of a stored dataset against its digest.",
    "seal": "Write a stored dataset to a folder, to be read without a broker.",
    "unseal": "Upload a sealed dataset to a broker again.",
    "report": "Write the report of a run: one HTML page, CSV and JSON.",
    "cache": "List or remove local copies of datasets on this node.",
    "delete": "Delete a stored dataset and free its space.",
}


@click.group(
    cls=LazyGroup,
    package="deeptool.commands",
    summaries=COMMANDS,
    hidden=("trial_server",),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="deeptool")
def cli() -> None:
    """Preprocess once, train many: tf.data samples in Kafka, read by every trial.

    Any command takes --debug, which shows tracebacks.
    """


def main() -> NoReturn:
    run_command(cli)
