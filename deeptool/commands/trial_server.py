"""``deeptool trial_server``: a launch on one machine starts it; it is not shown in the help."""

from __future__ import annotations

from functools import partial

import click

from deeptool.errors import run_command


@click.command(name="trial_server", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listener",
    type=click.IntRange(min=3),
    required=True,
    metavar="NUMBER",
    help="The file descriptor of the listening socket.",
)
@click.pass_context
def command(context: click.Context, listener: int) -> None:
    """Import TensorFlow once, and fork a process for each trial that is asked for."""
    from deeptool.training.trial_server import TrialServer, inherited

    with inherited(listener) as requests:
        arguments = TrialServer(requests, partial(click.echo, err=True)).serve()
    # Only a forked process comes here: it runs its own command.
    run_command(context.find_root().command, arguments)
