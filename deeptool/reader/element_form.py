"""What the elements of a read dataset are to be: batch size, padding, or as they were uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deeptool.codec import DEFAULT_CODEC, make_codec
from deeptool.codec.protocol import Codec
from deeptool.codec.spec import Spec
from deeptool.errors import UserError
from deeptool.reader.read_plan import ReadPlan

# A scalar that fills up dense tensors; a string's is bytes.
Padding = bool | int | float | str | bytes


@dataclass(frozen=True)
class ElementForm:
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
    padding: Mapping[str, Padding]

    @property
    def spec(self) -> Spec:
        """As stored."""
        return self.codec.spec

    @property
    def whole_batches(self) -> bool:
        """Whether rows are handed on in the batches that were uploaded, never one by one."""
        return self.as_stored and self.batch_size is not None and self.codec.graph_parser is None


def padding_by_path(
    spec: Spec, padding_value: Padding | Mapping[str, Padding]
) -> dict[str, Padding]:
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


def element_form(
    plan: ReadPlan,
    batch_size: int | None,
    drop_remainder: bool,
    padding_value: Padding | Mapping[str, Padding] | None,
) -> ElementForm:
    """What the elements of a dataset are to be, read as asked.

    Raises
    ------
    UserError
        The stored samples cannot be batched so.
    """
    stored = plan.stored
    spec = stored.spec
    if batch_size is None and spec.batched:
        batch_size = stored.batch_size
    unpadded = bool(spec.open_paths) and padding_value is None and batch_size is not None
    if unpadded and (batch_size != stored.batch_size or not spec.batched):
        raise UserError(
            "samples of unknown dimensions cannot be rebatched without a padding_value",
            seen=f"batch_size {batch_size}; {spec}",
            valid=f"batch_size {stored.batch_size}, as uploaded"
            if spec.batched
            else "no batch_size: single samples",
            next_step="give a padding_value",
        )
    codec = make_codec(stored.codec, spec)
    if unpadded and codec.graph_parser is not None and plan.seed is not None:
        raise UserError(
            f"samples of unknown dimensions stored by codec {codec.name} are shuffled one by one, "
            "and cannot be batched then without a padding_value",
            seen=str(spec),
            next_step=f"give a padding_value, or upload with codec {DEFAULT_CODEC}",
        )
    static = all(leaf.shape[0] is not None for leaf in spec.leaves)
    whole = (
        static
        and batch_size == stored.batch_size
        and stored.complete
        and all(plan.samples(k) % batch_size == 0 for k in range(stored.epochs))
    )
    return ElementForm(
        codec=codec,
        batch_size=batch_size,
        drop_remainder=drop_remainder or whole,
        as_stored=unpadded,
        padding=padding_by_path(spec, padding_value) if padding_value is not None else {},
    )
