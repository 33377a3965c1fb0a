"""What the elements of a read dataset are to be: batch size, padding, or as they were uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from deeptool.codec import DEFAULT_CODEC, make_codec
from deeptool.codec.chosen_columns import ChosenColumns
from deeptool.codec.leaf_groups import LeafGroup, joined, leaf_groups, parted
from deeptool.codec.protocol import Codec
from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves
from deeptool.errors import UserError
from deeptool.rows.read_plan import ReadPlan

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
        Every batch has exactly `batch_size` samples; what is left of a pass is left out.
    as_stored : bool
        The elements are the batches that were uploaded, because others cannot be made.
    padding : mapping of str to scalar
        By path (`Spec.paths`), for leaves with open dimensions.
    uniform : bool
        All samples have one shape, though the spec leaves dimensions open.
    columns : ChosenColumns, optional
        The components that are read, where these are not all.
    """

    codec: Codec
    batch_size: int | None
    drop_remainder: bool
    as_stored: bool
    padding: Mapping[str, Padding]
    uniform: bool = False
    columns: ChosenColumns | None = None

    @property
    def spec(self) -> Spec:
        """As stored; of the components that are read."""
        return self.codec.spec if self.columns is None else self.columns.spec

    @cached_property
    def whole(self) -> ElementForm:
        """The same with all components, as local copies hold them."""
        return self if self.columns is None else replace(self, columns=None)

    def chosen(self, leaves: Leaves) -> Leaves:
        """Rows with the components that are read, of rows with all of them.

        Parameters
        ----------
        leaves : Leaves
            As the decoder of `whole` makes them.
        """
        if self.columns is None or self.codec.graph_parser is not None:
            return leaves
        if self.whole.groups:
            leaves = parted(self.whole.groups, leaves)
        leaves = self.columns.of(leaves)
        return joined(self.groups, leaves) if self.groups else leaves

    @cached_property
    def groups(self) -> tuple[LeafGroup, ...]:
        """The arrays that very many leaves are on their way to TensorFlow; else none."""
        if self.codec.graph_parser is not None or not all(leaf.fixed for leaf in self.spec.leaves):
            return ()
        groups = leaf_groups(self.spec)
        return groups if len(groups) < len(self.spec.leaves) else ()

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
    by_path = padding_value
    if not isinstance(by_path, Mapping):
        by_path = dict.fromkeys(paths, by_path)
    if set(by_path) != set(paths):
        raise UserError(
            "padding_value is for other components than those with unknown dimensions",
            seen=", ".join(map(repr, by_path)),
            valid=", ".join(map(repr, paths)) or "none has unknown dimensions",
        )
    for path, leaf in zip(spec.paths, spec.leaves, strict=True):
        text = isinstance(by_path.get(path, ""), (str, bytes))
        if path in by_path and text != (leaf.dtype == "string"):
            raise UserError(
                f"padding_value is of another type than component '{path}'",
                seen=repr(by_path[path]),
                valid=str(leaf),
                next_step="give one for each path: "
                + ", ".join(f"{path!r}: ..." for path in paths),
            )
    return dict(by_path)


def element_form(
    plan: ReadPlan,
    batch_size: int | None,
    drop_remainder: bool | None,
    padding_value: Padding | Mapping[str, Padding] | None,
) -> ElementForm:
    """What the elements of a dataset are to be, read as asked.

    Parameters
    ----------
    drop_remainder : bool or None
        None: as the pipeline did, where its element_spec shows it.

    Raises
    ------
    UserError
        The stored samples cannot be batched so.
    """
    stored, columns = plan.stored, plan.selection.columns
    spec = stored.spec if columns is None else columns.spec
    if batch_size is None and spec.batched:
        batch_size = stored.batch_size
    unpadded = bool(spec.open_paths) and padding_value is None and batch_size is not None
    # Batches that were uploaded come back whole.
    selected = plan.selection.rows is not None
    others = batch_size != stored.batch_size or not spec.batched or selected
    codec = make_codec(stored.codec, stored.spec)
    parsed = codec.graph_parser is not None
    # Then there is nothing to fill up; only batches of sizes of their own are kept all the same.
    uniform = stored.uniform and bool(others or drop_remainder or parsed or stored.even_batches)
    unpadded = unpadded and not uniform
    if unpadded and others:
        valid = f"batch_size {stored.batch_size}, as uploaded"
        if selected:
            valid = "all samples, in the batches that were uploaded"
        elif not spec.batched:
            valid = "no batch_size: single samples"
        raise _without_padding(spec, batch_size, valid)
    if unpadded and parsed and plan.seed is not None:
        raise UserError(
            f"samples of unknown dimensions stored by codec {codec.name} are shuffled one by one, "
            "and cannot be batched then without a padding_value",
            seen=str(spec),
            next_step=f"give a padding_value, or upload with codec {DEFAULT_CODEC}",
        )
    form = ElementForm(
        codec=codec,
        batch_size=batch_size,
        drop_remainder=False,
        as_stored=unpadded,
        padding=padding_by_path(spec, padding_value) if padding_value is not None else {},
        uniform=uniform,
        columns=columns,
    )
    return replace(form, drop_remainder=_drops_remainder(plan, form, drop_remainder))


def form_of_samples(
    spec: Spec,
    batch_size: int,
    drop_remainder: bool,
    padding_value: Padding | Mapping[str, Padding] | None,
) -> ElementForm:
    """How single samples that are not stored are batched.

    Raises
    ------
    UserError
        They have unknown dimensions, and there is no padding_value.
    """
    if spec.open_paths and padding_value is None:
        raise _without_padding(spec, batch_size, "batched = True, and batches from the pipeline")
    padding = {} if padding_value is None else padding_by_path(spec, padding_value)
    return ElementForm(make_codec(DEFAULT_CODEC, spec), batch_size, drop_remainder, False, padding)


def _without_padding(spec: Spec, batch_size: int | None, valid: str) -> UserError:
    return UserError(
        "samples of unknown dimensions cannot be rebatched without a padding_value",
        seen=f"batch_size {batch_size}; {spec}",
        valid=valid,
        next_step="give a padding_value: padding_value = 0 in a settings file, --padding-value 0 "
        "of deeptool train",
    )


def _drops_remainder(plan: ReadPlan, form: ElementForm, asked: bool | None) -> bool:
    """Whether what is left of a pass behind its last whole batch is left out."""
    size = form.batch_size
    if size is None:
        return False
    if form.whole_batches and not _exact_as_stored(plan, form):
        if asked:
            raise UserError(
                "drop_remainder needs batches that deeptool makes, but samples of unknown "
                "dimensions come in the batches that were uploaded",
                seen=str(form.spec),
                next_step="give a padding_value, or leave out drop_remainder",
            )
        return False
    stored = plan.stored
    samples = [plan.samples(k) for k in range(stored.epochs)] if stored.complete else []
    batches = [
        plan.whole_batches(k, size) if form.whole_batches else count // size
        for k, count in enumerate(samples)
    ]
    if asked is False or not (asked or stored.exact_batches):
        # Where nothing would be left out, the shape can be the pipeline's all the same.
        held = [size * number for number in batches]
        return stored.exact_batches and stored.complete and held == samples
    for count, number in zip(samples, batches, strict=True):
        # Of an empty part there is nothing to leave out.
        if count and not number:
            part = f", part {plan.index} of {plan.num_shards}" if plan.num_shards > 1 else ""
            seen = f"{count} samples of {stored.session!r}, split {stored.split!r}{part}"
            raise no_whole_batch(seen, size)
    return True


def no_whole_batch(seen: str, batch_size: int) -> UserError:
    """The error of a dataset that is smaller than one batch, where only whole ones are wanted."""
    return UserError(
        "drop_remainder leaves no batch of this dataset: it holds fewer samples than one",
        seen=seen,
        valid=f"at least {batch_size}, the batch_size",
        next_step="make batch_size smaller, upload more samples, or set drop_remainder = False",
    )


def _exact_as_stored(plan: ReadPlan, form: ElementForm) -> bool:
    """Whether all batches that were uploaded have `batch_size` samples, but for each last one."""
    epochs = range(plan.stored.epochs) if plan.stored.complete else ()
    kept = plan.num_shards == 1 and all(plan.batches(k) is not None for k in epochs)
    return kept and all(leaf.shape[0] == form.batch_size for leaf in form.spec.leaves)
