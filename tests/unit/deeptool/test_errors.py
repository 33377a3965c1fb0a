"""Exit codes and messages of commands, in processes of their own: signals are what it is about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deeptool.errors import DeeptoolError, UserError, WorkError

COMMAND = """
import os, signal, sys, time
import click
from deeptool.errors import UserError, WorkError, run_command

def wait():
    print("ready", flush=True)
    time.sleep(30)

@click.command()
@click.option("--value", default="")
def command(value):
{body}

run_command(command)
"""


def script(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "command.py"
    path.write_text(COMMAND.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ")))
    return [sys.executable, str(path)]


def run(tmp_path: Path, body: str, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [*script(tmp_path, body), *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@contextmanager
def started(tmp_path: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """The command, once it has printed "ready"."""
    process = subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_error_shows_each_of_its_parts_once() -> None:
    error = UserError("no topic", seen={"a": 1}, valid="a topic", next_step="deeptool inspect")
    assert str(error) == "no topic\n  seen: {'a': 1}\n  valid: a topic\n  next: deeptool inspect"
    assert str(WorkError("it broke", seen="as it is")) == "it broke\n  seen: as it is"
    assert str(DeeptoolError("seen nothing", seen=0)) == "seen nothing\n  seen: 0"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("pass", 0, ""),
        ("return 7", 7, ""),
        ("return True", 0, ""),
        ("click.get_current_context().exit(3)", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("raise UserError('a', seen='b')", 2, "error: a\n  seen: b\n"),
        ("raise WorkError('a', next_step='c')", 1, "error: a\n  next: c\n"),
        ("raise KeyError('k')", 1, "error: KeyError: 'k'\n  next: run it again with --debug\n"),
        (
            "raise PermissionError(13, 'Permission denied', '/home/x')",
            1,
            "error: PermissionError: [Errno 13] Permission denied: '/home/x'\n  next: choose"
            " folders that you can write to: the command's own options, HOME and TMPDIR; --debug"
            " shows where it was\n",
        ),
        ("raise click.ClickException('no')", 1, "Error: no\n"),
    ],
)
def test_exit_codes_and_messages(tmp_path: Path, body: str, code: int, message: str) -> None:
    result = run(tmp_path, body)
    assert (result.returncode, result.stderr) == (code, message)


def test_a_usage_error_is_the_users(tmp_path: Path) -> None:
    result = run(tmp_path, "pass", "--nonsense")
    assert result.returncode == 2
    assert "--nonsense" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_is_no_error(tmp_path: Path) -> None:
    result = run(tmp_path, "raise WorkError('not called')", "--help")
    assert (result.returncode, "Usage:" in result.stdout) == (0, True)


@pytest.mark.parametrize(("error", "code"), [("UserError", 2), ("WorkError", 1), ("KeyError", 1)])
def test_debug_shows_the_traceback_and_keeps_the_code(
    tmp_path: Path, error: str, code: int
) -> None:
    result = run(tmp_path, f"raise {error}('what')", "--debug", "--value", "x")
    assert result.returncode == code
    assert "Traceback" in result.stderr
    assert "run it again with --debug" not in result.stderr


@pytest.mark.parametrize(
    ("signum", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_a_signal_unwinds_the_command(tmp_path: Path, signum: signal.Signals, said: str) -> None:
    body = """
    try:
        wait()
    finally:
        print("unwound", flush=True)
    """
    with started(tmp_path, body) as process:
        process.send_signal(signum)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors.strip()) == (128 + signum, "unwound\n", said)


def test_a_signal_is_the_exit_code_though_the_unwinding_fails(tmp_path: Path) -> None:
    body = """
    try:
        wait()
    finally:
        raise WorkError("the broker does not answer")
    """
    with started(tmp_path, body) as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 143
    assert errors == "error: the broker does not answer\nended by SIGTERM\n"


def test_a_second_interrupt_ends_the_unwinding(tmp_path: Path) -> None:
    body = """
    try:
        wait()
    finally:
        wait()
    """
    with started(tmp_path, body) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_one_more_interrupt_ends_a_process_whose_threads_hang(tmp_path: Path) -> None:
    body = """
    import threading
    threading.Thread(target=lambda: (wait(), wait())).start()
    time.sleep(30)
    """
    with started(tmp_path, body) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().strip() in ("", "interrupted")
        assert process.stderr.readline().strip() in ("", "interrupted")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_a_reader_that_goes_away_hears_no_complaint(tmp_path: Path, length: int) -> None:
    argv = script(tmp_path, f"print('x' * {length})")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    assert (process.wait(20), errors) == (1, "")


def test_nohup_is_respected(tmp_path: Path) -> None:
    body = """
    os.kill(os.getpid(), signal.SIGHUP)
    print("alive")
    """
    argv = script(tmp_path, body)
    result = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        env=dict(os.environ),
    )
    assert (result.returncode, result.stdout) == (0, "alive\n")


def test_a_detail_of_thousands_of_names_is_cut() -> None:
    names = ", ".join(f"'column {number}'" for number in range(4200))
    error = UserError("other columns", seen=names, valid="'x'", next_step="look")
    text = str(error)
    assert len(text) < 2200
    assert "'column 1'" in text
    assert f"... ({len(names) - 2000:,} characters more)" in text
    assert text.endswith("  valid: 'x'\n  next: look")
    # Programs see all of it.
    assert error.seen == names
