"""How a command ended, as JSON for the program that started it.

A program that starts a command of this project names a file in the environment variable
`OUTCOME_VARIABLE`. The command writes it at its end, however it ends: success, error or signal.
Whoever reads it need not search logs for sentences. A command that was killed on the spot
(SIGKILL, out of memory) writes nothing: `read` returns None, and only the exit code is known.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deeptool.files import read_json, write_json

OUTCOME_VARIABLE = "DEEPTOOL_OUTCOME"
_FORMAT = 1


@dataclass(frozen=True)
class CommandError:
    """Why a command failed.

    Attributes
    ----------
    message : str
        The full text, as the command showed it after "error: ".
    what : str
        What failed, in one line.
    seen, valid, next_step : str, optional
        See `deeptool.errors.DeeptoolError`.
    """

    message: str
    what: str
    seen: str | None = None
    valid: str | None = None
    next_step: str | None = None


@dataclass(frozen=True)
class StoredTopic:
    """One dataset that the command stored, or found complete and reused.

    Attributes
    ----------
    topic, split : str
    samples, bytes : int
        Over all stored epochs; bytes of keys and values.
    reused : bool
        Whether it was complete before, so that nothing was uploaded.
    """

    topic: str
    split: str
    samples: int
    bytes: int
    reused: bool


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes
    ----------
    exit_code : int
        0 done; 2 the user's to correct; 1 a failure during the work; 128+n a signal.
    error : CommandError, optional
        None for a command that succeeded.
    stored : tuple of StoredTopic
        Of ``deeptool produce``, also where a later upload of the same command failed.
    """

    exit_code: int
    error: CommandError | None = None
    stored: tuple[StoredTopic, ...] = ()


def write(path: str | os.PathLike[str], outcome: Outcome) -> None:
    """Write the file so that a reader sees all of it or none.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_json(path, {"format": _FORMAT, **asdict(outcome)})


def read(path: str | os.PathLike[str]) -> Outcome | None:
    """What a command wrote; None if it has not ended, or was killed before it could write.

    Raises
    ------
    ValueError
        The file is not an outcome, or of a format that this version does not know.
    """
    written = read_json(path)
    if written is None:
        return None
    if not isinstance(written, Mapping) or written.get("format") != _FORMAT:
        raise ValueError(f"{path} is not an outcome of format {_FORMAT}")
    try:
        error: Any = written["error"]
        return Outcome(
            exit_code=written["exit_code"],
            error=None if error is None else CommandError(**error),
            stored=tuple(StoredTopic(**row) for row in written["stored"]),
        )
    except (KeyError, TypeError) as wrong:
        raise ValueError(f"{path} is not an outcome: {wrong!r}") from wrong


class OutcomeFile:
    """The file that the starter of this process wants, if it named one.

    Made at the start of a command. It takes the variable out of the environment: a process that the
    command starts must not write into the same file. It also removes what an earlier attempt left
    there, which would otherwise be taken for this one's if this one is killed.
    """

    def __init__(self) -> None:
        self._path = os.environ.pop(OUTCOME_VARIABLE, None)
        self._stored: list[StoredTopic] = []
        if self._path is not None:
            # Usually it is not there. Anything worse shows again when the file is written.
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def add_stored(self, stored: StoredTopic) -> None:
        self._stored.append(stored)

    def write(self, exit_code: int, error: CommandError | None) -> None:
        """Write how the command ended; nothing without the environment variable.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        if self._path is not None:
            write(self._path, Outcome(exit_code, error, tuple(self._stored)))
