"""Errors that say all their reader needs, and how a command ends: message, exit code, outcome."""

from __future__ import annotations

import difflib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import click

from deeptool.outcome import CommandError, OutcomeFile
from deeptool.quiet_tensorflow import quiet_tensorflow
from deeptool.termination import Terminated as Terminated
from deeptool.termination import end_on_signals, raise_on_signals


def printable(text: object, *, lines: bool = False) -> str:
    r"""Text that came from elsewhere, as a terminal may show it: what would command it is escaped.

    Control characters (escape codes among them), characters that turn the direction of writing or
    show nothing, and surrogates become ``\x1b``, ``\u202e`` and the like.

    Parameters
    ----------
    lines : bool
        Leave the ends of lines and tabs as they are.
    """
    return "".join(
        character
        if character.isprintable() or (lines and character in "\n\t")
        else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The one of the `known` names that a misspelt one probably means; None where none is like it.

    Letters that are wrong, missing or in another order, an abbreviation (``lr``), a part.
    """
    lower = {each.lower(): each for each in known}
    given = name.lower()
    if close := difflib.get_close_matches(given, lower, 1):
        return lower[close[0]]
    for each in lower:
        words = each.replace("-", "_").split("_")
        if len(words) > 1 and given == "".join(word[:1] for word in words):
            return lower[each]
    parts = [each for each in lower if len(given) > 2 and given in each]
    return lower[parts[0]] if len(parts) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`near_name` for the end of a message; empty where no name is like it."""
    near = near_name(name, known)
    return f" (did you mean {near}?)" if near not in (None, name) else ""


# A dataset may have thousands of components, and each has a name.
_LONGEST_DETAIL = 2000


def _cut(text: str) -> str:
    left_out = len(text) - _LONGEST_DETAIL
    return text if left_out <= 0 else f"{text[:_LONGEST_DETAIL]}... ({left_out:,} characters more)"


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

    @property
    def details(self) -> dict[str, Any]:
        """What it was made of, as JSON: ``what``, ``seen``, ``valid``, ``next_step``."""
        facts = {"seen": self.seen_text, "valid": self.valid, "next_step": self.next_step}
        return {"what": self.what, **facts}

    @property
    def seen_text(self) -> str | None:
        """The offending value as a message shows it."""
        return self.seen if self.seen is None or isinstance(self.seen, str) else repr(self.seen)

    def __str__(self) -> str:
        details = (("seen", self.seen_text), ("valid", self.valid), ("next", self.next_step))
        found = [self.what] + [f"  {name}: {_cut(text)}" for name, text in details if text]
        # Much of it may have come from a broker.
        return printable("\n".join(found), lines=True)


class UserError(DeeptoolError):
    """The user's to correct, found before any work began (exit code 2)."""

    exit_code = 2


class WorkError(DeeptoolError):
    """A failure during the work (exit code 1)."""

    exit_code = 1


def run_command(command: click.Command, args: Sequence[str] | None = None) -> NoReturn:
    """Run a click command and end the process with the designed exit code.

    0 done; 2 the user's to correct; 1 a failure during the work; 128+n a signal. A traceback is
    shown only where the command line holds ``--debug``. How the command ended is also written to
    the outcome file, where the environment names one (see `deeptool.outcome`); a command finds it
    by ``click.get_current_context().find_object(OutcomeFile)``.

    Ctrl-C, SIGTERM and SIGHUP unwind the command, so that it ends what it began. A second one
    interrupts that too, and one more, once all is unwound, ends the process on the spot.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    outcome_file = OutcomeFile()
    raise_on_signals()
    quiet_tensorflow()
    failed: CommandError | None = None
    try:
        returned = command.main(arguments, standalone_mode=False, obj=outcome_file)
        sys.stdout.flush()
        # Without standalone mode click returns the code of ctx.exit(), which --help uses.
        code = returned if type(returned) is int else 0
    except BaseException as error:
        code, failed = _report(error, debug)
    # Nothing is left to unwind: a signal that comes now would only show a traceback.
    end_on_signals()
    _write_outcome(outcome_file, code, failed)
    sys.exit(code)


def _write_outcome(outcome_file: OutcomeFile, code: int, error: CommandError | None) -> None:
    try:
        outcome_file.write(code, error)
    except OSError as unwritten:
        # What the command did is done: its exit code stays what it is.
        click.echo(f"warning: the outcome file could not be written: {unwritten}", err=True)


# A read-only disk or home folder, or somebody else's.
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def _report(error: BaseException, debug: bool) -> tuple[int, CommandError | None]:
    """Print what ended a command; returns the exit code and what the outcome file says."""
    if isinstance(error, SystemExit):
        return _exit_asked(error)
    ended = _signal_behind(error)
    if ended is not None:
        end_on_signals()
    if debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has gone: no message (click does the same, for long outputs), and
        # the interpreter's own last flush must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        closed = "the command's output was closed before it was all written"
        return 1, CommandError(message=closed, what=closed)
    code, described = 1, None
    if isinstance(error, click.ClickException):
        error.show()
        code, message = error.exit_code, error.format_message()
        described = CommandError(message=message, what=message)
    elif isinstance(error, DeeptoolError):
        click.echo(f"error: {error}", err=True)
        code, described = error.exit_code, _described(error)
    elif isinstance(error, Exception) and not isinstance(error, click.Abort):
        what, hint = f"{type(error).__name__}: {error}", "run it again with --debug"
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            hint = (
                "choose folders that you can write to: the command's own options, HOME and TMPDIR;"
                " --debug shows where it was"
            )
        what = printable(what, lines=True)
        click.echo(f"error: {what}" + ("" if debug else f"\n  next: {hint}"), err=True)
        described = CommandError(message=what, what=what, next_step=hint)
    if ended is None:
        return code, described
    said = "interrupted" if ended == signal.SIGINT else f"ended by {ended.name}"
    click.echo(said, err=True)
    return 128 + ended, described or CommandError(message=said, what=said)


def _exit_asked(error: SystemExit) -> tuple[int, CommandError | None]:
    """Of ``sys.exit(code)`` in a command, which means by it what Python does."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0, None
    message = str(error.code)
    click.echo(message, err=True)
    return 1, CommandError(message=message, what=message)


def _described(error: DeeptoolError) -> CommandError:
    return CommandError(message=str(error), **error.details)


def _signal_behind(error: BaseException | None) -> signal.Signals | None:
    """The signal that began the unwinding in which `error` came up, if one did."""
    while error is not None:
        if isinstance(error, Terminated):
            return signal.Signals(error.exit_code - 128)
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            return signal.SIGINT
        error = error.__context__
    return None
