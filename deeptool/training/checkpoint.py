"""Checkpoints: all variables of a trial and what its callbacks know, whole or not at all.

A checkpoint is a folder that is renamed into place once it is on the disk. The variables are those
of the model (seeds of its random layers included, which Keras' own weight files leave out) and of
its optimizers (iterations, slots, moving averages, loss scale); inside an epoch those of the
metrics, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deeptool.codec.values import Array, numpy_dtype
from deeptool.errors import UserError
from deeptool.files import read_json, write_json
from deeptool.training.session_folder import remove

# Of the ends of epochs; inside an epoch only the last one is of use.
KEPT = 2
# In the order of their names: a position comes after the end of the epoch before it.
_NAME = re.compile(r"epoch-(\d{6})(?:-batch-(\d{12}))?")
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Checkpoint:
    """The state at the end of an epoch, or inside one.

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
    batch : int
        How many batches of the epoch after these had been trained on; 0 at the end of an epoch.
    metrics : list of ndarray
        What the metrics had counted in these batches, in the order of ``model.metrics_variables``.
    """

    epoch: int
    variables: list[Array]
    best: list[Array] | None
    state: dict[str, Any]
    batch: int = 0
    metrics: list[Array] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"epoch-{self.epoch:06d}" + (f"-batch-{self.batch:012d}" if self.batch else "")


def variables_of(model: Any) -> list[Any]:
    """All that training changes: the variables of the model and of its optimizers."""
    import keras

    optimizers = {
        id(value): value
        for _, value in sorted(vars(model).items())
        if isinstance(value, keras.optimizers.Optimizer)
    }
    return [*model.variables, *(v for o in optimizers.values() for v in o.variables)]


def metrics_of(model: Any) -> list[Any]:
    """The variables in which a model's metrics count, its loss among them; each epoch resets them.

    All are made once the model is traced.
    """
    return [variable for metric in model.metrics for variable in metric.variables]


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


def restore(model: Any, checkpoint: Checkpoint) -> None:
    """Give a model's variables the values of a checkpoint, inside an epoch those of metrics too.

    Raises
    ------
    UserError
        It is not the model that was trained.
    """
    inside = metrics_of(model) if checkpoint.batch else []
    assign([*variables_of(model), *inside], [*checkpoint.variables, *checkpoint.metrics])


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and drop those that are of no use after it.

    These are other ones inside an epoch, and ends of epochs before the last `KEPT`.

    Raises
    ------
    OSError
        It could not be written; the earlier ones are as they were.
    """
    folder.mkdir(exist_ok=True)
    target = folder / checkpoint.name
    temporary = folder / f".{target.name}"
    # Those behind this one could not be used: what they have in common with it is by chance.
    behind = [path for path in _found(folder) if path.name >= target.name]
    for leftover in (*behind, *folder.glob(".epoch-*")):
        remove(leftover)
    temporary.mkdir()
    _write(temporary / "variables.npz", checkpoint.variables)
    if checkpoint.best is not None and not _linked(folder, temporary, checkpoint):
        _write(temporary / "best.npz", checkpoint.best)
    if checkpoint.metrics:
        _write(temporary / "metrics.npz", checkpoint.metrics)
    write_json(temporary / "state.json", checkpoint.state)
    temporary.rename(target)
    _sync(folder)
    ends, inside = _found(folder, inside=False), _found(folder, ends=False)
    for old in [*ends[KEPT:], *(path for path in inside if path != target)]:
        remove(old)


def load(folder: Path, *, inside: bool = True) -> Checkpoint | None:
    """The last checkpoint that is whole, None when there is none.

    Parameters
    ----------
    inside : bool
        It may be one inside an epoch.
    """
    for path in _found(folder, inside=inside):
        try:
            best, metrics = path / "best.npz", path / "metrics.npz"
            state = read_json(path / "state.json")
            if state is None:
                continue
            epoch, batch = _place(path)
            return Checkpoint(
                epoch=epoch,
                variables=_read(path / "variables.npz"),
                best=_read(best) if best.exists() else None,
                state=state,
                batch=batch,
                metrics=_read(metrics) if metrics.exists() else [],
            )
        except _BROKEN:
            # A machine that went down under it; the one before is whole.
            continue
    return None


def _found(folder: Path, *, ends: bool = True, inside: bool = True) -> list[Path]:
    """The checkpoints of a folder at ends of epochs and inside them, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    wanted = (path for path in found if (inside if _place(path)[1] else ends))
    return sorted(wanted, reverse=True)


def _place(path: Path) -> tuple[int, int]:
    """The epochs that had ended, and the batches of the next one, by a checkpoint's name."""
    epoch, batch = path.name.removeprefix("epoch-").partition("-batch-")[::2]
    return int(epoch), int(batch or 0)


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
