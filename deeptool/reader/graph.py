"""From rows to the dataset's elements, in TensorFlow's graph: batch, parse, pad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.codec.protocol import Codec, GraphParser
from deeptool.codec.spec import Leaf, Spec
from deeptool.errors import UserError


@dataclass(frozen=True)
class Form:
    """What the elements are to be.

    Attributes
    ----------
    codec : Codec
        Of the stored dataset, with its spec.
    batch_size : int or None
        None for single samples.
    drop_remainder : bool
    as_stored : bool
        The elements are the batches that were uploaded, because others cannot be made.
    padding : mapping of str to scalar
        By path (`Spec.paths`), for leaves with open dimensions.
    """

    codec: Codec
    batch_size: int | None
    drop_remainder: bool
    as_stored: bool
    padding: Mapping[str, Any]

    @property
    def spec(self) -> Spec:
        """As stored."""
        return self.codec.spec

    @property
    def whole_batches(self) -> bool:
        """Whether rows are handed on in the batches that were uploaded, never one by one."""
        return self.as_stored and self.batch_size is not None and self.codec.graph_parser is None


def padding_by_path(spec: Spec, padding_value: Any) -> dict[str, Any]:
    """The padding of each leaf with open dimensions.

    Parameters
    ----------
    padding_value : scalar, or mapping of str to scalar
        One for all of them, or by path.

    Raises
    ------
    UserError
        A leaf has none, or cannot be padded, or a path is unknown.
    """
    paths = spec.open_paths
    if not isinstance(padding_value, Mapping):
        return dict.fromkeys(paths, padding_value)
    if set(padding_value) != set(paths):
        raise UserError(
            "padding_value is for other components than those with unknown dimensions",
            seen=", ".join(map(repr, padding_value)),
            valid=", ".join(map(repr, paths)) or "none has unknown dimensions",
        )
    return dict(padding_value)


def elements(rows: Any, form: Form) -> Any:
    """The elements of one pass.

    Parameters
    ----------
    rows : tf.data.Dataset
        Of chunks of rows, as `deeptool.reader.batches` makes them; of batches with
        ``form.whole_batches``.
    """
    if form.codec.graph_parser is not None:
        return _parsed(rows, form, form.codec.graph_parser)
    if form.as_stored:
        return rows
    if form.batch_size is None:
        dataset = rows.unbatch()
    else:
        dataset = rows.rebatch(form.batch_size, drop_remainder=form.drop_remainder)
    return dataset if all(leaf.fixed for leaf in form.spec.leaves) else _finished(dataset, form)


def _parsed(rows: Any, form: Form, parser: GraphParser) -> Any:
    import tensorflow as tf

    samples = rows.unbatch().map(parser, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if form.batch_size is None:
        return _finished(samples, form)
    how = {"batch_size": form.batch_size, "drop_remainder": form.drop_remainder}
    if form.as_stored or all(leaf.fixed for leaf in form.spec.leaves):
        return samples.batch(**how)
    return _finished(samples.ragged_batch(**how), form)


def _finished(dataset: Any, form: Form) -> Any:
    """Leaves with open dimensions are dense again, and ragged ones as the producer's."""
    import tensorflow as tf

    def finish(*components: Any) -> Any:
        element = components if len(components) > 1 else components[0]
        if isinstance(form.spec.structure, tuple) and len(components) == 1:
            element = components
        finished = [
            _leaf(value, path, leaf, form)
            for value, path, leaf in zip(
                form.spec.flatten(element), form.spec.paths, form.spec.leaves, strict=True
            )
        ]
        return form.spec.nest(finished)

    return dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _leaf(value: Any, path: str, leaf: Leaf, form: Form) -> Any:
    import tensorflow as tf

    if leaf.fixed or not isinstance(value, tf.RaggedTensor):
        return value
    if leaf.ragged_rank:
        return value.with_row_splits_dtype(leaf.row_splits_dtype)
    rows = () if form.batch_size is None else (None,)
    padding = form.padding.get(path)
    default = None if padding is None else tf.cast(padding, value.dtype)
    return value.to_tensor(default_value=default, shape=(*rows, *leaf.inner))
