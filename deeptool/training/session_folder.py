"""The folder of one trial: its name, who works in it, and the files that others read."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import lock, read_json, sha256, write_json
from deeptool.training.result import TrialResult

LONGEST_NAME = 200
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class SessionFolder:
    """A session folder.

    What is in it: ``request.json`` (what was asked for), copies of the settings and the model file,
    ``config.json`` (what the trial was made of), ``progress.json``, ``history.csv``,
    ``result.json``, ``checkpoints/``, ``logs/`` (TensorBoard), ``model.keras`` and ``saved_model/``
    (the best weights).
    """

    path: Path

    @property
    def resume(self) -> str:
        """The command that resumes the trial."""
        return f"deeptool train --restart_interrupted --model_dir {shlex.quote(str(self.path))}"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def config(self) -> dict[str, Any]:
        """What `begin` wrote; empty before."""
        return read_json(self.path / "config.json") or {}

    def request(self) -> dict[str, Any] | None:
        """What was asked for; None where that was not even written."""
        # Earlier releases kept it in config.json alone.
        return read_json(self.path / "request.json") or self.config().get("request")

    def ask(self, request: Mapping[str, Any]) -> None:
        """Keep what is asked for, so that a trial that dies before it begins can be run again."""
        write_json(self.path / "request.json", dict(request))

    def begin(self, config: Mapping[str, Any], copies: Mapping[str, bytes]) -> None:
        """Keep what the trial is made of: this claims the folder."""
        for name, data in copies.items():
            (self.path / name).write_bytes(data)
        write_json(self.path / "config.json", dict(config))

    def result(self) -> TrialResult | None:
        """How the last run of the trial ended; None when it had no chance to say."""
        values = read_json(self.path / "result.json")
        return TrialResult.from_json(values) if values else None

    def end(self, result: TrialResult) -> None:
        write_json(self.path / "result.json", result.to_json())

    def show(self, state: str, **progress: Any) -> None:
        """Tell whoever watches ``progress.json``."""
        write_json(self.path / "progress.json", {"state": state, **progress, "time": time.time()})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains in this folder meanwhile.

        Raises
        ------
        UserError
            Another process does now.
        """
        try:
            held = lock(self.path / ".lock", wait=False, optional=True)
        except BlockingIOError as error:
            raise UserError(
                "another process trains in this session folder now", seen=str(self.path)
            ) from error
        with held:
            yield


def create(exact: str | os.PathLike[str] | None, parent: str = "", name: str = "") -> SessionFolder:
    """Make the folder of a new trial.

    Parameters
    ----------
    exact : path or None
        This very folder: it may exist, but not hold another trial.
    parent, name : str
        Else a folder of this name in `parent`, numbered where trials start in the same second.

    Raises
    ------
    UserError
        The folder holds another trial, or cannot be made.
    """
    try:
        if exact is None:
            return SessionFolder(_unused(Path(parent).expanduser(), name))
        session = SessionFolder(Path(os.path.abspath(Path(exact).expanduser())))
        session.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        seen = str(error.filename or exact or parent)
        reason = error.strerror or type(error).__name__
        raise UserError(f"no session folder can be made: {reason}", seen=seen) from error
    if session.config():
        raise UserError(
            "this session folder holds another trial",
            seen=str(session.path),
            next_step=f"{session.resume} resumes that one; else give another folder",
        )
    return session


def reopen(folder: str | os.PathLike[str]) -> SessionFolder:
    """The session folder of a trial that ran before.

    Raises
    ------
    UserError
        It is not one.
    """
    session = SessionFolder(Path(os.path.abspath(Path(folder).expanduser())))
    if session.request() is None:
        raise UserError(
            "this is not a session folder: it holds no request.json",
            seen=str(session.path),
            valid="a folder that an earlier trial made",
            next_step="start the trial again: deeptool train --usersettings FILE",
        )
    return session


def others(parent: str, session_name: str) -> list[SessionFolder]:
    """The sessions of this name in a folder, the last that began first."""
    found = []
    for path in Path(parent).expanduser().glob("*/config.json"):
        session = SessionFolder(path.parent.absolute())
        config = session.config()
        if config["settings"]["session_name"] == session_name:
            found.append((config["started"], session))
    return [session for _, session in sorted(found, key=lambda entry: entry[0], reverse=True)]


def folder_name(session_name: str, hparams: Mapping[str, Any], started: float) -> str:
    """``<session_name>_<hparams>_<time>``, with a hash for hparams that would make it too long."""
    when = time.strftime("%Y-%m-%d--%H-%M-%S", time.localtime(started))
    name = re.sub(r"[^A-Za-z0-9.=,+_-]+", "-", session_name)[: LONGEST_NAME // 2]
    text = "_".join(f"{key}={value}" for key, value in hparams.items())
    shown = re.sub(r"[^A-Za-z0-9.=,+_-]+", "-", text)
    if len(shown) > LONGEST_NAME - len(name):
        shown = sha256(text.encode())[:12]
    return "_".join(part for part in (name, shown, when) if part)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def explained(error: Exception, session: SessionFolder) -> Exception:
    """`error`, or what it comes to where the disk is full."""
    raised = error.__cause__ if isinstance(error.__cause__, OSError) else error
    full = isinstance(raised, OSError) and raised.errno in _NO_SPACE
    if not full and "No space left on device" not in str(error):
        return error
    place = getattr(raised, "filename", None) or session.path
    return WorkError(
        "there is no space left on the disk",
        seen=str(place),
        next_step=f"make room, then {session.resume}",
    )


def _unused(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10_000):
        path = Path(os.path.abspath(parent / (name if number == 1 else f"{name}-{number}")))
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError("no unused name for the session folder", seen=str(parent / name))
