"""Which pass comes next, for processes that read one dataset together, such as a loader's workers.

Worker processes are started again for each epoch, with a copy of their parent's objects; nothing
tells the parent. So what was read is counted in memory that all of them share.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import context, reduction
from typing import Any, NamedTuple

from deeptool.errors import UserError
from deeptool.reader.read_request import Position

# So many loaders may read one dataset at the same time.
_ITERATIONS_KEPT = 8
_NAME = "deeptool-position"


class Worker(NamedTuple):
    """A process of a loader.

    Attributes
    ----------
    worker, workers : int
        This is process `worker` of `workers`.
    iteration : int
        The same in all processes that were started together, and in no others.
    """

    worker: int
    workers: int
    iteration: int


@dataclass
class _Iteration:
    """An iteration of a loader over all its workers: those that have begun, begun at one place."""

    tag: int
    position: Position
    begun: list[int] = field(default_factory=list)


class SharedPosition:
    """Where the next iterator begins, and the seed of its order.

    It is shared with child processes, by whatever method they are started; copies are on their own.

    Parameters
    ----------
    position : Position
    seed : int or None
    """

    def __init__(self, position: Position, seed: int | None) -> None:
        self._hold(os.memfd_create(_NAME))
        self._write(_fresh(position, seed))

    @property
    def position(self) -> Position:
        """Of the next iterator."""
        with self._locked() as state:
            return Position(*state["position"])

    @property
    def seed(self) -> int | None:
        with self._locked() as state:
            seed: int | None = state["seed"]
            return seed

    @property
    def by_workers(self) -> bool:
        """Whether the last iterator was a worker's: then other processes know how far it came."""
        with self._locked() as state:
            return bool(state["by_workers"])

    def set(self, position: Position, seed: int | None) -> None:
        """Let the next iterator begin there."""
        with self._locked():
            self._write(_fresh(position, seed))

    def set_seed(self, seed: int | None) -> None:
        """Let iterators that begin from now on have the order of `seed`."""
        with self._locked() as state:
            self._write({**state, "seed": seed})

    def begin(
        self, passes: int | None, worker: Worker | None, at: Position | None = None
    ) -> Position:
        """Begin an iterator; the next one begins behind it.

        All workers of one iteration begin at the same place.

        Parameters
        ----------
        passes : int or None
            How many passes it makes; None: without an end, and then all begin alike.
        worker : Worker or None
            Who begins; None: nobody reads beside this process.
        at : Position, optional
            Where it begins all the same.

        Raises
        ------
        UserError
            Several workers are to begin within a pass.
        """
        with self._locked() as state:
            kept = [_Iteration(tag, Position(*at), begun) for tag, at, begun in state["iterations"]]
            iteration = next((one for one in kept if worker and one.tag == worker.iteration), None)
            if iteration is not None and worker and worker.worker not in iteration.begun:
                position = at or iteration.position
            else:
                position = at or Position(*state["position"])
                if at is None:
                    check_begin(position, worker)
                if passes is not None:
                    state["position"] = Position(position.epoch + passes, 0)
                if iteration is not None:
                    kept.remove(iteration)
                iteration = worker and _Iteration(worker.iteration, position)
                kept += [iteration] if iteration else []
            if worker and iteration:
                iteration.begun.append(worker.worker)
            state["by_workers"] = worker is not None
            state["iterations"] = [
                [one.tag, one.position, one.begun] for one in kept[-_ITERATIONS_KEPT:]
            ]
            self._write(state)
            return position

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        # A lock of the process: processes that share a descriptor exclude each other, too.
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield json.loads(os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0))
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _write(self, state: dict[str, Any]) -> None:
        text = json.dumps(state).encode()
        os.ftruncate(self._descriptor, os.pwrite(self._descriptor, text, 0))

    def __getstate__(self) -> dict[str, Any]:
        if context.get_spawning_popen() is None:
            with self._locked() as state:
                return {"content": state}
        return {"descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "descriptor" in state:
            self._hold(state["descriptor"].detach())
        else:
            self._hold(os.memfd_create(_NAME))
            self._write(state["content"])


def _fresh(position: Position, seed: int | None) -> dict[str, Any]:
    return {"position": position, "seed": seed, "iterations": [], "by_workers": False}


def check_begin(position: Position, worker: Worker | None) -> None:
    """Return if a process of a loader can begin there, with nothing but this position.

    Raises
    ------
    UserError
        It is within a pass, and there are several workers: each is somewhere else in it.
    """
    if position.element and worker is not None and worker.workers > 1:
        raise UserError(
            "several workers cannot begin within a pass",
            seen=f"pass {position.epoch}, batch {position.element}; num_workers={worker.workers}",
            valid="num_workers of 0 or 1, or the first batch of a pass",
            next_step="let torchdata's StatefulDataLoader keep the positions of its workers, or "
            "resume with the next pass: set_epoch(epoch + 1)",
        )
