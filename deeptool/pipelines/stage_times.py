"""What each stage of a ``tf.data`` pipeline costs, measured by reading it for a while.

Buffers (shuffle, prefetch) read ahead, so costs are counted per element of each operation, and from
there per sample that the pipeline yields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from deeptool.pipelines.iterator_model import (
    Nodes,
    OperationWork,
    main_nodes,
    read_model,
    work_between,
)
from deeptool.pipelines.pipeline_graph import GraphStage, main_line

# Operations that make one element of each that they read.
_ONE_TO_ONE = ("Map", "Shuffle", "Prefetch", "Cache", "Repeat", "Take", "Skip", "AssertCard")
# Of the time for the whole pipeline: for a part of it that is read by itself.
_PART = 0.5
# The model is looked at after each of the first elements, and then this often in a reading.
_FIRST_LOOKS = 4
_LOOKS = 20


@dataclass(frozen=True)
class StageCost:
    """One stage, per sample that the whole pipeline yields.

    Attributes
    ----------
    kind, function, random
        See `GraphStage`.
    seconds : float
        Of work in its threads.
    bytes : float
        That it yields.
    """

    kind: str
    function: str
    random: bool
    seconds: float
    bytes: float


@dataclass(frozen=True)
class PipelineCost:
    """A pipeline that was read for a while.

    Attributes
    ----------
    stages : tuple of StageCost
        From the source to the end.
    elements, samples : int
        That were read.
    ended : bool
        Whether these were all.
    cpu_seconds, wall_seconds : float
        Per sample, of this process; what buffers read ahead is not counted.
    """

    stages: tuple[StageCost, ...]
    elements: int
    samples: int
    ended: bool
    cpu_seconds: float
    wall_seconds: float


@dataclass
class _StageReading:
    """One reading of a pipeline, or of its beginning."""

    elements: int = 0
    samples: int = 0
    ended: bool = False
    # Process and wall clock at the start, after the first element, and now.
    clocks: list[tuple[float, float]] = field(default_factory=list)
    first: Nodes = field(default_factory=dict)
    last: Nodes = field(default_factory=dict)

    def spent(self, since: int) -> tuple[float, float]:
        """CPU and wall seconds since the start (0), or since the first element (1)."""
        begun, now = self.clocks[min(since, len(self.clocks) - 1)], self.clocks[-1]
        return now[0] - begun[0], now[1] - begun[1]


def pipeline_cost(
    dataset: Any, count: Callable[[Any], int], seconds: float, limit: int | None = None
) -> PipelineCost:
    """Read a pipeline for a while, and say what its stages cost.

    Parameters
    ----------
    dataset : tf.data.Dataset
    count : callable
        The samples of an element.
    seconds : float
        How long to read.
    limit : int, optional
        Samples at which the reading ends.

    Raises
    ------
    Exception
        Whatever the pipeline raises.
    """
    parts, named = _parts(dataset)
    whole = _read(dataset, count, seconds, limit, len(named))
    if not whole.samples:
        return PipelineCost((), 0, 0, whole.ended, 0.0, 0.0)
    line = work_between(whole.first, whole.last, len(named))
    done = sum(work.seconds for work in line)
    apart: set[int] = set()
    while len(line) < len(named):
        # What has ended is no longer in the model: its part of the pipeline is read by itself.
        apart.add(len(line))
        rest = len(named) - len(line)
        part = _read(parts[len(line)], lambda _: 1, seconds * _PART, None, rest)
        missing = [OperationWork(named[len(line)].kind, 1, 1, 0.0, 0)]
        line += work_between(part.first, part.last, rest) or missing
    stages = list(_per_sample(line, named, apart, parts, whole.elements / whole.samples))
    cpu, wall = (each / whole.samples for each in whole.spent(0))
    if not whole.ended and not apart and done:
        work_of_sample = sum(stage.seconds for stage in stages)
        cpu, wall = (each * work_of_sample / done for each in whole.spent(1))
    seen = tuple(_without_its_source(stages[::-1]))
    return PipelineCost(seen, whole.elements, whole.samples, whole.ended, cpu, wall)


def _parts(dataset: Any) -> tuple[list[Any], list[GraphStage]]:
    """The datasets of the main line, the last one first, each with its operation."""
    named = main_line(dataset)
    parts, inputs = [], [dataset]
    while len(inputs) == 1:
        if not type(inputs[0]).__name__.startswith("_Options"):
            parts.append(inputs[0])
        inputs = getattr(inputs[0], "_inputs", list)()
    # A Python object may stand for several operations: then the pipeline is one stage.
    return (parts, named) if len(parts) == len(named) else ([dataset], named[:1])


def _read(
    dataset: Any, count: Callable[[Any], int], seconds: float, limit: int | None, length: int
) -> _StageReading:
    import tensorflow as tf

    options = tf.data.Options()
    # Stages that are fused could not be told apart.
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = True
    reading = _StageReading(clocks=[_clocks()])
    deadline, looked = time.monotonic() + seconds, 0.0
    iterator = iter(dataset.with_options(options))
    while limit is None or reading.samples < limit:
        element = next(iterator, None)
        if element is None:
            break
        reading.elements += 1
        reading.samples += count(element)
        now = time.monotonic()
        if reading.elements <= _FIRST_LOOKS or now - looked > seconds / _LOOKS or now > deadline:
            nodes, looked = read_model(iterator), now
            reading.first = reading.first or nodes
            if len(main_nodes(nodes, length)) >= len(main_nodes(reading.last, length)):
                reading.last = nodes
        if reading.elements == 1:
            reading.clocks.append(_clocks())
        if now > deadline:
            reading.clocks.append(_clocks())
            return reading
    reading.ended = True
    reading.clocks.append(_clocks())
    return reading


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.monotonic()


def _per_sample(
    line: Sequence[OperationWork],
    named: Sequence[GraphStage],
    apart: set[int],
    parts: Sequence[Any],
    elements: float,
) -> Iterator[StageCost]:
    """The stages, the last first.

    Parameters
    ----------
    apart : set of int
        The places from which on stages were read by themselves.
    elements : float
        Of the last operation, per sample.
    """
    for place, (work, stage) in enumerate(zip(line, named, strict=True)):
        each = elements / max(1, work.elements)
        kind = work.kind if work.kind == "from_generator" else stage.kind
        yield StageCost(kind, stage.function, stage.random, work.seconds * each, work.bytes * each)
        below = place + 1
        if below == len(line) or any(name in stage.kind for name in _ONE_TO_ONE):
            continue
        if below in apart:
            made, read = (int(part.cardinality()) for part in parts[place : below + 1])
            elements *= read / made if made > 0 and read > 0 else 1.0
        else:
            elements *= line[below].made / max(1, work.made)


def _without_its_source(stages: list[StageCost]) -> list[StageCost]:
    """A generator is a flat_map over one element, which is no stage of its own."""
    return stages[1:] if [stage.kind for stage in stages[1:2]] == ["from_generator"] else stages
