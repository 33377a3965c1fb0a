"""Whether Keras takes a trial's model, loss, metrics and optimizer: before anything is uploaded.

This runs in a process of its own: it executes the user's code, and TensorFlow's operations.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from deeptool.errors import UserError

# A model of any size that a trial builds in a minute; one that takes longer is not waited for.
_SECONDS = 120.0
_NICE = 10
_UNTRIED = "the model could not be tried here, before the trials"


@dataclass(frozen=True)
class CheckedTrial:
    """The trial whose model is tried.

    Attributes
    ----------
    usersettings : str
        The settings file.
    proc_id, num_procs, hparams
        As for `deeptool.settings.load_settings`.
    """

    usersettings: str
    proc_id: int | None = None
    num_procs: int | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)


class ModelCheck:
    """One check, which runs beside what its maker does meanwhile.

    Parameters
    ----------
    trial : CheckedTrial
    """

    def __init__(self, trial: CheckedTrial) -> None:
        from deeptool.pipelines.probe_process import can_fork

        fork = multiprocessing.get_context("fork")
        context: Any = fork if can_fork() else multiprocessing.get_context("spawn")
        self._answer, answer = fork.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(trial, answer), daemon=True)
        self._process.start()
        answer.close()

    def __enter__(self) -> ModelCheck:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()

    def warning(self) -> str:
        """Wait for the result: what could not be tried, and why; empty where Keras takes it all.

        Raises
        ------
        UserError
            As a trial would.
        """
        try:
            found = self._answer.recv() if self._answer.poll(_SECONDS) else None
        except EOFError:
            found = None
        if found is None:
            return f"{_UNTRIED}: it took too long, or too much memory"
        if found.get("certain"):
            raise UserError(**found["error"])
        return f"{_UNTRIED}: {found['error']['what']}" if found else ""


def _run(trial: CheckedTrial, answer: Connection) -> None:
    os.nice(_NICE)
    # What the user's code says, the trials say as well.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    answer.send(check_model(trial))


def check_model(trial: CheckedTrial) -> dict[str, Any]:
    """Build and compile a trial's model, and have Keras trace its steps for the samples' types.

    Returns
    -------
    dict
        Empty where Keras takes it all. Else "error", the parts of a `UserError`, and "certain":
        whether a trial on another machine would fail as well.
    """
    import tensorflow as tf

    from deeptool.settings import load_settings
    from deeptool.training.model import compiled
    from deeptool.training.rehearsal import rehearse_step

    tf.config.set_visible_devices([], "GPU")
    try:
        settings = load_settings(
            trial.usersettings,
            proc_id=trial.proc_id,
            num_procs=trial.num_procs,
            hparams=trial.hparams,
        )
        model = settings.build_model()
        compiled(settings, model)
        if settings.batched and not model.run_eagerly:
            rehearse_step(model, settings, settings.online(_samples(settings), True))
    except UserError as error:
        return {"certain": _certain(error.__cause__), "error": error.details}
    return {}


def _samples(settings: Any) -> Any:
    """The pipeline's dataset. What is wrong with that, the probe of the pipeline says."""
    try:
        return settings.pipeline("train")
    except UserError as error:
        error.__cause__ = OSError()
        raise


def _certain(cause: BaseException | None) -> bool:
    """Whether it is no matter of this machine: its devices, memory, files or network."""
    import tensorflow as tf

    elsewhere = (tf.errors.OpError, OSError, MemoryError)
    # Keras raises a plain Exception where weights cannot be fetched.
    return not isinstance(cause, elsewhere) and type(cause) is not Exception
