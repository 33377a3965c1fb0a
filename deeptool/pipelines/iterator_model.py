"""TensorFlow's model of an iterator: how long the work of each operation took, and what it made.

TensorFlow keeps it for its autotuning. It counts the work of all threads, without the waiting for
what comes before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Below this, an element's cost is mostly that of the first one: functions are set up there.
_LEAST_ELEMENTS = 3
_NANO = 1e-9
# A cache in memory is two nodes.
_SECOND_NODE = "CacheImpl"

Nodes = Mapping[int, Any]


@dataclass(frozen=True)
class OperationWork:
    """What one operation did in a reading.

    Attributes
    ----------
    kind : str
        "ParallelMapV2"; "from_generator" for what runs a Python generator.
    made : int
        Elements, since the reading began.
    elements : int
        Those of them that the costs are of.
    seconds : float
        Of its own work and of what runs within it, such as the files that an interleave reads.
    bytes : int
        Of these elements.
    """

    kind: str
    made: int
    elements: int
    seconds: float
    bytes: int


def has_model() -> bool:
    """Whether this TensorFlow shows its model: 2.16 does not."""
    import tensorflow as tf

    return hasattr(tf.raw_ops, "IteratorGetModelProto")


def read_model(iterator: Any) -> Nodes:
    """The nodes of the model, by number; operations that have ended are no longer among them."""
    import tensorflow as tf
    from tensorflow.core.framework import model_pb2

    made = tf.raw_ops.IteratorGetModelProto(iterator=iterator._iterator_resource)
    return dict(model_pb2.ModelProto.FromString(made.numpy()).nodes)


def main_nodes(nodes: Nodes, length: int) -> list[Any]:
    """Those of the main line, from the last operation backwards, `length` at most."""
    found: list[Any] = []
    node = nodes.get(min(nodes, default=0))
    while node is not None and node.inputs and len(found) < length:
        node = nodes.get(node.inputs[0])
        if node is not None and not node.name.endswith(_SECOND_NODE):
            found.append(node)
    return found


def work_between(first: Nodes, last: Nodes, length: int) -> list[OperationWork]:
    """What the operations of the main line did between two looks at the model.

    Parameters
    ----------
    first, last : mapping
        Of one iterator. Where hardly anything happened between them, all that happened before
        `last` counts.
    length : int
        Of the main line: what its first operation reads counts as a part of that.
    """
    line = main_nodes(last, length)
    return [
        _work(node, first.get(node.id), last, list(node.inputs)[place + 1 < length :])
        for place, node in enumerate(line)
    ]


def _work(node: Any, before: Any, nodes: Nodes, within: list[int]) -> OperationWork:
    if before is None or node.num_elements - before.num_elements < _LEAST_ELEMENTS:
        before = type(node)()
    elements = node.num_elements - before.num_elements
    parts = [nodes[number] for number in within if number in nodes]
    own = node.processing_time - before.processing_time
    return OperationWork(
        "from_generator" if any(part.name == "Generator" for part in parts) else node.name,
        node.num_elements,
        elements,
        (own + elements * _inner(node, parts, nodes)) * _NANO,
        node.bytes_produced - before.bytes_produced,
    )


def _inner(node: Any, parts: list[Any], nodes: Nodes) -> float:
    """Nanoseconds, per element of `node`, of what runs within it."""
    if parts:
        spent = sum(each.processing_time for part in parts for each in _tree(part, nodes))
        several = node.name.startswith(("FlatMap", "Interleave", "ParallelInterleave"))
        made = sum(part.num_elements for part in parts) if several else node.num_elements
        return float(spent / max(1, made))
    # Parts that have ended are counted in the node itself.
    return float(node.input_processing_time_sum / max(1, node.input_processing_time_count))


def _tree(node: Any, nodes: Nodes) -> Iterator[Any]:
    yield node
    for number in node.inputs:
        if number in nodes:
            yield from _tree(nodes[number], nodes)
