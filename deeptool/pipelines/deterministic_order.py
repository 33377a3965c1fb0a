"""Whether a pipeline yields its elements in the same order in every process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deeptool.errors import UserError
from deeptool.pipelines.pipeline_graph import graph_of

# Where the two seeds are among the inputs of operations that draw an order.
_SEEDS = {"ShuffleDataset": 2, "ShuffleAndRepeatDataset": 2, "RandomDataset": 0}


def check_deterministic(dataset: Any) -> None:
    """Reject a ``tf.data.Dataset`` whose order another process would not repeat.

    The dataset's graph is looked through, with the functions in it (interleave, flat_map). What
    plain Python does inside of ``from_generator`` cannot be seen.

    Raises
    ------
    UserError
        ``options().deterministic`` or an operation's ``deterministic`` is False; an operation
        shuffles or draws without a seed.
    """
    if dataset.options().deterministic is False:
        raise _not_deterministic("options.deterministic is False")
    for operation, seeds in _operations(dataset):
        if operation.attr["deterministic"].s == b"false":
            raise _not_deterministic(f"{operation.op} has deterministic=False")
        if seeds == [0, 0]:
            raise _not_deterministic(f"{operation.op} has no seed")


def _not_deterministic(seen: str) -> UserError:
    return UserError(
        "--auto-shard needs a pipeline whose order is the same in every process",
        seen=seen,
        valid="seeds for shuffle, list_files, sample_from_datasets; deterministic=True",
        next_step="set random_seed in the settings file or give these seeds, or let "
        "get_input_pipeline take its share by hparams['procID'] and hparams['num_procs']",
    )


def _operations(dataset: Any) -> Iterator[tuple[Any, list[int | None] | None]]:
    """Each operation of the dataset's graph, with its seeds if it draws an order."""
    graph = graph_of(dataset)
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        by_name = {node.name: node for node in nodes}
        for node in nodes:
            first = _SEEDS.get(node.op.rstrip("V0123456789"))
            if first is None:
                yield node, None
                continue
            sources = [by_name.get(name.split(":")[0]) for name in node.input[first : first + 2]]
            yield node, [_constant(source) for source in sources]


def _constant(node: Any) -> int | None:
    import tensorflow as tf

    if node is None or node.op != "Const":
        return None
    return int(tf.make_ndarray(node.attr["value"].tensor))
