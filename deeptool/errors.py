"""What goes wrong, said once and clearly, and the exit code that goes with it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click


class DeeptoolError(Exception):
    """An error with all its reader needs: what failed, what was seen, what is valid, what next.

    Parameters
    ----------
    what : str
        What failed, in one line.
    seen : object, optional
        The offending value, shown with ``repr`` unless it is a string.
    valid : str, optional
        What would have been accepted.
    next_step : str, optional
        What to do now, a command where there is one.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        seen: object = None,
        valid: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.seen, self.valid, self.next_step = what, seen, valid, next_step

    def __str__(self) -> str:
        seen = self.seen if self.seen is None or isinstance(self.seen, str) else repr(self.seen)
        details = (("seen", seen), ("valid", self.valid), ("next", self.next_step))
        return "\n".join([self.what] + [f"  {name}: {text}" for name, text in details if text])


class UserError(DeeptoolError):
    """The user's to correct, found before any work began (exit code 2)."""

    exit_code = 2


class WorkError(DeeptoolError):
    """A failure during the work (exit code 1)."""

    exit_code = 1


class Terminated(BaseException):
    """A signal asked the process to end; like KeyboardInterrupt, not to be caught as an error."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def run_command(command: click.Command, args: Sequence[str] | None = None) -> NoReturn:
    """Run a click command and end the process with the designed exit code.

    0 done; 2 the user's to correct; 1 a failure during the work; 128+n a signal. A traceback is
    shown only where the command line holds ``--debug``.

    Ctrl-C, SIGTERM and SIGHUP unwind the command, so that it ends what it began; another one
    interrupts that too, and one more, once all is unwound, ends the process on the spot.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _raise_terminated)
    # nohup has it ignored.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _raise_terminated)
    try:
        returned = command.main(arguments, standalone_mode=False)
        sys.stdout.flush()
        # Without standalone mode click returns the code of ctx.exit(), which --help uses.
        code = returned if type(returned) is int else 0
    except SystemExit:
        raise
    except BaseException as error:
        code = _report(error, debug)
    sys.exit(code)


def _raise_terminated(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(signum)


def _report(error: BaseException, debug: bool) -> int:
    """Say what ended a command; returns the exit code."""
    ended = _signal_behind(error)
    if ended is not None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
    if debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has gone: no message (click does the same, for long outputs), and
        # the interpreter's own last flush must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    code = 1
    if isinstance(error, click.ClickException):
        error.show()
        code = error.exit_code
    elif isinstance(error, DeeptoolError):
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    elif isinstance(error, Exception) and not isinstance(error, click.Abort):
        hint = "" if debug else "\n  next: run it again with --debug"
        click.echo(f"error: {type(error).__name__}: {error}{hint}", err=True)
    if ended is None:
        return code
    click.echo("interrupted" if ended == signal.SIGINT else f"ended by {ended.name}", err=True)
    return 128 + ended


def _signal_behind(error: BaseException | None) -> signal.Signals | None:
    """The signal that began the unwinding in which `error` came up, if one did."""
    while error is not None:
        if isinstance(error, Terminated):
            return signal.Signals(error.exit_code - 128)
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            return signal.SIGINT
        error = error.__context__
    return None
