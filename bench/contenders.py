"""What is measured: each module of ours and of the peers offers some of these."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from bench.workloads import Source, Workload, read_source


@dataclass(frozen=True)
class Absent:
    """A contender that cannot be measured here, and why."""

    reason: str


@dataclass(frozen=True)
class Pass:
    """Reads all samples, again and again.

    Attributes
    ----------
    batches : callable
        Given the number of a pass, returns the labels of each of its batches; the samples
        themselves must be in memory by then.
    every : int
        It reads every `every`-th sample only, as storing all of them would take too long.
    """

    batches: Callable[[int], Iterable[Any]]
    every: int = 1


@dataclass(frozen=True)
class Timed:
    """What a `Work` says of itself.

    Attributes
    ----------
    samples, seconds
        How many, in how long.
    anonymous_mb : float, optional
        The memory of a process that did it, if that is another one.
    """

    samples: int
    seconds: float
    anonymous_mb: float | None = None


@dataclass(frozen=True)
class Work:
    """Does something else, and says how long it took without what comes before and after.

    Attributes
    ----------
    run : callable
        Given the number of the run.
    """

    run: Callable[[int], Timed]


Contender = Pass | Work | Absent


@dataclass(frozen=True)
class Context:
    """What a contender is given.

    Attributes
    ----------
    workload : Workload
    shared : Path
        A folder that all contenders of a workload see; the source is in it.
    servers : str
        The address of the broker.
    closing : ExitStack
        Closed when the workload is done.
    """

    workload: Workload
    shared: Path
    servers: str
    closing: ExitStack

    @property
    def source(self) -> Source:
        return read_source(self.shared)

    @property
    def dataset_name(self) -> str:
        """The name under which ours is stored for all that read it."""
        return f"bench-{self.workload.name}"

    def folder(self, name: str) -> Path:
        """A folder of one's own, made when it is not there."""
        path = self.shared / name
        path.mkdir(exist_ok=True)
        return path


class ContenderModule(Protocol):
    """A module that offers contenders, and prepares what they read before it returns them."""

    def contenders(self, context: Context) -> Mapping[str, Contender]: ...


def offered(module: str, context: Context) -> Mapping[str, Contender]:
    """What the module named `module` offers."""
    return cast(ContenderModule, importlib.import_module(module)).contenders(context)
