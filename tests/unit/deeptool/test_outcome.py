"""The outcome file: how a command ended, for the program that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from deeptool import outcome
from deeptool.outcome import OUTCOME_VARIABLE, CommandError, Outcome, StoredTopic

COMMAND = """
import os, subprocess, sys, time
import click
from deeptool.errors import UserError, WorkError, run_command
from deeptool.outcome import OUTCOME_VARIABLE, OutcomeFile, StoredTopic

@click.group()
def group():
    pass

@group.command()
def go():
    file = click.get_current_context().find_object(OutcomeFile)
{body}

run_command(group, ["go"])
"""


def started(path: Path, body: str, tmp_path: Path) -> subprocess.Popen[str]:
    script = tmp_path / "command.py"
    script.write_text(COMMAND.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ")))
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {OUTCOME_VARIABLE: str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(tmp_path: Path, body: str) -> Outcome | None:
    """The outcome of a command, whose exit code it must hold."""
    path = tmp_path / "outcome.json"
    process = started(path, body, tmp_path)
    process.communicate(timeout=60)
    read = outcome.read(path)
    assert read is None or read.exit_code == process.returncode
    return read


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        ("pass", 0, None),
        ("return 7", 7, None),
        ("sys.exit(4)", 4, None),
        ("sys.exit()", 0, None),
        ("sys.exit('no')", 1, CommandError("no", "no")),
        (
            "raise UserError('a', seen={'b': 1}, valid='c', next_step='d')",
            2,
            CommandError("a\n  seen: {'b': 1}\n  valid: c\n  next: d", "a", "{'b': 1}", "c", "d"),
        ),
        ("raise WorkError('a')", 1, CommandError("a", "a")),
        (
            "raise KeyError('k')",
            1,
            CommandError("KeyError: 'k'", "KeyError: 'k'", next_step="run it again with --debug"),
        ),
        ("raise click.UsageError('no such option')", 2, CommandError(*["no such option"] * 2)),
        ("raise click.Abort()", 130, CommandError("interrupted", "interrupted")),
    ],
)
def test_every_end_is_written(
    tmp_path: Path, body: str, code: int, error: CommandError | None
) -> None:
    assert ended(tmp_path, body) == Outcome(code, error)


def test_what_was_stored_is_there_though_the_command_failed_later(tmp_path: Path) -> None:
    body = """
    file.add_stored(StoredTopic("s.0.val", "val", 10, 1000, reused=True))
    raise WorkError("the disk is full")
    """
    error = CommandError("the disk is full", "the disk is full")
    stored = (StoredTopic("s.0.val", "val", 10, 1000, reused=True),)
    assert ended(tmp_path, body) == Outcome(1, error, stored)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_outcome(tmp_path: Path, signum: signal.Signals) -> None:
    path = tmp_path / "outcome.json"
    process = started(path, "print('ready', flush=True); time.sleep(30)", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    process.communicate(timeout=20)
    said = "interrupted" if signum == signal.SIGINT else f"ended by {signum.name}"
    assert process.returncode == 128 + signum
    assert outcome.read(path) == Outcome(128 + signum, CommandError(said, said))


def test_a_killed_command_leaves_no_outcome_of_an_earlier_one(tmp_path: Path) -> None:
    outcome.write(tmp_path / "outcome.json", Outcome(0))
    assert ended(tmp_path, "os.kill(os.getpid(), 9)") is None


def test_what_a_command_starts_does_not_write_its_outcome(tmp_path: Path) -> None:
    body = """
    assert OUTCOME_VARIABLE not in os.environ
    """
    assert ended(tmp_path, body) == Outcome(0)


def test_a_file_that_cannot_be_written_does_not_make_the_command_fail(tmp_path: Path) -> None:
    process = started(tmp_path / "no" / "folder", "print('done')", tmp_path)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n")
    assert "warning: the outcome file could not be written" in errors
    assert "Traceback" not in errors


def test_only_outcomes_of_a_known_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    assert outcome.read(path) is None
    whole = Outcome(1, CommandError("a", "a"), (StoredTopic("t", "train", 1, 2, False),))
    outcome.write(path, whole)
    assert outcome.read(path) == whole
    written = json.loads(path.read_text())
    for wrong in (written | {"format": 2}, written | {"stored": [{"topic": "t"}]}, [], {}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="is not an outcome"):
            outcome.read(path)
