"""Checkpoints: all variables of a trial and what its callbacks know, whole or not at all.

A checkpoint is a folder that is renamed into place once it is on the disk. The variables are those
of the model (seeds of its random layers included, which Keras' own weight files leave out) and of
its optimizers (iterations, slots, moving averages, loss scale).
"""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeptool.codec.values import Array, numpy_dtype
from deeptool.errors import UserError
from deeptool.files import read_json, write_json
from deeptool.training.session_folder import remove

KEPT = 2
_NAME = re.compile(r"epoch-(\d{6})")
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Checkpoint:
    """The state at the end of an epoch.

    Attributes
    ----------
    epoch : int
        How many epochs had ended.
    variables : list of ndarray
        In the order of `variables_of`.
    best : list of ndarray or None
        The model's own variables at the best epoch so far, ``state["best_epoch"]``.
    state : dict
        What else has to be restored, as JSON.
    """

    epoch: int
    variables: list[Array]
    best: list[Array] | None
    state: dict[str, Any]


def variables_of(model: Any) -> list[Any]:
    """All that training changes: the variables of the model and of its optimizers."""
    import keras

    optimizers = {
        id(value): value
        for _, value in sorted(vars(model).items())
        if isinstance(value, keras.optimizers.Optimizer)
    }
    return [*model.variables, *(v for o in optimizers.values() for v in o.variables)]


def values_of(variables: Sequence[Any]) -> list[Array]:
    """Copies of the variables' values."""
    return [np.array(variable) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Give variables the values of a checkpoint.

    Raises
    ------
    UserError
        They are other variables: the model is not the one that was trained.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    stored = [tuple(value.shape) for value in values]
    if shapes != stored:
        pairs = zip(variables, shapes, stored, strict=False)
        differing = [f"{there} for {v.path}" for v, here, there in pairs if here != there]
        raise UserError(
            "the checkpoint does not fit the model",
            seen=differing[0] if differing else f"{len(stored)} variables",
            valid=f"the {len(shapes)} variables of this model",
            next_step="undo what has changed in the model since the trial began, or start a trial",
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and drop those before the last `KEPT`.

    Raises
    ------
    OSError
        It could not be written; the earlier ones are as they were.
    """
    folder.mkdir(exist_ok=True)
    target = folder / f"epoch-{checkpoint.epoch:06d}"
    temporary = folder / f".{target.name}"
    for leftover in (target, *folder.glob(".epoch-*")):
        remove(leftover)
    temporary.mkdir()
    _write(temporary / "variables.npz", checkpoint.variables)
    if checkpoint.best is not None and not _linked(folder, temporary, checkpoint):
        _write(temporary / "best.npz", checkpoint.best)
    write_json(temporary / "state.json", checkpoint.state)
    temporary.rename(target)
    _sync(folder)
    for old in _found(folder)[KEPT:]:
        remove(old)


def load(folder: Path) -> Checkpoint | None:
    """The last checkpoint that is whole, None when there is none."""
    for path in _found(folder):
        try:
            best = path / "best.npz"
            state = read_json(path / "state.json")
            if state is None:
                continue
            return Checkpoint(
                epoch=int(path.name.partition("-")[2]),
                variables=_read(path / "variables.npz"),
                best=_read(best) if best.exists() else None,
                state=state,
            )
        except _BROKEN:
            # A machine that went down under it; the one before is whole.
            continue
    return None


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _linked(folder: Path, new: Path, checkpoint: Checkpoint) -> bool:
    """Whether the weights of the best epoch could be shared with the checkpoint before."""
    for last in _found(folder)[:1]:
        with contextlib.suppress(OSError, ValueError):
            if read_json(last / "state.json")["best_epoch"] == checkpoint.state["best_epoch"]:
                os.link(last / "best.npz", new / "best.npz")
                return True
    return False


def _write(path: Path, values: Sequence[Array]) -> None:
    # Named by their dtype: NumPy's format forgets those that it has not (bfloat16).
    named: dict[str, Any] = {f"{n:06d}-{value.dtype}": value for n, value in enumerate(values)}
    with open(path, "wb") as file:
        np.savez(file, **named)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> list[Array]:
    with np.load(path) as stored:
        return [stored[name].view(numpy_dtype(name.partition("-")[2])) for name in stored.files]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
