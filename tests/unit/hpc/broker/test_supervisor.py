"""A detached supervisor that ended before its broker was ready: its error is its outcome file's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deeptool.errors import UserError, WorkError
from hpc.broker import jars, supervisor
from hpc.broker.broker_options import BrokerOptions

# Stands for `python -m hpc.cli`: its arguments are a script.
RUNNER = """#!/bin/sh
exec {python} -c "$3"
"""

FAILS = """
import sys
from deeptool.errors import UserError, run_command
import click
@click.command()
def command():
    click.echo("starting", err=True)
    raise UserError(
        "the port is taken", seen="1.2.3.4:5", valid="another port", next_step="--port P"
    )
run_command(command, [])
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(RUNNER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(program))
    monkeypatch.setattr(jars, "prepare", lambda options, progress: None)


def test_it_is_raised_as_it_was_there(tmp_path: Path, runner: None) -> None:
    lines: list[str] = []
    options = BrokerOptions(tmp_path / "b")
    with pytest.raises(UserError) as caught:
        supervisor.run_detached(options, [FAILS], lines.append)
    error = caught.value
    assert (error.what, error.seen, error.valid) == (
        *("the port is taken", "1.2.3.4:5", "another port"),
    )
    assert error.next_step == "--port P"
    assert lines == ["starting"]
    # One that was killed says nothing, and what an earlier one said is not taken for its own.
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(WorkError, match="supervisor has ended") as killed_error:
        supervisor.run_detached(options, [killed], lines.append)
    assert killed_error.value.seen == "exit code -9"
    assert str(tmp_path / "b" / "logs" / "supervisor.log") in str(killed_error.value)
