"""A stored dataset that was found, and is read as it was found: what `deeptool.open` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deeptool.catalog.stored import Stored
from deeptool.errors import UserError
from deeptool.reader.class_labels import ClassLabels
from deeptool.reader.dataset_facts import DatasetFacts
from deeptool.reader.numpy_batches import NumpyBatches
from deeptool.reader.pass_lengths import elements_of_pass
from deeptool.reader.read_request import (
    MEMORY,
    Reader,
    ReadOptions,
    ReadRequest,
    check_reader,
    prepared,
)
from deeptool.reader.row_index import rows_at
from deeptool.reader.select_rows import RowRequest
from deeptool.reader.selecting import selected
from deeptool.reader.tf_dataset import tf_dataset
from deeptool.rows.element_form import ElementForm, Padding, element_form
from deeptool.rows.pass_copies import PassCopies
from deeptool.rows.pass_rows import check_memory
from deeptool.rows.read_plan import MemoryShares, ReadPlan
from deeptool.rows.selection import ALL, Selection
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import RecordStore

if TYPE_CHECKING:
    import tensorflow
    from typing_extensions import Unpack

    from deeptool.reader.torch_batches import TorchBatches


@dataclass(frozen=True, repr=False)
class StoredDataset(DatasetFacts):
    """A stored dataset that was found: what its attributes say is what every pass reads.

    It names its uploads by their ids. When another upload replaces one of them, the records that it
    was found with are still read while they exist; then reading fails. It never reads others.

    ``len(data)`` is the number of samples of the first stored pass.
    `deeptool.reader.dataset_facts.DatasetFacts` has what it is.

    Attributes
    ----------
    store : RecordStore
        Delivers its records.
    stored : Stored
        What the catalog said when the dataset was found.
    follow : bool
        Whether it may have been under way then.
    meter : ReadMeter
        Counts all that is read through this handle, and keeps the error that ends it.
    copies : PassCopies
        The local copies that are open.
    selection : Selection
        What of it is read: made by `select`.
    labels : ClassLabels
        The classes that selections were stratified by.
    """

    store: RecordStore
    stored: Stored
    follow: bool = False
    meter: ReadMeter = field(default_factory=ReadMeter)
    copies: PassCopies = field(default_factory=PassCopies, compare=False)
    selection: Selection = ALL
    labels: ClassLabels = field(default_factory=ClassLabels, compare=False)

    def elements(
        self,
        epoch: int,
        *,
        batch_size: int | None = None,
        drop_remainder: bool | None = None,
        padding_value: Padding | Mapping[str, Padding] | None = None,
    ) -> int | None:
        """The elements of pass `epoch`, read by `tf` with these parameters; None: not known."""
        if not self.complete:
            return None
        plan = self._plan()
        form = element_form(plan, batch_size, drop_remainder, padding_value)
        return elements_of_pass(plan, form, epoch)

    def drops_remainder(
        self,
        *,
        batch_size: int | None = None,
        drop_remainder: bool | None = None,
        padding_value: Padding | Mapping[str, Padding] | None = None,
    ) -> bool:
        """Whether `tf` with these parameters leaves out what is no whole batch.

        Raises
        ------
        UserError
            It cannot be read as asked.
        """
        form = element_form(self._plan(), batch_size, drop_remainder, padding_value)
        return form.drop_remainder

    def _plan(self) -> ReadPlan:
        """For what depends on neither memory, part nor seed."""
        return ReadPlan(
            *(self.store, self.stored, MemoryShares(MEMORY)),
            copies=self.copies,
            selection=self.selection,
        )

    def __getitem__(self, index: Any) -> Any:
        """Rows of the first stored pass, by their numbers in the fixed order of the store.

        That is by procID, then by sample. Only the records that hold these rows are read, or a
        local copy that is complete. No TensorFlow, except for codec ``example``.

        Parameters
        ----------
        index : int, slice, sequence of int, or mask
            As NumPy takes it along axis 0: negative numbers count from the end, a mask has one
            boolean per row.

        Returns
        -------
        nested arrays
            A sample for a number, else a batch in the order of `index`, as `numpy` gives them.

        Raises
        ------
        UserError
            There is no such row (an IndexError, too), or it is no index; or rows of different
            shapes are asked for together.
        WorkError
            The rows cannot be read, or the dataset is not complete.
        """
        return rows_at(self._plan(), index, self.meter)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            f"{self!r} is read in batches: iterate over data.numpy(...), data.tf(...) or "
            "data.torch(...); data[rows] reads single rows"
        )

    def select(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        rows: Any = None,
        fold: tuple[int, int] | None = None,
        fraction: float | None = None,
        held_out: bool = False,
        stratify: str | None = None,
        seed: int = 0,
    ) -> StoredDataset:
        """A part of it, as a dataset of its own, which can be selected from again.

        Which rows are drawn depends on the dataset's name, their number, `seed` and the labels
        only: it is the same on every node. Selected rows keep their order in the store. Given
        together, `rows`, `fold` and `fraction` select from each other's results, in this order.

        Parameters
        ----------
        columns : str or sequence of str, optional
            Components, by their names ("x/image") or paths ("0/image"), or what holds several
            ("x"). A sequence keeps the element's structure; one string is that component itself.
        rows : slice, sequence of int, or mask, optional
            As in ``data[rows]``, ascending and each once.
        fold : (int, int), optional
            (k, n): all rows but those of fold k, out of n disjoint folds that cover all rows.
        fraction : float, optional
            About this part of the rows, at random; above 0, at most 1.
        held_out : bool
            The other rows: those of the fold, or all but the fraction.
        stratify : str, optional
            A component with one class per sample. Each fold and fraction has its share of every
            class, to within one sample. All labels are read once, by a local copy if there can be.
        seed : int
            Draws the folds and the fraction.

        Returns
        -------
        StoredDataset

        Raises
        ------
        UserError
            There is nothing of that kind to select; or stored passes differ in their numbers of
            samples, so that a row is not the same sample in all of them.
        """
        request = RowRequest(rows, fold, fraction, held_out, stratify, seed)
        selection = selected(self._plan(), columns, request, self.labels, self.meter)
        return replace(self, selection=selection, follow=False)

    def _prepared(self, request: ReadRequest) -> tuple[ReadPlan, ElementForm]:
        found = self.store, self.stored, self.follow
        return prepared(*found, request, self.copies, self.selection)

    def tf(
        self, *, reader: Reader = "librdkafka", **options: Unpack[ReadOptions]
    ) -> tensorflow.data.Dataset:
        """Read it with TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        reader : str
            "librdkafka", or "tfio" for tensorflow-io, which fetches in TensorFlow's graph; its
            order without `shuffle` is a fixed one, but not the pipeline's.
        options
            batch_size, shuffle, seed, first_epoch, start, repeat, drop_remainder, num_shards,
            index, padding_value, memory_bytes: see `deeptool.reader.read_request.ReadRequest`.

        Returns
        -------
        tf.data.Dataset
            Of the producer's element_spec, apart from axis 0. Its cardinality is known, except with
            ``follow``, for a `start` within a pass, for batches that come as they were uploaded
            (unknown dimensions and no `padding_value`), and where stored passes differ in their
            number of samples.

        Raises
        ------
        UserError
            It cannot be read as asked.

        Notes
        -----
        What fails during iteration comes out of TensorFlow as a ``tf.errors.OpError`` with the
        message in it; ``with data.meter.raising():`` around the loop makes it the `WorkError` that
        it was.
        """
        check_reader(reader, self.follow, self.store)
        request = ReadRequest(**options)
        plan, form = self._prepared(request)
        if reader == "librdkafka":
            check_memory(plan, form)
        return tf_dataset(plan, form, self.meter, request, reader=reader, known=not self.follow)

    def numpy(self, **options: Unpack[ReadOptions]) -> NumpyBatches:
        """Read it as NumPy arrays, without TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        options
            As for `tf`; the same ones give the same elements.

        Returns
        -------
        NumpyBatches
            Iterable, of elements nested as those of `tf`: arrays of `spec`'s dtypes and shapes
            (strings: dtype object, of bytes), and `deeptool.Ragged` for ragged tensors. Arrays may
            be views of what was read, and read-only.

        Raises
        ------
        UserError
            It cannot be read as asked.

        Notes
        -----
        Codec ``example`` needs TensorFlow to decode its records.
        """
        request = ReadRequest(**options)
        plan, form = self._prepared(request)
        check_memory(plan, form)
        return NumpyBatches(plan, form, self.meter, request.positions(), request)

    def torch(self, **options: Unpack[ReadOptions]) -> TorchBatches:
        """Read it with PyTorch, without TensorFlow, each sample exactly once per pass.

        Parameters
        ----------
        options
            As for `tf`. Without `num_shards` and `index`, each process of ``torch.distributed``
            reads a part of its own.

        Returns
        -------
        TorchBatches
            A ``torch.utils.data.IterableDataset`` of batches, for ``DataLoader(...,
            batch_size=None)`` with any number of workers. Its docstring says how dtypes become
            tensors, and what positions it keeps.

        Raises
        ------
        UserError
            It cannot be read as asked, or PyTorch is not installed.
        """
        try:
            from deeptool.reader.torch_batches import TorchBatches
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise UserError(
                "data.torch(...) needs PyTorch, which is not installed",
                next_step="python -m pip install torch; or read with data.numpy(...)",
            ) from error
        found = self.store, self.stored, self.follow, self.meter, self.copies, self.selection
        return TorchBatches(*found, options)
