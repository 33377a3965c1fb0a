"""A ``tf.data`` pipeline as the operations that its graph holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_IGNORE_STATE = 1
# What only carries settings has no iterator of its own.
_WITHOUT_ITERATOR = "OptionsDataset"
# Drawn from a generator's state or from a seed: other numbers for each sample.
_RANDOM = ("Random", "StatelessRandom", "Multinomial", "RngReadAndSkip", "SampleDistortedBounding")


def graph_of(dataset: Any) -> Any:
    """The ``GraphDef`` of a ``tf.data.Dataset``, with the functions that it calls."""
    import tensorflow as tf

    serialized = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=_IGNORE_STATE,
        strip_device_assignment=True,
    )
    return tf.compat.v1.GraphDef.FromString(serialized.numpy())


@dataclass(frozen=True)
class GraphStage:
    """One operation of a pipeline's main line.

    Attributes
    ----------
    kind : str
        TensorFlow's name of it, without "Dataset": "ParallelMapV2".
    function : str
        The Python name of the function that it calls; "lambda", or "" without one.
    random : bool
        Whether that function draws random numbers.
    """

    kind: str
    function: str = ""
    random: bool = False


def main_line(dataset: Any) -> list[GraphStage]:
    """The operations from the last one to the source, or to where several datasets meet."""
    graph = graph_of(dataset)
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = {node.name: node for node in graph.node}
    (end,) = (node for node in graph.node if node.op == "_Retval")
    found: list[GraphStage] = []
    above = _inputs(end, nodes)
    while len(above) == 1:
        node = above[0]
        if node.op != _WITHOUT_ITERATOR:
            found.append(_stage(node, functions))
        above = _inputs(node, nodes)
    return found


def _inputs(node: Any, nodes: Mapping[str, Any]) -> list[Any]:
    """The datasets that an operation reads."""
    named = (nodes.get(name.removeprefix("^").split(":")[0]) for name in node.input)
    return [found for found in named if found is not None and "Dataset" in found.op]


def _stage(node: Any, functions: Mapping[str, Any]) -> GraphStage:
    kind = node.op.replace("Dataset", "")
    called = [value.func.name for value in node.attr.values() if value.HasField("func")]
    if not called:
        return GraphStage(kind)
    names = {function.op for name in called for function in _operations(name, functions, set())}
    random = any(name.startswith(_RANDOM) for name in names)
    return GraphStage(kind, _python_name(called[0]), random)


def _operations(name: str, functions: Mapping[str, Any], seen: set[str]) -> Iterator[Any]:
    """All operations of a function, with those of the functions that it calls."""
    function = functions.get(name)
    if function is None or name in seen:
        return
    seen.add(name)
    for node in function.node_def:
        yield node
        yield from _operations(node.op, functions, seen)
        for value in node.attr.values():
            called = [value.func] if value.HasField("func") else list(value.list.func)
            for each in called:
                yield from _operations(each.name, functions, seen)


def _python_name(name: str) -> str:
    """From ``__inference_Dataset_map_decode_73``: "decode"."""
    short = name.removeprefix("__inference_").removeprefix("Dataset_")
    short = short.rpartition("_")[0] if short.rpartition("_")[2].isdigit() else short
    for method in ("map_and_batch", "flat_map", "interleave", "filter", "map", "scan"):
        if short.startswith(f"{method}_"):
            return short[len(method) + 1 :]
    return short
